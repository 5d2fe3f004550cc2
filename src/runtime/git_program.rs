//! Running git on a repository that others write to: no shell, no hooks, no prompt, no transport that runs programs, a clean environment, and an
//! end to everything.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use crate::resource::outcome::one_line;

/// So long one call may take. A fetch of the newest commit of a large repository over a slow line takes some seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// So much of what git says is read; a remote can make it say anything.
const OUTPUT_MAX: u64 = 64 * 1024;

/// What git inherits: where programs, keys and the user's own settings for git lie, and how the network is reached.
const INHERITED: [&str; 22] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "GNUPGHOME",
    "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "CURL_CA_BUNDLE",
    "KRB5CCNAME",
];

/// Transports that may be used. `ext` and `fd`, which run what an address says, are not among them.
const PROTOCOLS: &str = "file:git:http:https:ssh";

/// Settings that no other place may change.
const SETTINGS: [&str; 6] = [
    // A power cut must not leave a repository that cannot be read.
    "core.fsync=all",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    "advice.detachedHead=false",
];

/// How git is called.
#[derive(Debug)]
pub(super) struct Git {
    environment: BTreeMap<String, String>,
}

impl Git {
    /// With what it may know of the environment of this process.
    pub(super) fn new(environment: &BTreeMap<String, String>) -> Self {
        let inherited = INHERITED.iter().filter_map(|&name| environment.get_key_value(name));
        let mut environment: BTreeMap<String, String> =
            inherited.map(|(name, value)| (name.clone(), value.clone())).collect();
        for (name, value) in [("GIT_TERMINAL_PROMPT", "0"), ("GIT_ALLOW_PROTOCOL", PROTOCOLS), ("LC_ALL", "C")] {
            environment.insert(name.into(), value.into());
        }
        Self { environment }
    }

    /// Runs git on a repository, in a directory, and gives what it printed.
    ///
    /// # Errors
    /// What it complained about, in one line.
    pub(super) async fn run(
        &self,
        repository: &Path,
        directory: &Path,
        arguments: &[&OsStr],
    ) -> Result<String, String> {
        let mut command = Command::new("git");
        SETTINGS.iter().for_each(|setting| _ = command.args(["-c", setting]));
        command.arg("--git-dir").arg(repository).args(arguments).current_dir(directory);
        command.env_clear().envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("git cannot be started: {error}"))?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = async { tokio::join!(beginning(out), beginning(err), child.wait()) };
        let what = arguments.first().map_or_else(String::new, |word| word.to_string_lossy().into_owned());
        let (out, err, status) = tokio::time::timeout(TIMEOUT, ended)
            .await
            .map_err(|_| format!("git {what} did not end within {} s", TIMEOUT.as_secs()))?;
        drop(group);
        let status = status.map_err(|error| format!("git {what}: {error}"))?;
        if status.success() {
            return Ok(out.trim().to_owned());
        }
        let said = [err.trim(), out.trim()].into_iter().find(|text| !text.is_empty()).unwrap_or("it says nothing");
        Err(format!("git {what}: {}", one_line(said)))
    }
}

/// The processes of one call; what is left of them is killed when it is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Usually they are gone by now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What a program says first. Once that is too much, the pipe is closed, which ends the program.
async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read before an error is all there is.
        let _ = stream.take(OUTPUT_MAX).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
