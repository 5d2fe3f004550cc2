//! `manifestd db rebuild`: a database that is lost or damaged is made anew, from the manifests by the mirror and from what the stored results
//! say of themselves. It is made beside the old one and takes its place by `store::exchange`; what was there is kept.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::archive::RESULTS;
use super::backup::{ArchiveError, Tell, at};
use super::clock::Clock;
use super::core::Core;
use super::found::found_attempt;
use super::mirror::Mirror;
use super::restore::{attempt_directories, keep_or_remove};
use crate::config::Settings;
use crate::disk::scratch;
use crate::executor::{Executors, Limits, Surroundings};
use crate::plan::assignment::text_digest;
use crate::plan::rebuild::{BroughtBack, FoundAttempt, bring_back};
use crate::resource::phase::Phase;
use crate::resource::time::Timestamp;
use crate::store::exchange::{self, Exchange};
use crate::store::rebuild::DeclaredTask;
use crate::store::{StateLock, Store, check, database_path};

/// Tasks that are written in one transaction.
const BATCH: usize = 500;

/// Names that are listed of each sort; of more only the number is told.
const NAMES_MAX: usize = 100;

/// What is told to whoever resumes a pipeline.
const SUSPENDED: &str =
    "the database was rebuilt and its runs are not known any more; resuming makes a run for its manifest again";

/// What a rebuild came to.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RebuildReport {
    /// Objects that the manifests declare.
    pub declared: u64,
    /// What is wrong with the manifests; see `manifestd get problems`.
    pub problems: u64,
    /// Tasks that are finished again, by phase.
    pub finished: BTreeMap<Phase, u64>,
    /// Tasks that run, since no result proves their end.
    pub pending: u64,
    /// Tasks that run again, since their results are about another spec.
    pub changed: u64,
    /// Finished tasks whose results were stored by an older program, which did not write for which spec: app, analyzer and tools fit.
    pub assumed: u64,
    /// Attempts that were brought back.
    pub attempts: u64,
    /// Results that are not whole, with what is wrong: the first hundred.
    pub damaged: Vec<String>,
    /// How many are not.
    pub damaged_count: u64,
    /// Results of tasks that no manifest declares, such as those of runs.
    pub undeclared: u64,
    /// Pipelines, which are suspended.
    pub suspended: Vec<String>,
    /// Where what was there before is kept, results that were not brought back among it; absent when nothing was done.
    pub aside: Option<PathBuf>,
}

/// What is to be rebuilt.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The settings.
    pub settings: Settings,
    /// The workspace.
    pub workspace: PathBuf,
    /// Whether nothing is to be changed.
    pub dry_run: bool,
    /// Whether a database that is whole gives way, too.
    pub force: bool,
}

/// Rebuilds.
///
/// # Errors
/// Why it was not done; then everything is as it was.
pub async fn rebuild(wanted: &Wanted, now: Timestamp, tell: Tell<'_>) -> Result<RebuildReport, ArchiveError> {
    let state = wanted.workspace.join(&wanted.settings.state);
    let whole = check::check(&database_path(&state)).is_ok_and(|found| found.is_whole());
    if whole && !wanted.force && !wanted.dry_run {
        return Err(ArchiveError::Refused(format!(
            "the database of {} is whole; rebuilding it would lose what is in no manifest and no result: runs, events, requests. \
             With --force it is set aside, and made anew all the same",
            state.display()
        )));
    }
    if wanted.dry_run {
        let scratch = scratch().map_err(at(&std::env::temp_dir()))?;
        return make(wanted, &state, scratch.path(), now, tell).await.map(|(report, _)| report);
    }
    let lock = StateLock::acquire(&state)?;
    let next = exchange::fresh_next(&lock)?;
    let made = make(wanted, &state, &next.join("making"), now, tell).await;
    let (mut report, strays) = match made {
        Ok(made) => made,
        Err(error) => {
            // What cannot be removed now is by the next try.
            let _ = exchange::discard_next(&lock);
            return Err(error);
        }
    };
    // A copy has no log beside it, whoever still has the other one open.
    check::snapshot(&database_path(&next.join("making")), &database_path(&next))?;
    tracing::debug!("the new database is made");
    let aside = exchange::aside_name(&state, "rebuild", &now.rfc3339());
    let database = database_path(Path::new("")).display().to_string();
    let aside = exchange::exchange(&lock, &Exchange { aside, items: vec![database], strays })?;
    report.aside = keep_or_remove(aside);
    Ok(report)
}

