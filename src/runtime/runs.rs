//! Observing a run: what the store knows, and whether the apps that its children should have made are on disk.

use std::io::ErrorKind;
use std::path::Path;

use super::core::Core;
use crate::plan::pipeline::child::made_by;
use crate::plan::pipeline::observed::{ObservedRun, OpenChild};
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::store::StoreError;

/// Reads the store, then the disk: a child that is seen as ended has left its directory by then.
///
/// # Errors
/// What the store says. What the disk says is part of the observation.
pub(super) async fn observe_run(core: &Core, uid: &Uid) -> Result<Option<ObservedRun>, StoreError> {
    let Some(mut run) = core.store.observe_run(uid.clone()).await? else { return Ok(None) };
    run.roots.clone_from(&core.settings.roots);
    let wanted = wanted(&run);
    if wanted.is_empty() {
        return Ok(Some(run));
    }
    let (workspace, roots) = (core.workspace.clone(), run.roots.clone());
    let seen = core
        .disk
        .run(move || {
            let look = |(step, child, path): (usize, usize, String)| (step, child, is_made(&workspace, &roots, &path));
            wanted.into_iter().map(look).collect::<Vec<_>>()
        })
        .await?;
    for (step, child, produced) in seen {
        run.steps[step].open[child].produced = produced;
    }
    Ok(Some(run))
}

/// The directories to look for: step, place among its open children, path. As many as there are open children, so the window bounds them.
fn wanted(run: &ObservedRun) -> Vec<(usize, usize, String)> {
    let has_ended = |child: &OpenChild| matches!(child.phase, Phase::Completed | Phase::PartialSuccess);
    let mut wanted = Vec::new();
    for (step, facts) in run.steps.iter().enumerate() {
        for (child, open) in facts.open.iter().enumerate().filter(|(_, open)| has_ended(open)) {
            if let Some(app) = made_by(run, step, open) {
                wanted.push((step, child, app.spec.path));
            }
        }
    }
    wanted
}

/// Whether a directory is there, and truly inside of the workspace and one of the roots; `None` when that cannot be seen. A link that leads out of
/// them is no app: nothing may be analysed through it.
fn is_made(workspace: &Path, roots: &[String], path: &str) -> Option<bool> {
    let whole = workspace.canonicalize().ok()?;
    match whole.join(path).canonicalize() {
        Ok(real) => {
            let within = |root: &String| whole.join(root).canonicalize().is_ok_and(|root| real.starts_with(root));
            Some(real != whole && real.starts_with(&whole) && roots.iter().any(within) && real.is_dir())
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_made_when_its_directory_is_there_and_inside_of_the_workspace() {
        let (workspace, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = workspace.path();
        std::fs::create_dir_all(root.join("generated/app1")).unwrap();
        std::fs::write(root.join("generated/file"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("generated/link")).unwrap();
        std::os::unix::fs::symlink(root.join("generated/app1"), root.join("generated/inner")).unwrap();
        for (path, made) in [
            ("generated/app1", true),
            ("generated/inner", true),
            ("generated/app2", false),
            ("generated/file", false),
            ("generated/file/app", false),
            ("generated/link", false),
            (".", false),
            ("..", false),
        ] {
            assert_eq!(is_made(root, &[".".into()], path), Some(made), "{path}");
        }
        let roots = ["generated".to_owned()];
        std::fs::create_dir(root.join("other")).unwrap();
        std::os::unix::fs::symlink(root.join("other"), root.join("generated/out")).unwrap();
        for (path, made) in [("generated/app1", true), ("other", false), ("generated/out", false)] {
            assert_eq!(is_made(root, &roots, path), Some(made), "{path}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_neither_there_nor_not() {
        let workspace = tempfile::tempdir().unwrap();
        assert_eq!(is_made(&workspace.path().join("gone"), &[".".into()], "generated/app1"), None);
        // A circle of links has no end to be looked at.
        std::os::unix::fs::symlink("circle", workspace.path().join("circle")).unwrap();
        assert_eq!(is_made(workspace.path(), &[".".into()], "circle"), None);
    }
}
