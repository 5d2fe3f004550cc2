//! Who wrote a manifest: what git says of the file, asked for when somebody wants to see it and never stored.
//!
//! git is called by its arguments, with an environment of its own, for commands that run nothing from the repository: no pager, no signature
//! check, no text conversion. Where it cannot be asked, the commit alone is shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::context::environment;
use crate::manifest::FILE_BYTES_MAX;
use crate::resource::time::Timestamp;

/// All questions of one command together. A disk that hangs must not make a command hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// Variables that git is given: where programs are, and whose repositories it may trust.
const VARIABLES: &[&str] = &["PATH", "HOME", "XDG_CONFIG_HOME"];

/// The commit that a manifest's text came with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    /// The last commit that changed the file, in hex.
    pub(super) commit: String,
    /// `NAME <ADDRESS>`.
    pub(super) author: String,
    /// When it was written, as RFC 3339.
    pub(super) authored: String,
    /// The first line of its message.
    pub(super) subject: String,
}

/// What git could say of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// It came with this commit.
    Commit(Written),
    /// The file at that commit does not hold this text: it was written into the checkout.
    NotCommitted,
    /// git could not be asked, or does not know the commit.
    Unknown,
}

/// Asks git about the files of a manifests directory.
pub(super) struct Authors {
    directory: PathBuf,
    until: Instant,
    written: BTreeMap<(String, String), Option<Written>>,
}

impl Authors {
    /// Asks about this directory, for at most [`PATIENCE`] from now.
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), until: Instant::now() + PATIENCE, written: BTreeMap::new() }
    }

    /// Where a text in a file came from, which was the current one while this commit was checked out.
    pub(super) async fn origin(&mut self, commit: Option<&str>, file: &str, text: &str) -> Origin {
        let Some(commit) = commit.filter(|commit| commit.bytes().all(|byte| byte.is_ascii_hexdigit())) else {
            return Origin::Unknown;
        };
        let key = (commit.to_owned(), file.to_owned());
        let written = match self.written.get(&key) {
            Some(known) => known.clone(),
            None => {
                let written = self.last_change(commit, file).await;
                self.written.insert(key, written.clone());
                written
            }
        };
        let Some(blob) = self.git(&["cat-file", "blob", &format!("{commit}:./{file}")]).await else {
            // Known to git, but not with this file: it was never committed there.
            let known = self.git(&["cat-file", "-t", commit]).await.is_some();
            return if known { Origin::NotCommitted } else { Origin::Unknown };
        };
        // A checkout may write line breaks in another way.
        let same = blob.replace('\r', "").contains(&text.replace('\r', ""));
        match written {
            Some(written) if same => Origin::Commit(written),
            Some(_) => Origin::NotCommitted,
            None => Origin::Unknown,
        }
    }

    async fn last_change(&self, commit: &str, file: &str) -> Option<Written> {
        let path = format!("./{file}");
        let format = "--format=%H%x00%an <%ae>%x00%at%x00%s";
        read(&self.git(&["log", "-1", "--no-show-signature", "--no-color", format, commit, "--", &path]).await?)
    }

    /// What git prints; `None` when it fails, is not there, takes too long or says too much.
    async fn git(&self, arguments: &[&str]) -> Option<String> {
        let mut command = tokio::process::Command::new("git");
        command.arg("--no-pager").arg("-C").arg(&self.directory).args(arguments);
        command.env_clear().envs(environment().into_iter().filter(|(name, _)| VARIABLES.contains(&name.as_str())));
        // Sources: git(1). Nothing is asked of a person, fetched, locked or taken as a pattern.
        command.envs([
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_LITERAL_PATHSPECS", "1"),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().ok()?;
        let stdout = child.stdout.take()?;
        let mut said = Vec::new();
        let talk = async {
            stdout.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut said).await.ok()?;
            child.wait().await.ok().filter(std::process::ExitStatus::success)
        };
        timeout_at(self.until, talk).await.ok()??;
        String::from_utf8(said).ok()
    }
}

/// The parts of a line of `git log`.
fn read(line: &str) -> Option<Written> {
    let mut parts = line.trim_end_matches('\n').splitn(4, '\0');
    let (commit, author, seconds, subject) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let authored = Timestamp(seconds.parse::<i64>().ok()?.checked_mul(1000)?).rfc3339();
    Some(Written { commit: commit.into(), author: author.into(), authored, subject: subject.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_taken_apart_and_anything_else_is_nothing() {
        let written = read("ab12\0A. Person <a@example.org>\x001767614400\0Say: more, \"quoted\"\n").unwrap();
        assert_eq!((written.commit.as_str(), written.author.as_str()), ("ab12", "A. Person <a@example.org>"));
        assert_eq!(
            (written.subject.as_str(), written.authored.as_str()),
            ("Say: more, \"quoted\"", "2026-01-05T12:00:00.000Z")
        );
        for wrong in ["", "ab\0name\0x\0subject", "ab\0name\x009223372036854775807\0s", "one"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
