//! The real program in a workspace of its own: started, killed, asked, and waited for by what it writes. Nothing here sleeps: a wait ends
//! with a change of the database or a line of the log, is bounded, and says what it waited for when the time is over.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use manifestd::resource::kind::Kind;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::store::view::{self, AttemptView, Filter, ObjectView, TaskView};
use manifestd::store::{database_path, open_read_only};
use notify::{RecursiveMode, Watcher as _};
use rusqlite::Connection;
use serde_json::Value;
use tokio::time::Instant;

use super::process::{Daemon, Log};

/// No wait takes longer. Far more than anything needs, since other tests use the processors too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The first look after an event: a commit can be seen only some milliseconds after the event of its writing. Each further look waits twice
/// as long, up to [`TICK`].
const SOON: Duration = Duration::from_millis(5);

/// A change that no event told is looked for so often.
const TICK: Duration = Duration::from_secs(1);

const PROGRAM: &str = env!("CARGO_BIN_EXE_manifestd");

/// A workspace with a manifests directory, a state directory and a home of its own.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) log: Arc<Log>,
    /// What programs are looked for in, in front of the tests' own PATH.
    pub(crate) bin: Option<PathBuf>,
    /// Variables of every program that is started here, besides HOME and PATH.
    pub(crate) more_environment: Vec<(&'static str, std::ffi::OsString)>,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Its standard output; it must have ended with 0.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    pub(crate) fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

impl Home {
    /// An empty workspace, with these lines in its settings file.
    pub(crate) fn new(settings: &str) -> Self {
        Self::of(tempfile::tempdir().expect("a temporary directory"), settings)
    }

    /// The same in a directory that was made for it.
    pub(crate) fn of(dir: tempfile::TempDir, settings: &str) -> Self {
        std::fs::create_dir_all(dir.path().join("manifests")).expect("manifests");
        std::fs::create_dir_all(dir.path().join("home")).expect("a home");
        // Everything in here may only be late by its own fault: the slow timers are out of the way.
        let always = "taskPollInterval: 10m\nrescanInterval: 1h\nlog: manifestd=debug\n";
        std::fs::write(dir.path().join("manifestd.yaml"), format!("{always}{settings}\n")).expect("settings");
        Self { dir, log: Arc::default(), bin: None, more_environment: Vec::new() }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path(".manifestd")
    }

    /// Makes an app's directory and gives the manifest of the App.
    pub(crate) fn app(&self, number: u32) -> String {
        let path = format!("generated/apps/acme/app{number}");
        std::fs::create_dir_all(self.path(&path)).expect("an app");
        std::fs::write(self.path(&path).join("main.py"), "print(1)\n").expect("a source");
        document("App", &format!("app{number}"), &format!("{{path: {path}, model: acme, number: {number}}}"))
    }

    /// Drops a manifest as an editor does: under a hidden name, then renamed.
    pub(crate) fn drop_in(&self, name: &str, text: &str) {
        let target = self.path("manifests").join(name);
        let hidden = target.with_file_name(format!(".{}.tmp", name.replace('/', "-")));
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("a directory");
        std::fs::write(&hidden, text).expect("a manifest");
        std::fs::rename(&hidden, &target).expect("a rename");
    }

    pub(crate) fn take_away(&self, name: &str) {
        std::fs::remove_file(self.path("manifests").join(name)).expect("a manifest to remove");
    }

    /// Makes a named pipe. A program that reads it waits until [`Home::open_gate`].
    pub(crate) fn gate(&self, name: &str) {
        let made = Command::new("mkfifo").arg(self.path(name)).status().expect("mkfifo");
        assert!(made.success());
    }

    /// Lets the program that reads a gate go on; waits until one reads it.
    pub(crate) fn open_gate(&self, name: &str) {
        let (path, (done, opened)) = (self.path(name), mpsc::channel());
        std::thread::spawn(move || done.send(std::fs::write(path, "open\n").is_ok()));
        assert_eq!(opened.recv_timeout(PATIENCE), Ok(true), "nobody came to the gate {name}\n{}", self.dump());
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        let own = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(self.bin.clone().into_iter().chain(std::env::split_paths(&own)));
        let mut all = vec![("HOME", self.path("home").into()), ("PATH", path.expect("a PATH"))];
        all.extend(self.more_environment.iter().cloned());
        all
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let mut command = assert_cmd::Command::new(PROGRAM);
        command.args(arguments).current_dir(self.dir.path()).env_clear().envs(self.environment()).timeout(PATIENCE);
        let output = command.output().unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}", self.dump()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let Some(code) = output.status.code() else {
            panic!("{arguments:?} was killed, or did not end in {PATIENCE:?}\n{out}{err}\n{}", self.dump())
        };
        Said { code, out, err }
    }

    /// Starts the daemon without waiting for anything.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Daemon {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.dir.path()).env_clear().envs(self.environment());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Daemon::start(&mut command, self.state(), Arc::clone(&self.log), arguments)
    }

    /// Starts it as the last argument of another program, which becomes it.
    pub(crate) fn spawn_under(&self, wrapper: &[&str], arguments: &[&str]) -> Daemon {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(PROGRAM).args(arguments);
        command.current_dir(self.dir.path()).env_clear().envs(self.environment());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Daemon::start(&mut command, self.state(), Arc::clone(&self.log), arguments)
    }

    /// What a command shows a person: both of its outputs are a terminal, as script(1) makes one.
    pub(crate) fn on_a_terminal(&self, words: &str) -> String {
        let mut command = assert_cmd::Command::new("script");
        command.args(["-qec", &format!("{PROGRAM} --color never {words}"), "/dev/null"]);
        command.current_dir(self.dir.path()).env_clear().envs(self.environment()).timeout(PATIENCE);
        let output = command.output().unwrap_or_else(|error| panic!("{words}: {error}\n{}", self.dump()));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts the daemon and waits until it serves what is in the manifests.
    pub(crate) fn serve(&self) -> Daemon {
        let daemon = self.spawn(&["serve"]);
        daemon.says("serving");
        if daemon.log.text().contains("the disk is slow") {
            daemon.says("the manifests have ");
        }
        daemon
    }

    pub(crate) fn database(&self) -> Connection {
        open_read_only(&database_path(&self.state())).expect("a database")
    }

    /// Waits until `look` finds what is waited for in the database.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut(&Connection) -> Option<T>) -> T {
        let (changed, changes) = mpsc::channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Looking is an access too.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                // Whoever waited may have what it wanted.
                let _ = changed.send(());
            }
        })
        .expect("a watcher");
        watcher.watch(&self.state(), RecursiveMode::NonRecursive).expect("a watch on the state directory");
        let (connection, end, mut pause) = (self.database(), Instant::now() + PATIENCE, SOON);
        loop {
            if let Some(found) = look(&connection) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {PATIENCE:?} for: {what}\n{}", self.dump());
            let was_told = changes.recv_timeout(left.min(pause)).is_ok();
            pause = if was_told { SOON } else { (pause * 2).min(TICK) };
            while changes.try_recv().is_ok() {}
        }
    }

    /// Waits until a task is as wanted, and gives it.
    pub(crate) fn until_task(&self, name: &str, what: &str, wanted: impl Fn(&TaskView) -> bool) -> ObjectView {
        self.until(&format!("task {name} {what}"), |connection| {
            find(connection, Kind::Task, name).filter(|object| object.task.as_ref().is_some_and(&wanted))
        })
    }

    pub(crate) fn until_phase(&self, name: &str, phase: Phase) -> ObjectView {
        self.until_task(name, &format!("to be {phase}"), |task| task.status.phase == phase)
    }

    pub(crate) fn until_reason(&self, name: &str, phase: Phase, reason: Reason) -> ObjectView {
        let what = format!("to be {phase} because of {reason}");
        self.until_task(name, &what, |task| task.status.phase == phase && task.status.reason == reason)
    }

    /// Waits until a task runs a program, and gives the program's process group.
    pub(crate) fn until_spawned(&self, name: &str) -> i32 {
        let pid = |task: &TaskView| task.attempt().filter(|open| open.ended_at.is_none()).and_then(|a| a.pid);
        let task = self.until_task(name, "to have started its program", |task| pid(task).is_some());
        task.task.as_ref().and_then(pid).expect("it was waited for")
    }

    pub(crate) fn object(&self, kind: Kind, name: &str) -> ObjectView {
        find(&self.database(), kind, name).unwrap_or_else(|| panic!("no {kind} {name}\n{}", self.dump()))
    }

    pub(crate) fn task(&self, name: &str) -> TaskView {
        self.object(Kind::Task, name).task.expect("a task has a status")
    }

    pub(crate) fn attempts(&self, name: &str) -> Vec<AttemptView> {
        view::attempts(&self.database(), &self.object(Kind::Task, name).uid).expect("attempts")
    }

    /// Every event about an object, as `Reason: message`.
    pub(crate) fn events(&self, kind: Kind, name: &str) -> Vec<String> {
        let events = manifestd::store::events::latest(&self.database(), Some((kind, name)), 1000).expect("events");
        events.into_iter().map(|event| format!("{}: {}", event.reason, event.message)).collect()
    }

    /// All that may explain a failure.
    pub(crate) fn dump(&self) -> String {
        let mut text = format!("--- log\n{}\n", self.log.text());
        if let Ok(connection) = open_read_only(&database_path(&self.state())) {
            text.push_str("--- tasks\n");
            for task in
                view::objects(&connection, Kind::Task, &Filter { name: None, removed: true }).unwrap_or_default()
            {
                text.push_str(&format!("{} removed={:?} {:?}\n", task.name, task.removed_at, task.task));
            }
            text.push_str("--- events\n");
            for event in manifestd::store::events::latest(&connection, None, 60).unwrap_or_default() {
                text.push_str(&format!("{}/{} {}: {}\n", event.kind, event.name, event.reason, event.message));
            }
        }
        text
    }
}