/// Makes the new database in a directory of its own. Gives the results as well that it does not know.
async fn make(
    wanted: &Wanted,
    state: &Path,
    scratch: &Path,
    now: Timestamp,
    tell: Tell<'_>,
) -> Result<(RebuildReport, Vec<String>), ArchiveError> {
    let store = Store::open(StateLock::acquire(scratch)?)?;
    let surroundings = Surroundings {
        workspace: wanted.workspace.clone(),
        state: scratch.to_owned(),
        secrets: scratch.to_owned(),
        programs: None,
        embedded: None,
        attempt_token_prefix: store.id().to_owned(),
        environment: BTreeMap::new(),
        limits: Limits::default(),
    };
    let (settings, executors) = (wanted.settings.clone(), Executors::new(surroundings));
    let core = Core::new(store, Clock::System, settings, wanted.workspace.clone(), executors);
    let scan = Mirror::new(&core).scan().await?;
    tracing::debug!("the manifests are mirrored");
    if let Some(why) = scan.incomplete {
        return Err(ArchiveError::Refused(format!(
            "the manifests could not be read as a whole: {why}; nothing was changed. Mend that first"
        )));
    }
    let mut report = RebuildReport { declared: scan.created, problems: scan.problems, ..RebuildReport::default() };
    let strays = bring_all_back(&core.store, &state.join(RESULTS), &mut report, now, tell).await?;
    report.suspended = core.store.suspend_pipelines(SUSPENDED, now).await?;
    Ok((report, strays))
}

async fn bring_all_back(
    store: &Store,
    results: &Path,
    report: &mut RebuildReport,
    now: Timestamp,
    tell: Tell<'_>,
) -> Result<Vec<String>, ArchiveError> {
    let declared = store.declared_tasks().await?;
    let (names, mut strays) = (declared.iter().map(|task| task.name.as_str()).collect::<HashSet<_>>(), Vec::new());
    let mut of_task: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for directory in attempt_directories(results)? {
        match directory.split('/').nth(1) {
            Some(task) if names.contains(task) => of_task.entry(task.to_owned()).or_default().push(directory),
            _ => {
                report.undeclared += 1;
                strays.push(directory);
            }
        }
    }
    let (mut batch, mut done, all) = (Vec::with_capacity(BATCH), 0, declared.len() as u64);
    for task in declared {
        let mut found = Vec::new();
        for directory in of_task.remove(&task.name).unwrap_or_default() {
            match found_attempt(results, &directory, &task.name) {
                Ok(attempt) => found.push(attempt),
                Err(why) => {
                    tracing::warn!(directory, why, "not brought back");
                    report.damaged_count += 1;
                    if report.damaged.len() < NAMES_MAX {
                        report.damaged.push(format!("{directory}: {why}"));
                    }
                    strays.push(directory);
                }
            }
        }
        tracing::debug!(task = task.name, "looked at its results");
        count(&task, found, report).into_iter().for_each(|back| batch.push((task.clone(), back)));
        done += 1;
        tell(done, all);
        if batch.len() == BATCH {
            store.bring_back(std::mem::take(&mut batch), now).await?;
        }
    }
    store.bring_back(batch, now).await?;
    Ok(strays)
}

/// What is brought back of a task, counted.
fn count(task: &DeclaredTask, found: Vec<FoundAttempt>, report: &mut RebuildReport) -> Option<BroughtBack> {
    let Some(back) = bring_back(&task.spec, &text_digest(&task.text), task.kept, found) else {
        report.pending += 1;
        return None;
    };
    report.attempts += back.attempts.len() as u64;
    match back.status.phase {
        phase if phase.is_terminal() => {
            *report.finished.entry(phase).or_default() += 1;
            report.assumed += u64::from(back.assumed);
        }
        _ if back.generation > back.status.observed_generation => report.changed += 1,
        _ => report.pending += 1,
    }
    Some(back)
}
