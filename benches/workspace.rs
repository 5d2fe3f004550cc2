//! The real binary in a temporary workspace: manifests are dropped into it, the database is only read.

use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use manifestd::store::{database_path, open_read_only};
use rusqlite::Connection;

use crate::machine::workplace;

/// Nothing that is measured takes longer; then something is wrong.
const LONGEST: Duration = Duration::from_secs(600);

/// The pauses between two looks at the database: they grow with the time that has passed, so that looking costs next to nothing.
const PAUSE_MIN: Duration = Duration::from_micros(500);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// An end is seen too late by this part of the time until then, or less.
const LATE_PART: u32 = 32;

/// A controller that has had no tick of processor time for so long has nothing to do.
const CALM: Duration = Duration::from_millis(100);

/// What every manifest begins with.
const VERSION: &str = "apiVersion: manifestd.dev/v1alpha1";

/// Tasks that are known, whatever became of them.
pub(crate) const KNOWN: &str = "SELECT count(*) FROM task WHERE removed = 0";

/// Tasks that are Completed and still declared.
pub(crate) const COMPLETED: &str = "SELECT count(*) FROM task WHERE removed = 0 AND phase = 'Completed'";

/// A workspace with one app. Nothing runs in it yet.
pub(crate) struct Workspace {
    directory: tempfile::TempDir,
}

impl Workspace {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir_in(workplace()).expect("a temporary directory");
        let workspace = Self { directory };
        std::fs::create_dir_all(workspace.path("manifests")).expect("manifests");
        std::fs::create_dir_all(workspace.path("generated/apps/m/app1")).expect("an app");
        std::fs::write(workspace.path("generated/apps/m/app1/a.py"), "print(1)\n").expect("a file");
        let app = "kind: App\nmetadata: {name: app}\nspec: {path: generated/apps/m/app1, model: m, number: 1}\n";
        workspace.declare("app", app);
        workspace
    }

    /// A path in it.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Declares an object: a manifest without its first line.
    pub(crate) fn declare(&self, name: &str, text: &str) {
        std::fs::write(self.path(format!("manifests/{name}.yaml")), format!("{VERSION}\n{text}")).expect("a manifest");
    }

    /// Declares a WebSocket analyzer of this name, with the tail of its spec.
    pub(crate) fn declare_service(&self, name: &str, url: &str, capacity: u32, more: &str) {
        let text = format!(
            "kind: Analyzer\nmetadata: {{name: {name}}}\nspec:\n  websocket: {{urls: [\"{url}\"], request: static_analyze}}\n  \
             capacity: {capacity}\n{more}"
        );
        self.declare(name, &text);
    }

    /// Writes tasks, one file each, into a directory beside the manifests.
    pub(crate) fn prepare(&self, name: &str, tasks: Range<u32>, analyzer: &str) -> PathBuf {
        let directory = self.path(name);
        std::fs::create_dir(&directory).expect("a directory");
        for number in tasks {
            let task = format!("{name}-{number:06}");
            std::fs::write(directory.join(format!("{task}.yaml")), task_text(&task, analyzer)).expect("a file");
        }
        directory
    }

    /// Moves what was prepared among the manifests: by one rename, all of it is there at the same moment.
    pub(crate) fn drop_in(&self, prepared: &Path) {
        let name = prepared.file_name().expect("a name");
        std::fs::rename(prepared, self.path("manifests").join(name)).expect("a rename");
    }

    /// A read-only connection to the database; `None` while there is none.
    pub(crate) fn try_database(&self) -> Option<Connection> {
        open_read_only(&database_path(&self.path(".manifestd"))).ok()
    }

    /// A read-only connection to the database, as soon as there is one.
    pub(crate) fn database(&self) -> Connection {
        let began = Instant::now();
        loop {
            if let Some(database) = self.try_database() {
                return database;
            }
            assert!(began.elapsed() < LONGEST, "there is no database");
            std::thread::sleep(PAUSE_MIN);
        }
    }

    /// Writes the settings file.
    pub(crate) fn settle(&self, settings: &str) {
        std::fs::write(self.path("manifestd.yaml"), settings).expect("the settings");
    }

    /// Starts the controller, and gives it back at once.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Controller {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manifestd"));
        command.arg("serve").args(arguments).args(["--color", "never", "--workspace"]).arg(self.directory.path());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary");
        let lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        // Read at once and to its end, so that the controller never waits for a full pipe.
        let (said, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| said.send(line)));
        Controller { child, log }
    }

    /// Starts the controller, and waits until it serves and every service has answered its first probe.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Controller {
        let controller = self.spawn(arguments);
        controller.until_said("serving");
        let unasked = "SELECT count(*) FROM object o WHERE kind = 'Analyzer' AND removed_at IS NULL AND spec ->> 'websocket' IS NOT NULL
                           AND NOT EXISTS (SELECT 1 FROM replica r WHERE r.analyzer = o.name AND healthy = 1)";
        until(&self.database(), unasked, |unasked| unasked == 0);
        controller
    }

    /// What the binary prints in this workspace. Ends the bench when it fails.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manifestd"));
        command.args(arguments).args(["--color", "never", "--workspace"]).arg(self.directory.path());
        let output = command.output().expect("the binary");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "manifestd {}: {error}", arguments.join(" "));
        String::from_utf8(output.stdout).expect("text")
    }
}

