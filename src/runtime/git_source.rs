//! Manifests from a git repository: fetch a branch, check its commit out beside the tree that counts, exchange the two by one rename, let the mirror
//! scan, take older trees away. Whatever goes wrong, the last good tree stays and the condition SourceStale says why.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::syncfs;
use tokio::sync::Mutex;

use super::core::Core;
use super::git_program::Git;
use super::mirror::Mirror;
use super::mirror_loop::MirrorHandle;
use super::pulse::Beat;
use super::report::SyncReport;
use crate::config::{GIT_CURRENT, GIT_DIRECTORY};
use crate::plan::write::ConditionWrite;
use crate::resource::name::Uid;
use crate::store::MirrorCommit;
use crate::store::durable::make;

/// Condition of the manifests directory when the repository cannot be followed.
pub const SOURCE_STALE: &str = "SourceStale";

/// Where the fetched branch is remembered; no name of the other side can clash with it.
const FETCHED: &str = "refs/manifestd/source";

/// A git repository that the manifests come from.
pub struct GitSource {
    core: Core,
    git: Git,
    /// `git` in the state directory; absolute.
    root: PathBuf,
    turn: Mutex<Turn>,
}

/// What one pass leaves for the next.
struct Turn {
    /// Why the repository could not be followed; the outer `None` when nothing was told yet.
    told: Option<Option<Stale>>,
    /// Whether the tree that counts is not mirrored yet.
    unread: bool,
}

/// Why the repository cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stale {
    reason: &'static str,
    message: String,
}

impl Stale {
    fn because(reason: &'static str) -> impl Fn(String) -> Self {
        move |message| Self { reason, message }
    }
}

/// Follows the repository until the process stops.
pub async fn run(core: Core, source: Arc<GitSource>, mirror: MirrorHandle) {
    let mut tick = tokio::time::interval(core.settings.git_interval.std());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The start has just looked.
    tick.reset();
    loop {
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => break,
            _ = tick.tick() => {}
        }
        let pass = core.pulses.begin(Beat::Git, core.now());
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => break,
            followed = source.pass(Some(&mirror)) => if let Some(Err(error)) = followed {
                tracing::warn!(%error, "the fetched manifests could not be scanned; they will be at the next look");
            },
        }
        core.pulses.end(pass, core.now());
    }
}

impl GitSource {
    /// What the settings name; `None` when they name no repository.
    #[must_use]
    pub fn new(core: &Core, state: &Path, environment: &BTreeMap<String, String>) -> Option<Self> {
        if core.settings.git_url.is_empty() {
            return None;
        }
        let root = state.join(GIT_DIRECTORY);
        let root = std::path::absolute(&root).unwrap_or(root);
        let turn = Mutex::new(Turn { told: None, unread: true });
        Some(Self { core: core.clone(), git: Git::new(environment), root, turn })
    }

    /// Looks at the repository once. When another commit counts now, or none was mirrored yet, it is mirrored: by the loop of the mirror, or
    /// here when there is none. Gives the mirror's report, if it scanned.
    pub async fn pass(&self, mirror: Option<&MirrorHandle>) -> Option<Result<SyncReport, String>> {
        // One at a time: what one has checked out must not be taken away by another.
        let mut turn = self.turn.lock().await;
        // Asked once whenever it begins to fail.
        let doubt = !matches!(turn.told, Some(Some(_)));
        let followed = self.follow(doubt).await;
        turn.unread |= matches!(followed, Ok(true));
        self.tell(&mut turn, followed.err()).await;
        if !turn.unread {
            return None;
        }
        let report = match mirror {
            Some(mirror) => mirror.sync().await,
            None => Mirror::new(&self.core).scan().await.map_err(|error| error.to_string()),
        };
        if let Ok(report) = &report {
            turn.unread = report.incomplete.is_some();
            // No scan reads an older tree any more: this one began after the exchange, and they follow each other.
            self.sweep().await;
        }
        Some(report)
    }

