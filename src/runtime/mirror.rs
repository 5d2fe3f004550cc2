//! The mirror: keeps the stored objects equal to what the manifests directory declares.
//!
//! A file that an event says is complete is read at once, and what it asks for starts with it. Everything else is found by scans: read what changed,
//! plan and commit it at one moment while the next is read, and only after a complete scan take away what is gone; see `prune.rs`.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::core::Core;
use super::git::head_commit;
use super::mirror_observe::{observe, problems};
use super::pass::{Passed, is_at_one_moment, pass_within};
use super::report::SyncReport;
use super::scan::{Compared, Listing, ReadFile, compare, list, read_all, relative};
use super::written::Written;
use crate::config::Settings;
use crate::disk::TrustedPrograms;
use crate::manifest::{Bounds, Problem, Programs};
use crate::plan::Key;
use crate::plan::mirror::{Change, MirrorPlan, plan};
use crate::store::{FileStat, MirrorCommit, MirrorOutcome, OwnedProblem, ScannedFile, StoreError};

/// Files that are read, planned and committed together; bounds the memory of a scan, and how long others wait for the store.
const BATCH_FILES: usize = 256;

/// So few files are read without another thread.
const FEW_FILES: usize = 4;

/// The mirror of one directory.
#[derive(Clone)]
pub struct Mirror {
    pub(super) core: Core,
    pub(super) directory: PathBuf,
    roots: Vec<String>,
    programs: Option<TrustedPrograms>,
}

/// Files that were read together.
struct Read {
    paths: Vec<String>,
    files: Vec<ReadFile>,
    failed: Vec<String>,
}

/// What a batch came to, for what follows it in the same scan.
#[derive(Default)]
pub(super) struct Batch {
    /// What its files no longer declare.
    pub(super) removals: Vec<Change>,
    /// Files whose objects another one has.
    refused: Vec<String>,
    /// Files that lose something, which are read again until that is taken away.
    pub(super) unrecorded: Vec<ScannedFile>,
}

impl Mirror {
    /// The mirror of the directory that the settings name.
    #[must_use]
    pub fn new(core: &Core) -> Self {
        let directory = core.workspace.join(core.settings.manifests_directory());
        let programs = TrustedPrograms::of(&core.workspace, &core.settings.command_directory);
        Self { core: core.clone(), directory, roots: core.settings.roots.clone(), programs }
    }

    /// What its manifests may name.
    fn bounds(&self) -> Bounds<'_> {
        let programs = self.programs.as_ref().map(|programs| programs as &dyn Programs);
        Bounds { roots: &self.roots, programs }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads files that are complete by the event itself, takes nothing away. Says whether a scan must follow.
    ///
    /// # Errors
    /// What the store says.
    pub async fn read_now(&self, paths: BTreeSet<PathBuf>) -> Result<bool, StoreError> {
        let paths: Vec<String> = self.below(&paths);
        let mut report = SyncReport::default();
        let mut scan_follows = false;
        for paths in paths.chunks(BATCH_FILES) {
            let batch = match self.take_in(self.read(paths).await?, &HashSet::new(), true, &mut report).await {
                Err(error) if !error.is_fatal() && !error.is_full() => {
                    // What starts together with it may be at fault, and must not keep it from being mirrored.
                    tracing::warn!(%error, "what was dropped could not be started at once");
                    self.batch(paths, &HashSet::new(), &mut report).await?
                }
                batch => batch?,
            };
            scan_follows |= !batch.removals.is_empty() || !batch.refused.is_empty() || report.incomplete.is_some();
        }
        // What could not be read is gone by now, or is no file of this directory: a scan tells which.
        Ok(scan_follows || report.files_read < paths.len() as u64)
    }

    /// The paths of an event's files as they are known here; of files elsewhere none.
    fn below<T: FromIterator<String>>(&self, paths: &BTreeSet<PathBuf>) -> T {
        let real = self.directory.canonicalize().unwrap_or_else(|_| self.directory.clone());
        let known = paths
            .iter()
            .map(|path| relative(&real, path))
            .map(|path| relative(&self.directory, Path::new(&path)))
            .filter(|path| !Path::new(path).is_absolute());
        known.collect()
    }

    /// Scans the whole directory and makes the store equal to it.
    ///
    /// # Errors
    /// What the store says. A directory that cannot be read as a whole is no error: the report says so, and nothing is taken away.
    pub async fn scan(&self) -> Result<SyncReport, StoreError> {
        self.scan_beside(&BTreeSet::new(), &BTreeSet::new()).await
    }

