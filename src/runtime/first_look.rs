//! The first look at the disk, before anything starts: so that nothing is started that is no longer wanted. A slow disk does not keep what is
//! known from being worked on.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::core::Core;
use super::git_source::GitSource;
use super::mirror::Mirror;
use super::mirror_loop::MirrorHandle;
use super::reconcile::reconcile;
use crate::plan::Key;

/// How long it may take before the loops begin without it.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Whether it is over when a controller has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstLook {
    /// What is declared and found is known.
    IsOver,
    /// The disk is slow; what is new becomes known later.
    GoesOn,
}

/// Looks at the manifests and the apps once. When that takes too long, the loops do it, and it is told when the manifests have been read.
pub(super) async fn look(
    core: &Core,
    git: Option<&Arc<GitSource>>,
    mirror: &MirrorHandle,
    loops: &mut JoinSet<()>,
) -> FirstLook {
    if tokio::time::timeout(LOOK_MAX, everything(core, git.map(Arc::as_ref))).await.is_ok() {
        return FirstLook::IsOver;
    }
    tracing::warn!("the disk or the repository is slow; starting with what is known, the scans go on beside it");
    let (mirror, git) = (mirror.clone(), git.cloned());
    loops.spawn(async move {
        let followed = match git {
            Some(git) => git.pass(Some(&mirror)).await,
            None => None,
        };
        let report = match followed {
            Some(report) => report,
            None => mirror.sync().await,
        };
        match report {
            Ok(report) if report.incomplete.is_none() => tracing::info!("the manifests have been read"),
            // Why is told by whoever looked, and it is tried again.
            _ => tracing::warn!("the manifests have not all been read yet"),
        }
    });
    FirstLook::GoesOn
}

async fn everything(core: &Core, git: Option<&GitSource>) {
    if let Some(git) = git {
        // It scans what is checked out then, or was before.
        let _ = git.pass(None).await;
    } else if let Err(error) = Mirror::new(core).scan().await {
        core.check("scanning manifests", &error);
    }
    if let Err(error) = reconcile(core, &Key::Apps).await {
        core.check("looking for apps", &error);
    }
}