/// The text of a no-op task.
pub(crate) fn task_text(name: &str, analyzer: &str) -> String {
    format!(
        "{VERSION}\nkind: Task\nmetadata:\n  name: {name}\n  labels: {{purpose: bench}}\nspec:\n  app: app\n  analyzer: {analyzer}\n  \
         tools: [noop]\n"
    )
}

/// A running controller; it is killed when this is dropped.
pub(crate) struct Controller {
    child: Child,
    log: Receiver<String>,
}

impl Controller {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its log says this.
    pub(crate) fn until_said(&self, words: &str) {
        let mut last = String::new();
        while !last.contains(words) {
            let said = self.log.recv_timeout(LONGEST);
            last = said.unwrap_or_else(|_| panic!("the controller has not said {words:?}; its last words: {last}"));
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(self) {
        self.ask_to_end();
        self.ended();
    }

    /// Asks it to end.
    pub(crate) fn ask_to_end(&self) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a process");
    }

    /// Waits until it has ended.
    pub(crate) fn ended(mut self) {
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "the controller ended with {status}");
    }

    /// Waits until it has nothing to do any more: until it has had no processor time for a while.
    pub(crate) fn until_calm(&self) {
        let began = Instant::now();
        let mut before = self.ticks();
        loop {
            std::thread::sleep(CALM);
            let ticks = self.ticks();
            if ticks == before {
                return;
            }
            assert!(began.elapsed() < LONGEST, "the controller does not come to rest");
            before = ticks;
        }
    }

    /// Ticks of processor time that it has had.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("/proc");
        // Behind the name, which may hold anything: the twelfth and thirteenth field are user and system time.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum()
    }

    /// A line of its `/proc/PID/status`, as a number.
    pub(crate) fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("a number")
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // The process is ours and is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until a count is as wanted.
pub(crate) fn until(database: &Connection, query: &str, is_there: impl Fn(u64) -> bool) {
    let began = Instant::now();
    let mut statement = database.prepare(query).expect("a query");
    loop {
        let count: u64 = statement.query_row([], |row| row.get(0)).expect("a count");
        if is_there(count) {
            return;
        }
        assert!(began.elapsed() < LONGEST, "still {count} after {LONGEST:?}: {query}");
        std::thread::sleep(PAUSE_MIN);
    }
}

/// Waits until so many more tasks are known than `from`, and gives the time when that was seen. Each pause is a third of what is left by the pace so
/// far, as counting takes its time.
pub(crate) fn until_known(database: &Connection, from: u64, by: u32, began: Instant) -> Instant {
    let mut known = database.prepare(KNOWN).expect("a query");
    let by = u64::from(by);
    loop {
        let risen = known.query_row([], |row| row.get::<_, u64>(0)).expect("a count") - from;
        let now = Instant::now();
        if risen >= by {
            return now;
        }
        let elapsed = now.duration_since(began);
        assert!(elapsed < LONGEST, "only {risen} of {by} are known after {LONGEST:?}");
        let left = if risen == 0 { elapsed } else { elapsed.mul_f64((by - risen) as f64 / risen as f64) };
        std::thread::sleep((left / 3).min(elapsed / LATE_PART).clamp(PAUSE_MIN, PAUSE_MAX));
    }
}

/// Waits until this analyzer has nothing left to do and so many more tasks are Completed than `from`; gives the time when that was seen. It looks
/// at what is left, which is told by an index, and counts what has ended only when there is nothing: a history would take its time to count.
pub(crate) fn until_done(database: &Connection, analyzer: &str, from: u64, by: u32, began: Instant) -> Instant {
    let left = "SELECT EXISTS (SELECT 1 FROM task WHERE phase = 'Running' AND analyzer = ?1)
                    OR EXISTS (SELECT 1 FROM task WHERE phase = 'Pending' AND reason = 'Queued' AND analyzer = ?1)";
    let mut left = database.prepare(left).expect("a query");
    loop {
        let is_left: bool = left.query_row([analyzer], |row| row.get(0)).expect("an answer");
        let now = Instant::now();
        if !is_left && count(database, COMPLETED) >= from + u64::from(by) {
            return now;
        }
        let elapsed = now.duration_since(began);
        assert!(elapsed < LONGEST, "{analyzer} has not done its {by} tasks after {LONGEST:?}");
        std::thread::sleep((elapsed / LATE_PART).clamp(PAUSE_MIN, PAUSE_MAX));
    }
}

/// One count, now.
pub(crate) fn count(database: &Connection, query: &str) -> u64 {
    database.query_row(query, [], |row| row.get(0)).expect("a count")
}
