//! What systemd hears of a controller that it started: a socket of the test's own stands for it.

use std::os::unix::net::UnixDatagram;

use super::tasks::one_slot;
use crate::support::daemon::PATIENCE;

/// Waits for a message with this line.
fn until(socket: &UnixDatagram, line: &str) {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("waited for {line:?}: {error}"));
        if String::from_utf8_lossy(&buffer[..length]).lines().any(|said| said.starts_with(line)) {
            return;
        }
    }
}

#[test]
fn systemd_hears_that_it_is_ready_then_alive_again_and_again_then_stopping() {
    let mut home = one_slot();
    let path = home.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    home.more_environment = vec![("NOTIFY_SOCKET", path.into()), ("WATCHDOG_USEC", "100000".into())];
    let mut daemon = home.serve();
    until(&socket, "READY=1");
    until(&socket, "WATCHDOG=1");
    until(&socket, "WATCHDOG=1");
    daemon.terminate();
    until(&socket, "STOPPING=1");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn the_unit_in_the_examples_is_one_that_systemd_understands() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/manifestd.service");
    let text = std::fs::read_to_string(unit).unwrap();
    for line in ["Type=notify", "Restart=on-failure", "KillMode=mixed"] {
        assert!(text.lines().any(|own| own == line), "{line}");
    }
    let runtime = tempfile::tempdir().unwrap();
    let mut verify = std::process::Command::new("systemd-analyze");
    verify.args(["verify", "--user", unit]).env("XDG_RUNTIME_DIR", runtime.path());
    let Ok(output) = verify.output() else {
        eprintln!("systemd-analyze is not installed; only the text was looked at");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Where no manifestd is installed, systemd rightly says that the program is not there.
    let wrong: Vec<&str> =
        said.lines().filter(|line| line.contains("manifestd.service") && !line.contains("is not executable")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
