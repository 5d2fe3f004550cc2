//! Taking away what the manifests declare no longer: only after a scan that saw the whole directory as it stood still, from files that nobody is
//! writing, and only if the fuse holds or a person accepted it.

use std::collections::{BTreeMap, HashSet};

use super::mirror::{Batch, Mirror, source_of};
use super::report::SyncReport;
use super::scan::list;
use super::written::Written;
use crate::plan::apps::{GONE_ACCEPTED, SOURCE_SUSPECT};
use crate::plan::mirror::{Change, Identity};
use crate::plan::write::ConditionWrite;
use crate::resource::app_set::MaxDisappear;
use crate::resource::name::Uid;
use crate::store::{FileStat, MirrorCommit, ScannedFile, StoreError};

impl Mirror {
    /// Whether nobody writes into these files: a checkout of our own is exchanged as a whole, and a rehearsal is about what is there now.
    fn is_whole_by_itself(&self) -> bool {
        self.core.rehearses || !self.core.settings.git_url.is_empty()
    }

    /// Whether the directory still has just these files. A listing is not made at one moment: a file that was moved, or replaced by another one,
    /// while it was made may be missing in it though it was always there.
    pub(super) async fn is_still(&self, files: Vec<(String, FileStat)>) -> Result<bool, StoreError> {
        let directory = self.directory.clone();
        let again = self.core.disk.run(move || list(&directory)).await?;
        let paths = |files: Vec<(String, FileStat)>| files.into_iter().map(|(path, _)| path);
        Ok(again.incomplete.is_none() && paths(files).eq(paths(again.files)))
    }

    /// Takes away what is gone: after a complete scan, and only if the fuse holds or a person accepted it.
    pub(super) async fn prune(
        &self,
        batches: Batch,
        gone: HashSet<String>,
        written: &Written,
        report: &mut SyncReport,
    ) -> Result<(), StoreError> {
        let Batch { removals, mut unrecorded, .. } = batches;
        let mut removals = unique(removals);
        let suspect = self.core.store.directory_condition(SOURCE_SUSPECT).await?;
        let accepted = self.core.store.directory_condition(GONE_ACCEPTED).await?;
        let known = if removals.is_empty() { 0 } else { self.core.store.mirrored_count().await? };
        let settings = &self.core.settings;
        let fuse = MaxDisappear { percent: settings.prune_percent, count: settings.prune_count };
        let blown = fuse.is_exceeded(removals.len(), known) && !accepted;
        let doubt = match &report.incomplete {
            Some(why) => Some(("ScanIncomplete", format!("{why}; nothing is removed until it can be read as a whole"))),
            None if blown => Some(("TooManyGone", too_many_gone(removals.len(), known))),
            None => None,
        };
        if let Some((reason, message)) = doubt {
            report.frozen = removals.len() as u64;
            if !suspect {
                tracing::warn!(reason, "{message}");
            }
            let conditions = vec![condition(SOURCE_SUSPECT, true, reason, message)];
            return self.commit(MirrorCommit { conditions, ..MirrorCommit::default() }, report).await;
        }
        if !self.is_whole_by_itself() {
            let is_half = |file: &&ScannedFile| !written.is_whole(&file.path, &file.stat);
            let half: HashSet<String> = unrecorded.iter().filter(is_half).map(|file| file.path.clone()).collect();
            report.settling += half.len() as u64;
            removals.retain(|removal| source_of(removal).is_none_or(|file| !half.contains(file)));
            unrecorded.retain(|file| !half.contains(&file.path));
        }
        let mut commit = MirrorCommit {
            changes: removals,
            files: unrecorded,
            gone: gone.into_iter().collect(),
            ..MirrorCommit::default()
        };
        for (holds, name) in [(suspect, SOURCE_SUSPECT), (accepted, GONE_ACCEPTED)] {
            if holds {
                commit.conditions.push(condition(
                    name,
                    false,
                    "ScanComplete",
                    "the directory was read as a whole".into(),
                ));
            }
        }
        if commit.changes.is_empty()
            && commit.files.is_empty()
            && commit.gone.is_empty()
            && commit.conditions.is_empty()
        {
            return Ok(());
        }
        self.commit(commit, report).await
    }
}

/// A removal can be planned by two batches; it happens once.
fn unique(removals: Vec<Change>) -> Vec<Change> {
    let by_identity: BTreeMap<Identity, Change> = removals
        .into_iter()
        .filter_map(|removal| match &removal {
            Change::Remove { identity, .. } => Some((identity.clone(), removal)),
            Change::Create(_) | Change::Update { .. } => None,
        })
        .collect();
    by_identity.into_values().collect()
}

fn too_many_gone(gone: usize, known: usize) -> String {
    format!(
        "{gone} of {known} manifests are gone in one scan, more than prunePercent or pruneCount allows; nothing is removed. \
         If that is right: manifestd orphans accept"
    )
}

fn condition(condition: &'static str, holds: bool, reason: &'static str, message: String) -> ConditionWrite {
    ConditionWrite { uid: Uid::default(), condition, holds, reason, message }
}