    /// Makes the newest commit of the branch the one that counts. Says whether another one did before.
    async fn follow(&self, doubt: bool) -> Result<bool, Stale> {
        let commit = self.fetch(doubt).await.map_err(Stale::because("FetchFailed"))?;
        if self.core.settings.git_verify {
            let verified = self.on_repository(&self.repository(), &["verify-commit", &commit]).await;
            verified.map_err(|why| Stale {
                reason: "VerifyFailed",
                message: format!("commit {commit} has no signature that git verify-commit accepts: {why}"),
            })?;
        }
        let tree = self.tree(&commit);
        if self.current().as_deref() == Some(tree.as_path()) {
            self.check_path(&tree)?;
            return Ok(false);
        }
        self.check_out(&commit, &tree).await.map_err(Stale::because("CheckoutFailed"))?;
        self.check_path(&tree)?;
        self.exchange(&commit).map_err(|error| Stale {
            reason: "CheckoutFailed",
            message: format!("{}: {error}", self.root.join(GIT_CURRENT).display()),
        })?;
        tracing::info!(commit, "checked out");
        Ok(true)
    }

    /// Fetches the branch and gives its commit. When that fails and `doubt` says so, the repository here may be what is broken, by a power cut
    /// or a kill in the middle of git: it is only a copy, so another one is made, and takes its place if that can be fetched into.
    async fn fetch(&self, doubt: bool) -> Result<String, String> {
        let (repository, fresh) = (self.repository(), self.root.join("repo.new"));
        let why = match self.fetch_into(&repository).await {
            Err(why) if doubt => why,
            fetched => return fetched,
        };
        let shown = |error: std::io::Error| format!("{}: {error}", fresh.display());
        remove(&fresh).map_err(shown)?;
        let Ok(commit) = self.fetch_into(&fresh).await else { return Err(why) };
        tracing::warn!(why, "the copy of the repository could not be used and was made anew");
        // What the trees say of their commits. There may be none.
        let _ = std::fs::rename(repository.join("worktrees"), fresh.join("worktrees"));
        remove(&repository).and_then(|()| std::fs::rename(&fresh, &repository)).map_err(shown)?;
        Ok(commit)
    }

    async fn fetch_into(&self, repository: &Path) -> Result<String, String> {
        if !repository.join("HEAD").is_file() {
            make(&self.root, 0o700).map_err(|error| format!("{}: {error}", self.root.display()))?;
            self.on_repository(repository, &["init", "--quiet", "--bare", "--template="]).await?;
        }
        let settings = &self.core.settings;
        // With a plus: what the other side made of the branch counts, also when it was rewritten.
        let refspec = format!("+refs/heads/{}:{FETCHED}", settings.git_branch);
        let (quiet, url) =
            (["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"], &settings.git_url);
        let mut arguments = vec!["fetch"];
        arguments.extend(quiet);
        arguments.extend(["--depth=1", "--", url, &refspec]);
        self.on_repository(repository, &arguments).await?;
        self.on_repository(repository, &["rev-parse", "--verify", "--quiet", &format!("{FETCHED}^{{commit}}")]).await
    }

    /// Writes the files of a commit into a directory that nobody looks at yet. Half of one that an earlier process left is taken away first.
    async fn check_out(&self, commit: &str, tree: &Path) -> Result<(), String> {
        let half = tree.to_owned();
        let removed = self.core.disk.run(move || remove(&half)).await.map_err(|error| error.to_string())?;
        removed.map_err(|error| format!("{}: {error}", tree.display()))?;
        self.on_repository(&self.repository(), &["worktree", "prune"]).await?;
        let add: [&OsStr; 8] = [
            "worktree".as_ref(),
            "add".as_ref(),
            "--quiet".as_ref(),
            // Twice: also where git was killed in the middle of it, which leaves a lock.
            "--force".as_ref(),
            "--force".as_ref(),
            "--detach".as_ref(),
            tree.as_os_str(),
            commit.as_ref(),
        ];
        self.git.run(&self.repository(), &self.core.workspace, &add).await?;
        // Git does not sync the files that it writes, and half of them must not come to count: a manifest that is empty declares nothing.
        let root = self.root.clone();
        let synced =
            self.core.disk.run(move || Ok(syncfs(File::open(root)?)?)).await.map_err(|error| error.to_string())?;
        synced.map_err(|error: std::io::Error| format!("{}: {error}", tree.display()))
    }

