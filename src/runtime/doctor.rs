//! Looks at everything that a state directory consists of, and changes nothing: the database, its rows against the files both ways, and
//! whoever owns it. What may be done about it safely is done by the controller, like every other change.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;

use super::doctor_analyzers::{Outside, analyzers};
use super::doctor_sources::sources;
use super::found::verify_result;
use super::restore::attempt_directories;
use super::stray_scan::look_at;
use crate::plan::doctor::{Check, Finding, Fix};
use crate::resource::attempt::AttemptId;
use crate::resource::time::{Span, Timestamp};
use crate::store::doctor::{KnownResult, contradictions, count_results, open_attempts, results};
use crate::store::{StateLock, StoreError, check, database_path, open_read_only, stray};

/// An attempt that was opened later may not be carried yet by the answer that its controller gave.
const YOUNG: Span = Span::minutes(1);

/// Directories whose owners are looked for at once.
const ASKED: usize = 500;

/// Findings of one check at most; who has more has one cause of them all.
const FINDINGS_MAX: usize = 10_000;

/// How far the work is: so much, of so much.
pub type Tell<'t> = &'t mut dyn FnMut(u64, u64);

/// What is to be looked at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The state directory.
    pub state: PathBuf,
    /// The directory of manifests.
    pub manifests: PathBuf,
    /// What the running controller carries; `None` when none answers.
    pub held: Option<HashSet<AttemptId>>,
    /// Whatever is younger is left alone.
    pub grace: Span,
    /// Whether digests of results are left out: then only whether they are there is looked at.
    pub quick: bool,
    /// What analyzers may name.
    pub outside: Outside,
    /// What time it is.
    pub now: Timestamp,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// What each check that was made has seen, for a person.
    pub checks: BTreeMap<Check, String>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    pub(super) fn saw(&mut self, check: Check, what: impl Into<String>) {
        self.checks.insert(check, what.into());
    }

    pub(super) fn found(
        &mut self,
        check: Check,
        object: impl Into<String>,
        what: impl Into<String>,
        advice: &str,
        fix: Option<Fix>,
    ) {
        if self.findings.iter().filter(|finding| finding.check == check).count() < FINDINGS_MAX {
            let (object, what, advice) = (object.into(), what.into(), advice.to_owned());
            self.findings.push(Finding { check, object, what, advice, fix });
        }
    }
}

/// Looks at a state directory. Blocks.
#[must_use]
pub fn examine(subject: &Subject, tell: Tell<'_>) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    access(subject, &mut diagnosis);
    lock(subject, &mut diagnosis);
    let Some(connection) = database(subject, &mut diagnosis) else { return diagnosis };
    let looked = rows(subject, &connection, &mut diagnosis)
        .and_then(|()| sources(subject, &connection, &mut diagnosis))
        .and_then(|()| analyzers(subject, &connection, &mut diagnosis))
        .and_then(|()| stored_results(subject, &connection, &mut diagnosis, tell))
        .and_then(|()| strays(subject, &connection, &mut diagnosis));
    if let Err(error) = looked {
        diagnosis.found(Check::Database, "manifestd.db", error.to_string(), DAMAGED, None);
    }
    diagnosis
}

const DAMAGED: &str =
    "bring a backup back with manifestd restore FILE --force, or make it anew with manifestd db rebuild";

fn access(subject: &Subject, diagnosis: &mut Diagnosis) {
    match fs::metadata(&subject.state) {
        Err(error) => diagnosis.saw(Check::Access, format!("{}: {error}", subject.state.display())),
        Ok(found) => {
            diagnosis.saw(Check::Access, format!("mode {:o}", found.mode() & 0o777));
            if found.permissions().mode() & 0o077 != 0 {
                let what = format!(
                    "others may look into it (mode {:o}): results and settings of tasks are private",
                    found.mode() & 0o777
                );
                let object = subject.state.display().to_string();
                diagnosis.found(Check::Access, object, what, "chmod 700", Some(Fix::MakePrivate));
            }
        }
    }
}

