//! Who can read and ask: modes of everything that is stored, whatever the umask, and the control socket.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;

use manifestd::resource::phase::Phase;

use crate::support::daemon::{Home, quick, task};

/// Everything below a directory that others than its owner can reach, and how much was looked at.
fn open_to_others(directory: &Path, found: &mut Vec<String>) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let (path, stat) = (entry.path(), entry.metadata().unwrap());
        count += 1;
        if !stat.is_symlink() && stat.mode() & 0o077 != 0 {
            found.push(format!("{} has mode {:o}", path.display(), stat.mode() & 0o7777));
        }
        if stat.is_dir() {
            count += open_to_others(&path, found);
        }
    }
    count
}

#[test]
fn whatever_the_umask_is_nobody_else_can_read_what_is_stored() {
    let home = Home::new("");
    // It was there before, as open as can be.
    fs::create_dir(home.state()).unwrap();
    fs::set_permissions(home.state(), fs::Permissions::from_mode(0o777)).unwrap();
    let daemon = home.spawn_under(&["sh", "-c", "umask 000; exec \"$0\" \"$@\""], &["serve"]);
    daemon.says("serving");
    let talks = "---\napiVersion: manifestd.dev/v1alpha1\nkind: Analyzer\nmetadata: {name: talks}\nspec: {command: {argv: [sh, -c, 'echo words; cat gate'], tool: t}}\n";
    home.gate("gate");
    let tasks = [task("held", "app1", "talks", ""), task("done", "app1", "quick", "")];
    home.drop_in("all.yaml", &[home.app(1), talks.to_owned(), quick(), tasks.concat()].concat());
    home.until_spawned("held");
    home.until_phase("done", Phase::Completed);
    let look = |what: &str, least: usize| {
        let mut found = Vec::new();
        let count = open_to_others(&home.state(), &mut found);
        assert!(count >= least, "{what}: only {count} were looked at");
        assert_eq!(found, [""; 0], "{what}");
        assert_eq!(fs::metadata(home.state()).unwrap().mode() & 0o777, 0o700, "{what}");
    };
    // The database with its log beside it, the lock, the socket, and what a running attempt writes.
    home.until("the log of the running attempt", |_| home.state().join("staging").exists().then_some(()));
    assert!(home.state().join("manifestd.db-wal").exists() && home.state().join("control.sock").exists());
    look("while it runs", 6);
    home.open_gate("gate");
    home.until_phase("held", Phase::Completed);
    let backup = assert_cmd::Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_manifestd"), "backup", "b.tar", "--results"])
        .current_dir(home.dir.path())
        .output()
        .unwrap();
    assert!(backup.status.success(), "{backup:?}");
    assert_eq!(fs::metadata(home.path("b.tar")).unwrap().mode() & 0o777, 0o600);
    daemon.stop();
    look("afterwards, with a result", 8);
}

#[test]
fn a_backup_is_not_written_through_a_link_nor_into_the_file_of_somebody_else() {
    let home = Home::new("");
    home.run(&["reconcile", "--once"]).ok();
    let precious = home.path("precious");
    fs::write(&precious, "of the user").unwrap();
    // As somebody could prepare it in a directory that both write.
    for part in ["b.tar.part", "b.tar.part.db"] {
        symlink(&precious, home.path(part)).unwrap();
    }
    let refused = home.run(&["backup", "b.tar"]);
    assert_eq!(refused.code, 1, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("b.tar.part is a link"), "{}", refused.err);
    fs::remove_file(home.path("b.tar.part")).unwrap();
    fs::hard_link(&precious, home.path("b.tar.part")).unwrap();
    assert!(home.run(&["backup", "b.tar"]).err.contains("not a file of this user alone"));
    fs::remove_file(home.path("b.tar.part")).unwrap();
    fs::write(home.path("b.tar.part"), "half of one").unwrap();
    fs::set_permissions(home.path("b.tar.part"), fs::Permissions::from_mode(0o666)).unwrap();
    home.run(&["backup", "b.tar"]).ok();
    assert_eq!(fs::metadata(home.path("b.tar")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "of the user");
}

/// Posts to the control socket as it is, and gives the first line of what comes back.
fn post(home: &Home, head: &str, body: &[u8]) -> String {
    let mut stream = UnixStream::connect(home.state().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    // Whoever is refused may be cut off while it still writes.
    let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let _ = written.and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
        if said.contains(&b'\n') {
            break;
        }
    }
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn an_oversized_or_broken_request_at_the_control_socket_is_refused_and_harms_nobody() {
    const MIB: usize = 1 << 20;
    let home = Home::new("");
    let daemon = home.serve();
    let before = daemon.memory_max();
    let head = |length: usize| {
        format!(
            "POST /v1/control HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    for (what, head, body) in [
        ("5 MiB", head(5 * MIB), vec![b' '; 5 * MIB]),
        ("5 MiB that are announced", head(5 * MIB), Vec::new()),
        ("more than there is", head(1 << 40), vec![b'x'; MIB]),
        ("deep JSON", head(MIB), vec![b'['; MIB]),
        ("no JSON", head(3), b"{a}".to_vec()),
        ("an unknown request", head(15), b"{\"ask\": \"lunch\"}"[..15].to_vec()),
        ("no HTTP", String::new(), b"\x00\xff\x16\x03\x01 hello\r\n\r\n".to_vec()),
        ("an endless header", "POST / HTTP/1.1\r\nx: ".into(), vec![b'x'; 4 * MIB]),
    ] {
        let said = post(&home, &head, &body);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{what}: {said}");
        home.run(&["status"]).ok();
    }
    let more = daemon.memory_max() - before;
    assert!(more < 64 * MIB as u64, "{more} bytes of memory for requests that were refused");
    daemon.stop();
}