    /// The same beside those who write into some files, which are `open`; others were `closed` since the last scan.
    ///
    /// # Errors
    /// As [`Mirror::scan`].
    pub(super) async fn scan_beside(
        &self,
        open: &BTreeSet<PathBuf>,
        closed: &BTreeSet<PathBuf>,
    ) -> Result<SyncReport, StoreError> {
        let written = Written { open: self.below(open), closed: self.below(closed), at: self.core.now() };
        let report = self.pinned().scan_pinned(&written).await?;
        tracing::debug!(read = report.files_read, "the manifests directory was scanned");
        Ok(report)
    }

    /// The same directory by its real path: a checkout is exchanged by a link, and a scan reads all of one tree.
    fn pinned(&self) -> Self {
        let directory = self.directory.canonicalize().unwrap_or_else(|_| self.directory.clone());
        Self { directory, ..self.clone() }
    }

    async fn scan_pinned(&self, written: &Written) -> Result<SyncReport, StoreError> {
        let mut report = SyncReport::default();
        let directory = self.directory.clone();
        let listing = self.core.disk.run(move || list(&directory));
        self.core.store.read_by(self.rules()).await?;
        let (known, listing) = tokio::join!(biased; self.core.store.mirrored_files(), listing);
        let (known, Listing { files, refused, incomplete }) = (known?, listing?);
        let contested = self.core.store.contested_files().await?;
        let Compared { mut changed, gone } = compare(&known, &files, &contested, &refused);
        let is_open = |(path, stat): &&(String, FileStat)| written.is_open(path, stat);
        let open: HashSet<&String> = files.iter().filter(is_open).map(|(path, _)| path).collect();
        report.open = open.len() as u64;
        changed.retain(|path| !open.contains(path));
        drop(known);
        report.incomplete = incomplete;
        self.tell_refused(refused, &mut report).await?;
        let mut batches = Batch::default();
        // The first batch also looks at what came from files that are gone, so that a renamed file is a move and not a loss.
        let mut first = if report.incomplete.is_none() { gone.clone() } else { HashSet::new() };
        let mut parts: Vec<&[String]> = changed.chunks(BATCH_FILES).collect();
        if parts.is_empty() && !first.is_empty() {
            parts.push(&[]);
        }
        let mut parts = parts.into_iter();
        let mut read = match parts.next() {
            Some(paths) => Some(self.read(paths).await?),
            None => None,
        };
        while let Some(part) = read.take() {
            // The next ones are read while these are taken in.
            let ahead = async {
                match parts.next() {
                    Some(paths) => self.read(paths).await.map(Some),
                    None => Ok(None),
                }
            };
            let first = std::mem::take(&mut first);
            let (batch, ahead) = tokio::join!(biased; self.take_in(part, &first, false, &mut report), ahead);
            batches.append(batch?);
            read = ahead?;
        }
        self.settle_contested(&mut batches, &gone, &mut report).await?;
        let takes_away = report.incomplete.is_none() && !(gone.is_empty() && batches.removals.is_empty());
        if !takes_away || self.is_still(files).await? {
            self.prune(batches, gone, written, &mut report).await?;
        } else {
            report.settling += 1;
        }
        let directory = self.directory.clone();
        if let Some(commit) = self.core.disk.run(move || head_commit(&directory)).await? {
            self.core.store.follow_checkout(commit).await?;
        }
        report.problems = self.core.store.problem_count().await?;
        Ok(report)
    }

    /// What decides, besides a manifest itself, whether it is taken: read by others, it is to be read again.
    fn rules(&self) -> String {
        let Settings { roots, command_directory, .. } = &*self.core.settings;
        format!("manifestd {}, roots {roots:?}, commandDirectory {command_directory:?}", env!("CARGO_PKG_VERSION"))
    }

    /// Keeps the problems of files that are not even read; they belong to the directory itself.
    async fn tell_refused(&self, refused: Vec<Problem>, report: &mut SyncReport) -> Result<(), StoreError> {
        if self.core.store.problems_of(String::new()).await? == refused {
            return Ok(());
        }
        refused.iter().for_each(|problem| tracing::warn!("{}", problem.line()));
        let owned = |problem| OwnedProblem { owner: String::new(), problem };
        let problems = refused.into_iter().map(owned).collect();
        self.commit(MirrorCommit { judged: vec![String::new()], problems, ..MirrorCommit::default() }, report).await
    }

    /// What one batch refused may have been held by a file that another batch found to declare it no longer: these are read together.
    async fn settle_contested(
        &self,
        batches: &mut Batch,
        gone: &HashSet<String>,
        report: &mut SyncReport,
    ) -> Result<(), StoreError> {
        if batches.refused.is_empty() || batches.removals.is_empty() {
            return Ok(());
        }
        let mut paths: BTreeSet<String> = batches.refused.drain(..).collect();
        paths.extend(batches.removals.iter().filter_map(|removal| match removal {
            Change::Remove { provenance, .. } if !gone.contains(&provenance.file) => Some(provenance.file.clone()),
            _ => None,
        }));
        let paths: Vec<String> = paths.into_iter().collect();
        let again = self.batch(&paths, gone, report).await?;
        let moved = |removal: &Change| match removal {
            Change::Remove { provenance, .. } => !paths.contains(&provenance.file) && !gone.contains(&provenance.file),
            Change::Create(_) | Change::Update { .. } => true,
        };
        batches.removals.retain(moved);
        batches.append(again);
        Ok(())
    }