/// An object, also a removed one.
pub(crate) fn find(connection: &Connection, kind: Kind, name: &str) -> Option<ObjectView> {
    let filter = Filter { name: Some(name.to_owned()), removed: true };
    view::objects(connection, kind, &filter).expect("objects").pop()
}

/// A manifest of one object; `spec` is a YAML flow mapping.
pub(crate) fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: manifestd.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// The analyzer inside the daemon; needs the setting `embeddedAnalyzer`.
pub(crate) fn embedded(capacity: u32) -> String {
    let spec = format!("{{websocket: {{urls: [\"embedded:\"], request: static_analyze}}, capacity: {capacity}}}");
    document("Analyzer", "embedded", &spec)
}

/// An analyzer whose program waits at the gate that a task names, and then has worked.
pub(crate) fn gated(capacity: u32) -> String {
    let spec = format!("{{command: {{argv: [cat, \"${{config.gate}}\"], tool: gate}}, capacity: {capacity}}}");
    document("Analyzer", "gated", &spec)
}

/// An analyzer whose program does nothing.
pub(crate) fn quick() -> String {
    document("Analyzer", "quick", "{command: {argv: [\"true\"], tool: quick}, capacity: 4}")
}

/// A task; `more` are further fields of its spec, each followed by a comma.
pub(crate) fn task(name: &str, app: &str, analyzer: &str, more: &str) -> String {
    document("Task", name, &format!("{{{more} app: {app}, analyzer: {analyzer}}}"))
}

/// A task that waits at a gate.
pub(crate) fn waiter(name: &str, gate: &str, more: &str) -> String {
    task(name, "app1", "gated", &format!("config: {{gate: {gate}}}, {more}"))
}