    /// Whether the directory of manifests is in the tree, and a link does not lead out of it.
    fn check_path(&self, tree: &Path) -> Result<(), Stale> {
        let path = &self.core.settings.git_path;
        let wrong = |why: String| Stale { reason: "PathMissing", message: format!("gitPath = {path:?}: {why}") };
        let missing = |error: std::io::Error| wrong(format!("not in the repository: {error}"));
        let (top, real) = (tree.canonicalize().map_err(missing)?, tree.join(path).canonicalize().map_err(missing)?);
        match real.starts_with(&top) {
            false => Err(wrong("a link leads out of the repository".into())),
            true if !real.is_dir() => Err(wrong("it is no directory".into())),
            true => Ok(()),
        }
    }

    /// Lets a tree count: who looks sees the old one or the new one.
    fn exchange(&self, commit: &str) -> std::io::Result<()> {
        let new = self.root.join("current.new");
        remove(&new)?;
        std::os::unix::fs::symlink(Path::new("trees").join(commit), &new)?;
        std::fs::rename(&new, self.root.join(GIT_CURRENT))?;
        // Before the other tree is taken away.
        File::open(&self.root)?.sync_all()
    }

    /// Takes away every tree but the one that counts. What cannot be removed now is at the next exchange.
    async fn sweep(&self) {
        let (trees, Some(current)) = (self.root.join("trees"), self.current()) else { return };
        let swept = self.core.disk.run(move || -> std::io::Result<()> {
            for entry in std::fs::read_dir(trees)? {
                let path = entry?.path();
                if path != current {
                    remove(&path)?;
                }
            }
            Ok(())
        });
        if let Ok(Err(error)) = swept.await {
            tracing::warn!(%error, "an old checkout could not be removed");
        }
    }

    /// The tree that counts.
    fn current(&self) -> Option<PathBuf> {
        let target = std::fs::read_link(self.root.join(GIT_CURRENT)).ok()?;
        Some(self.root.join(target)).filter(|tree| tree.is_dir())
    }

    fn repository(&self) -> PathBuf {
        self.root.join("repo.git")
    }

    fn tree(&self, commit: &str) -> PathBuf {
        self.root.join("trees").join(commit)
    }

    async fn on_repository(&self, repository: &Path, arguments: &[&str]) -> Result<String, String> {
        let arguments: Vec<&OsStr> = arguments.iter().map(|argument| argument.as_ref()).collect();
        // In the workspace, which the path of a repository is relative to.
        self.git.run(repository, &self.core.workspace, &arguments).await
    }

    /// Says when it stops or starts to work, or fails in another way; not at every try.
    async fn tell(&self, turn: &mut Turn, stale: Option<Stale>) {
        if turn.told.as_ref() == Some(&stale) {
            return;
        }
        let nothing_to_lift = async || matches!(self.core.store.directory_condition(SOURCE_STALE).await, Ok(false));
        if stale.is_none() && nothing_to_lift().await {
            turn.told = Some(stale);
            return;
        }
        let (holds, reason, message) = match &stale {
            Some(stale) => {
                tracing::warn!(reason = stale.reason, "the repository cannot be followed: {}", stale.message);
                (true, stale.reason, format!("{}; the manifests stay as they were", stale.message))
            }
            None => {
                tracing::info!("the repository is followed again");
                (false, "Followed", "the newest commit of the branch is mirrored".to_owned())
            }
        };
        let write = ConditionWrite { uid: Uid::default(), condition: SOURCE_STALE, holds, reason, message };
        let commit = MirrorCommit { conditions: vec![write], ..MirrorCommit::default() };
        match self.core.store.commit_mirror(commit, self.core.now()).await {
            Ok(_) => turn.told = Some(stale),
            Err(error) => self.core.check("recording how the repository is followed", &error),
        }
    }
}

/// Removes a file or a whole directory; one that is not there is fine.
fn remove(path: &Path) -> std::io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