fn lock(subject: &Subject, diagnosis: &mut Diagnosis) {
    let holder = StateLock::holder(&subject.state);
    match (holder, &subject.held) {
        (None, None) => diagnosis.saw(Check::Lock, "no controller runs"),
        (_, Some(held)) => {
            diagnosis.saw(Check::Lock, format!("a controller runs and answers; it carries {} attempts", held.len()))
        }
        (Some(pid), None) => {
            diagnosis.saw(Check::Lock, format!("process {pid} owns it"));
            let advice =
                "if it has only just started, ask again; else stop it by its number and start manifestd serve again";
            diagnosis.found(
                Check::Lock,
                format!("process {pid}"),
                "owns the state directory and does not answer",
                advice,
                None,
            );
        }
    }
}

fn database(subject: &Subject, diagnosis: &mut Diagnosis) -> Option<Connection> {
    let path = database_path(&subject.state);
    let found = match check::check(&path) {
        Ok(found) => found,
        Err(StoreError::Absent { .. }) if !has_results(&subject.state) => {
            diagnosis.saw(Check::Schema, "no database yet: manifestd serve or manifestd reconcile --once makes it");
            return None;
        }
        Err(StoreError::Absent { path }) => {
            diagnosis.found(
                Check::Schema,
                "manifestd.db",
                StoreError::Lost { path }.to_string(),
                "manifestd db rebuild --dry-run",
                None,
            );
            return None;
        }
        Err(error) => {
            diagnosis.found(Check::Database, "manifestd.db", error.to_string(), DAMAGED, None);
            return None;
        }
    };
    diagnosis.saw(Check::Schema, format!("version {}", found.version));
    diagnosis.saw(Check::Database, "its pages and references were checked");
    for problem in found.integrity.iter().chain(&found.foreign_keys) {
        diagnosis.found(Check::Database, "manifestd.db", problem, DAMAGED, None);
    }
    if found.version != found.known {
        let what = format!(
            "has schema version {}, this manifestd has {}; what is in it was not looked at",
            found.version, found.known
        );
        diagnosis.found(
            Check::Schema,
            "manifestd.db",
            what,
            "manifestd db migrate brings it up to date, after a backup",
            None,
        );
        return None;
    }
    open_read_only(&path)
        .inspect_err(|error| diagnosis.found(Check::Database, "manifestd.db", error.to_string(), DAMAGED, None))
        .ok()
}

fn has_results(state: &Path) -> bool {
    attempt_directories(&state.join("results")).is_ok_and(|found| !found.is_empty())
}

fn rows(subject: &Subject, connection: &Connection, diagnosis: &mut Diagnosis) -> Result<(), StoreError> {
    diagnosis.saw(Check::Rows, "no row contradicts another");
    for (object, what) in contradictions(connection)? {
        diagnosis.found(
            Check::Rows,
            object,
            what,
            "somebody has changed the database by hand; manifestd restore FILE, or manifestd db rebuild --force",
            None,
        );
    }
    let open = open_attempts(connection)?;
    let (over, open): (Vec<_>, Vec<_>) = open.into_iter().partition(|attempt| attempt.ended.is_some());
    for attempt in over {
        let phase = attempt.ended.unwrap_or_default();
        let what = format!("is {phase}, and its attempt {} has not ended: it takes a slot for ever", attempt.id.number);
        let fix = Fix::EndAttempt { task: attempt.task.clone(), id: attempt.id };
        diagnosis.found(Check::Rows, format!("task/{}", attempt.task), what, "end it", Some(fix));
    }
    if diagnosis.findings.iter().any(|finding| finding.check == Check::Rows) {
        diagnosis.saw(Check::Rows, "rows contradict each other");
    }
    let Some(held) = &subject.held else {
        let text = match open.len() {
            0 => "nothing runs".to_owned(),
            count => format!(
                "{count} attempts have not ended, and no controller runs; the next start takes them up or ends them"
            ),
        };
        diagnosis.saw(Check::Running, text);
        return Ok(());
    };
    diagnosis.saw(Check::Running, format!("{} attempts run", open.len()));
    for attempt in open {
        if !held.contains(&attempt.id) && subject.now.since(attempt.opened_at) > YOUNG {
            let what = format!(
                "is Running since {}, and the controller does not carry its attempt {}",
                attempt.opened_at, attempt.id.number
            );
            let advice = "manifestd status says whether the loop of tasks turns; restarting the controller settles it";
            diagnosis.found(Check::Running, format!("task/{}", attempt.task), what, advice, None);
        }
    }
    Ok(())
}

