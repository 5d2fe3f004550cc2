//! Who answers the requests of a controller: the analyzer of the bench, or one of ours.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::analyzer::{Analyzer, Protocol};
use crate::workspace::Workspace;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// The analyzer of the bench.
    Bench(Protocol),
    /// The one inside of the controller, with its no-op tool.
    Embedded,
    /// The same as a process of its own.
    Standalone,
}

/// It, running.
pub(crate) struct Running {
    url: String,
    arguments: &'static [&'static str],
    _analyzer: Option<Analyzer>,
    child: Option<Child>,
}

impl Served {
    /// As it is called in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bench(Protocol::Base) => "connection per task",
            Self::Bench(Protocol::Extended) => "manifestd/v1",
            Self::Embedded => "embedded analyzer",
            Self::Standalone => "manifestd analyzer",
        }
    }
}

impl Running {
    /// Starts it for the apps of a workspace.
    pub(crate) fn start(by: Served, workspace: &Workspace) -> Self {
        match by {
            Served::Bench(protocol) => {
                let analyzer = Analyzer::start(protocol);
                let url = format!("ws://{}", analyzer.address());
                Self { url, arguments: &[], _analyzer: Some(analyzer), child: None }
            }
            Served::Embedded => {
                Self { url: "embedded:".into(), arguments: &["--embedded-analyzer"], _analyzer: None, child: None }
            }
            Served::Standalone => {
                let (child, url) = standalone(workspace);
                Self { url, arguments: &[], _analyzer: None, child: Some(child) }
            }
        }
    }

    /// Its address in a manifest.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What the controller is started with.
    pub(crate) const fn arguments(&self) -> &'static [&'static str] {
        self.arguments
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // The process is ours and is waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts `manifestd analyzer` on a free port, which it says.
fn standalone(workspace: &Workspace) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manifestd"));
    command.args(["--color", "never", "analyzer", "--listen", "127.0.0.1:0", "--sources"]);
    command.arg(workspace.path("generated/apps"));
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.split("address=").nth(1)?.split_whitespace().next().map(str::to_owned));
    let url = format!("ws://{}", address.expect("an address"));
    std::thread::spawn(move || lines.for_each(drop));
    (child, url)
}