    /// Reads, plans and commits one batch, without its removals.
    async fn batch(
        &self,
        paths: &[String],
        gone: &HashSet<String>,
        report: &mut SyncReport,
    ) -> Result<Batch, StoreError> {
        let read = self.read(paths).await?;
        self.take_in(read, gone, false, report).await
    }

    /// Reads files. Of few of them somebody may be waiting for each.
    async fn read(&self, paths: &[String]) -> Result<Read, StoreError> {
        let (mirror, paths, few) = (self.clone(), paths.to_vec(), paths.len() <= FEW_FILES);
        let read = move || {
            let (mut failed, commit) = (Vec::new(), head_commit(&mirror.directory));
            let files = read_all(&mirror.directory, &paths, mirror.bounds(), commit.as_ref(), &mut failed);
            Read { paths, files, failed }
        };
        match few {
            true => self.core.disk.run_here(read).await,
            false => self.core.disk.run(read).await,
        }
    }

    /// Plans and commits what was read, at one moment, without its removals; and starts, in the same transaction, what can be started `at_once`.
    async fn take_in(
        &self,
        read: Read,
        gone: &HashSet<String>,
        at_once: bool,
        report: &mut SyncReport,
    ) -> Result<Batch, StoreError> {
        let Read { paths, files, failed } = read;
        if let Some(first) = failed.into_iter().next() {
            report.incomplete.get_or_insert(first);
        }
        let files_read = files.len() as u64;
        let mut observed = observe(&files);
        observed.gone.clone_from(gone);
        let core = self.core.clone();
        let (batch, news, outcome, passed) = self
            .core
            .store
            .at_one_moment(move |moment| {
                observed.existing = moment.mirrored_objects(&observed)?;
                let MirrorPlan { changes, removals, duplicates, .. } = plan(&observed);
                let loses: HashSet<&str> = removals.iter().filter_map(source_of).collect();
                let scanned = files.iter().map(|file| file.file.clone());
                let (unrecorded, recorded) = scanned.partition(|file| loses.contains(file.path.as_str()));
                let problems = problems(&files, &duplicates);
                // What is read again at every scan is told once.
                let news = moment.new_problems(&problems)?;
                let refused = duplicates.into_iter().map(|duplicate| duplicate.refused.file).collect();
                let commit = MirrorCommit {
                    changes,
                    files: recorded,
                    judged: paths.clone(),
                    problems,
                    ..MirrorCommit::default()
                };
                let mut outcome = moment.commit_mirror(&commit, core.now())?;
                let mut passed = Vec::new();
                if at_once && !core.stopping.is_cancelled() {
                    let keys: Vec<Key> = outcome.woken.iter().filter(|key| is_at_one_moment(key)).cloned().collect();
                    passed = pass_within(&core, moment, &keys)?;
                    let done: HashSet<&Key> = passed.iter().map(Passed::key).collect();
                    outcome.woken.retain(|key| !done.contains(key));
                }
                Ok((Batch { removals, refused, unrecorded }, news, outcome, passed))
            })
            .await?;
        report.files_read += files_read;
        news.iter().for_each(|problem| tracing::warn!("{}", problem.line()));
        self.committed(outcome, report);
        passed.into_iter().for_each(|one| one.perform_alone(&self.core));
        Ok(batch)
    }

    pub(super) async fn commit(&self, commit: MirrorCommit, report: &mut SyncReport) -> Result<(), StoreError> {
        let outcome = self.core.store.commit_mirror(commit, self.core.now()).await?;
        self.committed(outcome, report);
        Ok(())
    }

    fn committed(&self, outcome: MirrorOutcome, report: &mut SyncReport) {
        report.created += outcome.created as u64;
        report.updated += outcome.updated as u64;
        report.removed += outcome.removed as u64;
        outcome.woken.into_iter().for_each(|key| self.core.wakes.add(key));
    }
}

impl Batch {
    fn append(&mut self, other: Self) {
        self.removals.extend(other.removals);
        self.refused.extend(other.refused);
        self.unrecorded.extend(other.unrecorded);
    }
}

/// The file of what is to be taken away.
pub(super) fn source_of(change: &Change) -> Option<&str> {
    match change {
        Change::Remove { provenance, .. } => Some(&provenance.file),
        Change::Create(_) | Change::Update { .. } => None,
    }
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