fn stored_results(
    subject: &Subject,
    connection: &Connection,
    diagnosis: &mut Diagnosis,
    tell: Tell<'_>,
) -> Result<(), StoreError> {
    let root = subject.state.join("results");
    let (count, mut done) = (count_results(connection)?, 0);
    // Attempts may share one; it is read once.
    let mut last: Option<(String, Option<String>)> = None;
    let mut lost = Vec::new();
    results(connection, |result: KnownResult| {
        let wrong = match &last {
            Some((directory, wrong)) if *directory == result.directory => wrong.clone(),
            _ => verify_result(&root, &result.directory, &result.sha256, subject.quick).err(),
        };
        last = Some((result.directory.clone(), wrong.clone()));
        if let Some(wrong) = wrong {
            lost.push((result, wrong));
        }
        done += 1;
        tell(done, count);
        Ok(())
    })?;
    let how = if subject.quick {
        "are there, as far as their directories tell"
    } else {
        "were read, and their digests compared"
    };
    diagnosis.saw(Check::Results, format!("results: {count}; they {how}"));
    for (result, wrong) in lost {
        let KnownResult { id, task, directory, .. } = result;
        let what =
            format!("the result of attempt {} in results/{directory} is not what was stored: {wrong}", id.number);
        let advice = format!("manifestd retry {task} makes it anew");
        let fix = Fix::ForgetResult { task: task.clone(), id, directory };
        diagnosis.found(Check::Results, format!("task/{task}"), what, &advice, Some(fix));
    }
    Ok(())
}

fn strays(subject: &Subject, connection: &Connection, diagnosis: &mut Diagnosis) -> Result<(), StoreError> {
    let root = subject.state.join("results");
    let paths = attempt_directories(&root).unwrap_or_default();
    let (mut unlisted, mut listed) = (Vec::new(), 0);
    for some in paths.chunks(ASKED) {
        let found = some.iter().filter_map(|path| look_at(&root, path)).collect();
        for stray in stray::find(connection, found)? {
            match stray.seen_at {
                Some(_) => listed += 1,
                None if subject.now.since(stray.changed_at) > subject.grace => unlisted.push(stray.path),
                None => {}
            }
        }
    }
    diagnosis.saw(Check::Strays, format!("directories of results: {}, listed as strays: {listed}", paths.len()));
    for path in unlisted {
        let object = format!("results/{path}");
        let what = "belongs to no attempt";
        let advice =
            "list it: it can be kept (manifestd orphans keep), and is deleted by maintenance after quarantineDays";
        diagnosis.found(Check::Strays, object, what, advice, Some(Fix::ListStray { path }));
    }
    let purged = stray::count_removals(connection)?;
    if purged > 0 {
        let what = format!("{purged} directories of purged results are still there");
        diagnosis.found(Check::Strays, "results", what, "they are removed", Some(Fix::Sweep));
    }
    // While a controller runs they are of attempts that run.
    let staged = fs::read_dir(subject.state.join("staging")).map_or(0, Iterator::count);
    if staged > 0 && subject.held.is_none() {
        let what = format!("{staged} directories in staging/ are of attempts that are gone");
        diagnosis.found(Check::Strays, "staging", what, "they are removed, as at every start", Some(Fix::Sweep));
    }
    Ok(())
}

/// Takes the right to read a state directory from everybody but its owner.
///
/// # Errors
/// What the system says.
pub(super) fn make_private(state: &Path) -> std::io::Result<()> {
    fs::set_permissions(state, fs::Permissions::from_mode(0o700))
}
