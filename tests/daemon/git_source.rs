//! Manifests from a git repository: the real daemon follows a real one, whatever happens to it.

use std::path::PathBuf;
use std::process::Command;

use manifestd::resource::kind::Kind;
use manifestd::resource::phase::Phase;
use manifestd::store::view;

use crate::support::daemon::{Home, find, quick, task};
use crate::support::process::Daemon;

/// A repository that somebody works in, and a workspace that follows it.
struct Remote {
    home: Home,
    dir: tempfile::TempDir,
}

impl Remote {
    /// With these lines more in the settings, and an app `app1` with an analyzer `quick` in the first commit.
    fn new(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = dir.path().join("origin").display().to_string();
        let home = Home::new(&format!("gitUrl: {url}\ngitInterval: 300ms\ngitPath: deploy\n{settings}"));
        std::fs::remove_dir(home.path("manifests")).unwrap();
        let remote = Self { home, dir };
        std::fs::create_dir_all(remote.path("origin/deploy")).unwrap();
        remote.git(&["init", "-q", "-b", "main"]);
        remote.write("base.yaml", &format!("{}{}", quick(), remote.home.app(1)));
        remote
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("origin/deploy").join(name), text).unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]).args(arguments);
        // As the daemon is: no settings but those of its own home.
        command.env("HOME", self.home.path("home")).env("GIT_CONFIG_NOSYSTEM", "1").current_dir(self.path("origin"));
        let said = command.output().unwrap();
        assert!(said.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    /// Commits all that is there and gives the commit.
    fn commit(&self, more: &[&str]) -> String {
        self.git(&["add", "-A"]);
        let arguments: Vec<&str> = ["commit", "-q", "-m", "a change"].iter().chain(more).copied().collect();
        self.git(&arguments);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Waits until the directory is stale for this reason, or is not.
    fn until_stale(&self, reason: Option<&str>) -> String {
        self.home.until(&format!("SourceStale to be {reason:?}"), |connection| {
            let conditions = view::directory_conditions(connection).unwrap();
            let stale = conditions.into_iter().find(|one| one.condition == "SourceStale" && one.status == "True");
            match (stale, reason) {
                (None, None) => Some(String::new()),
                (Some(stale), Some(reason)) if stale.reason == reason => Some(stale.message),
                _ => None,
            }
        })
    }

    fn until_commit(&self, name: &str, wanted: &str) {
        self.home.until(&format!("{name} to come from {wanted}"), |connection| {
            find(connection, Kind::Task, name)?.provenance.commit.filter(|commit| commit == wanted)
        });
    }

    /// Waits until only this commit is checked out.
    fn until_only(&self, daemon: &Daemon, wanted: &str) {
        let names = || -> Vec<String> {
            let trees = std::fs::read_dir(self.home.state().join("git/trees")).unwrap();
            trees.map(|tree| tree.unwrap().file_name().into_string().unwrap()).collect()
        };
        // Asking for a scan comes after whatever looks at the repository now.
        let said = self.home.run(&["reconcile", "--once", "--only", "manifests"]);
        assert!(said.out.contains("0 created, 0 updated, 0 removed"), "{}{}", said.out, said.err);
        assert_eq!(names(), [wanted], "pid {}", daemon.pid());
    }
}

fn a_task(name: &str) -> String {
    task(name, "app1", "quick", "")
}

#[test]
fn what_is_pushed_is_applied_with_its_commit_and_a_broken_manifest_harms_only_itself() {
    let remote = Remote::new("");
    remote.write("one.yaml", &a_task("one"));
    remote.write("two.yaml", &a_task("two"));
    // What lies beside the directory of manifests is none of them.
    std::fs::write(remote.path("origin/beside.yaml"), a_task("beside")).unwrap();
    let first = remote.commit(&[]);
    let daemon = remote.home.serve();
    remote.home.until_phase("one", Phase::Completed);
    remote.until_commit("one", &first);
    assert_eq!(remote.home.object(Kind::Task, "one").provenance.file, "one.yaml");

    remote.write("two.yaml", "kind: Task\nmetadata: {name: two}\nspec: {nonsense: 1}\n");
    remote.write("three.yaml", &a_task("three"));
    let second = remote.commit(&[]);
    remote.home.until_phase("three", Phase::Completed);
    remote.until_commit("three", &second);
    remote.until_commit("one", &second);
    let problems = view::problems(&remote.home.database()).unwrap();
    assert!(!problems.is_empty() && problems.iter().all(|problem| problem.file == "two.yaml"), "{problems:?}");
    // The broken one keeps its last good version.
    assert_eq!(remote.home.object(Kind::Task, "two").removed_at, None);
    assert!(find(&remote.home.database(), Kind::Task, "beside").is_none());
    remote.until_only(&daemon, &second);

    remote.write("two.yaml", &a_task("two"));
    std::fs::remove_file(remote.path("origin/deploy/three.yaml")).unwrap();
    let third = remote.commit(&[]);
    remote.until_commit("two", &third);
    remote.home.until("three to go", |connection| find(connection, Kind::Task, "three")?.removed_at);
    daemon.stop();
}

#[test]
fn a_remote_that_vanishes_changes_nothing_and_one_that_was_rewritten_is_followed() {
    let remote = Remote::new("");
    remote.write("one.yaml", &a_task("one"));
    remote.commit(&[]);
    remote.write("two.yaml", &a_task("two"));
    let second = remote.commit(&[]);
    let daemon = remote.home.serve();
    remote.home.until_phase("two", Phase::Completed);

    std::fs::rename(remote.path("origin"), remote.path("elsewhere")).unwrap();
    let message = remote.until_stale(Some("FetchFailed"));
    assert!(message.contains("stay as they were"), "{message}");
    // Everything else goes on, also over a restart.
    daemon.stop();
    let daemon = remote.home.serve();
    remote.home.run(&["retry", "one"]).ok();
    remote
        .home
        .until_task("one", "to have run again", |task| task.status.phase == Phase::Completed && task.status.round == 2);
    assert_eq!(remote.home.object(Kind::Task, "two").removed_at, None);
    remote.until_commit("one", &second);
    assert!(remote.home.run(&["status"]).ok().contains("SourceStale"));

    // It comes back with another past.
    std::fs::rename(remote.path("elsewhere"), remote.path("origin")).unwrap();
    remote.git(&["reset", "-q", "--hard", "HEAD~1"]);
    remote.write("other.yaml", &a_task("other"));
    let rewritten = remote.commit(&["--amend"]);
    remote.until_stale(None);
    remote.home.until_phase("other", Phase::Completed);
    remote.until_commit("one", &rewritten);
    remote.home.until("two to go", |connection| find(connection, Kind::Task, "two")?.removed_at);
    // Told when it began, and when it ended; not at every try. The restart tells it once more.
    let log = remote.home.log.text();
    assert_eq!(log.matches("the repository cannot be followed").count(), 2, "{log}");
    assert_eq!(log.matches("the repository is followed again").count(), 1, "{log}");
    daemon.stop();
}

#[test]
fn a_commit_without_a_good_signature_or_without_the_directory_is_not_taken() {
    let remote = Remote::new("gitVerify: true");
    let key = remote.path("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let signers = remote.path("signers");
    std::fs::write(&signers, format!("ada@example.org {public}")).unwrap();
    let config = format!(
        "[gpg]\n\tformat = ssh\n[gpg \"ssh\"]\n\tallowedSignersFile = {}\n[user]\n\tsigningKey = {}\n",
        signers.display(),
        key.display()
    );
    std::fs::write(remote.home.path("home/.gitconfig"), config).unwrap();

    remote.write("one.yaml", &a_task("one"));
    let signed = remote.commit(&["-S"]);
    let daemon = remote.home.serve();
    remote.home.until_phase("one", Phase::Completed);
    remote.write("two.yaml", &a_task("two"));
    let unsigned = remote.commit(&["--no-gpg-sign"]);
    let message = remote.until_stale(Some("VerifyFailed"));
    assert!(message.contains(&unsigned), "{message}");
    assert!(find(&remote.home.database(), Kind::Task, "two").is_none());
    remote.until_commit("one", &signed);

    // Signed, but the manifests are gone with their directory, which is surely a mistake.
    remote.git(&["rm", "-q", "-r", "deploy"]);
    remote.commit(&["--allow-empty", "-S"]);
    let message = remote.until_stale(Some("PathMissing"));
    assert!(message.contains("deploy"), "{message}");
    assert_eq!(remote.home.object(Kind::Task, "one").removed_at, None);
    std::os::unix::fs::symlink("/", remote.path("origin/deploy")).unwrap();
    remote.commit(&["-S"]);
    remote.home.until("the link to be refused", |connection| {
        let conditions = view::directory_conditions(connection).unwrap();
        conditions.into_iter().find(|one| one.message.contains("leads out of the repository"))
    });

    std::fs::remove_file(remote.path("origin/deploy")).unwrap();
    remote.git(&["checkout", "-q", &unsigned, "--", "deploy"]);
    let good = remote.commit(&["-S"]);
    remote.until_stale(None);
    remote.home.until_phase("two", Phase::Completed);
    remote.until_commit("two", &good);
    daemon.stop();
}

#[test]
fn once_it_is_followed_without_a_daemon_and_nothing_is_written_into_the_checkout() {
    let remote = Remote::new("");
    remote.write("one.yaml", &a_task("one"));
    let first = remote.commit(&[]);
    let said = remote.home.run(&["reconcile", "--once"]).ok();
    assert!(said.contains("3 created"), "{said}");
    assert_eq!(remote.home.task("one").status.phase, Phase::Completed);
    remote.until_commit("one", &first);
    let again = remote.home.run(&["reconcile", "--once"]).ok();
    assert!(again.contains("0 created, 0 updated, 0 removed"), "{again}");

    std::fs::write(remote.home.path("new.yaml"), a_task("new")).unwrap();
    for arguments in [["apply", "-f", "new.yaml"], ["delete", "task", "one"]] {
        let said = remote.home.run(&arguments);
        assert!(said.code != 0 && said.err.contains("gitUrl"), "{arguments:?}: {}", said.err);
    }
    remote.home.run(&["apply", "-f", "new.yaml", "--dry-run"]).ok();
    // What is stored is what is checked out.
    assert_eq!(remote.home.run(&["diff"]).code, 0);

    // A process that died in the middle of a checkout left half a tree, and a link that was not exchanged.
    remote.write("two.yaml", &a_task("two"));
    let second = remote.commit(&[]);
    let half = remote.home.state().join("git/trees").join(&second);
    std::fs::create_dir_all(half.join("deploy")).unwrap();
    std::os::unix::fs::symlink("trees/nothing", remote.home.state().join("git/current.new")).unwrap();
    remote.home.run(&["reconcile", "--once"]).ok();
    assert_eq!(remote.home.task("two").status.phase, Phase::Completed);
    assert_eq!(remote.home.object(Kind::Task, "one").removed_at, None);
    remote.until_commit("two", &second);
}
