//! A controller of the real binary in a temporary workspace, for benchmarks.
#![allow(dead_code, reason = "each benchmark is a program of its own and uses what it needs")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use manifestd::store::{database_path, open_read_only};
use rusqlite::Connection;

/// A workspace with one analyzer, one app, and a running controller.
pub(crate) struct Bench {
    // Removed after the controller has ended.
    directory: tempfile::TempDir,
    controller: Child,
}

impl Bench {
    /// Starts a controller with the embedded analyzer and its no-op tool, `capacity` requests at once.
    pub(crate) fn start(capacity: u32) -> Self {
        Self::serve(Self::workspace(capacity))
    }

    /// A workspace with that analyzer and one app.
    pub(crate) fn workspace(capacity: u32) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(at("manifests")).expect("manifests");
        std::fs::create_dir_all(at("generated/apps/m/app1")).expect("an app");
        std::fs::write(at("generated/apps/m/app1/a.py"), "print(1)\n").expect("a file");
        let setup = format!(
            "apiVersion: manifestd.dev/v1alpha1\nkind: Analyzer\nmetadata: {{name: noop}}\nspec:\n  websocket: {{urls: [\"embedded:\"], \
             request: static_analyze}}\n  capacity: {capacity}\n---\napiVersion: manifestd.dev/v1alpha1\nkind: App\nmetadata: {{name: app}}\n\
             spec: {{path: generated/apps/m/app1, model: m, number: 1}}\n"
        );
        std::fs::write(at("manifests/setup.yaml"), setup).expect("the setup");
        directory
    }

    /// Starts a controller in a workspace.
    pub(crate) fn serve(directory: tempfile::TempDir) -> Self {
        let mut controller = Command::new(env!("CARGO_BIN_EXE_manifestd"))
            .args(["serve", "--embedded-analyzer", "--color", "never", "--workspace"])
            .arg(directory.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let mut lines = BufReader::new(controller.stderr.take().expect("stderr")).lines();
        let serving = lines.by_ref().map_while(Result::ok).find(|line| line.contains("serving"));
        assert!(serving.is_some(), "the controller did not start");
        // Read to its end by a thread, so that the controller never waits for a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let bench = Self { directory, controller };
        bench.until_ready();
        bench
    }

    /// Waits until the analyzer has answered its first probe: what is measured is a controller that knows its analyzers.
    fn until_ready(&self) {
        let database = self.database();
        let began = std::time::Instant::now();
        while !database
            .query_row("SELECT EXISTS (SELECT 1 FROM replica WHERE healthy = 1)", [], |row| row.get::<_, bool>(0))
            .expect("an answer")
        {
            assert!(began.elapsed().as_secs() < 60, "the embedded analyzer does not answer");
            std::thread::yield_now();
        }
    }

    /// The text of a no-op task.
    pub(crate) fn task(name: &str) -> String {
        format!(
            "apiVersion: manifestd.dev/v1alpha1\nkind: Task\nmetadata:\n  name: {name}\n  labels: {{purpose: bench}}\nspec:\n  app: app\n  \
             analyzer: noop\n  tools: [noop]\n"
        )
    }

    /// A path in the workspace.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// A read-only connection to the controller's database.
    pub(crate) fn database(&self) -> Connection {
        open_read_only(&database_path(&self.path(".manifestd"))).expect("the database")
    }

    /// Writes a file elsewhere in the workspace, to be moved into the manifests directory.
    pub(crate) fn prepare(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a prepared file");
        path
    }

    /// Moves a prepared file into the manifests directory.
    pub(crate) fn drop_in(&self, prepared: &Path) {
        let name = prepared.file_name().expect("a name");
        std::fs::rename(prepared, self.path("manifests").join(name)).expect("a rename");
    }

    /// What the binary prints in this workspace. Ends the benchmark when it fails.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manifestd"));
        command.args(arguments).args(["--color", "never", "--workspace"]).arg(self.directory.path());
        let output = command.output().expect("the binary");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "manifestd {}: {error}", arguments.join(" "));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The largest resident set of the controller so far, in KiB.
    pub(crate) fn peak_rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.controller.id())).expect("/proc");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The process is ours and is waited for; the directory goes after it.
        let _ = self.controller.kill();
        let _ = self.controller.wait();
    }
}
