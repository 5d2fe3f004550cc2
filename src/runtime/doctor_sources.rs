//! What doctor looks at of the sources, which are the manifests and the directories of apps: whether they were read as a whole and are believed.

use rusqlite::Connection;

use super::doctor::{Diagnosis, Subject};
use super::git_source::SOURCE_STALE;
use crate::plan::apps::{NAME_TAKEN, SOURCE_SUSPECT};
use crate::plan::doctor::Check;
use crate::resource::kind::Kind;
use crate::store::StoreError;
use crate::store::view::{self, ConditionView, Filter};

/// Conditions of a source that is as it should be when they do not hold.
const BAD: [&str; 3] = [SOURCE_SUSPECT, NAME_TAKEN, SOURCE_STALE];

/// Looks at what the latest scans said of their sources, and at manifests that were refused.
pub(super) fn sources(subject: &Subject, connection: &Connection, diagnosis: &mut Diagnosis) -> Result<(), StoreError> {
    let sets = view::objects(connection, Kind::AppSet, &Filter::default())?;
    let problems = view::problems(connection)?;
    let refused: Vec<_> = problems.iter().filter(|problem| problem.is_error()).collect();
    diagnosis.saw(Check::Sources, format!("manifests refused: {}, AppSets: {}", refused.len(), sets.len()));
    if let Some(first) = refused.first() {
        let what = format!("{} problems keep manifests from being taken; the first: {}", refused.len(), first.line());
        diagnosis.found(Check::Sources, "manifests", what, "manifestd get problems lists them all", None);
    }
    let is_there = std::fs::metadata(&subject.manifests).is_ok_and(|found| found.is_dir());
    if !is_there {
        let what = format!("{} is no directory that can be read", subject.manifests.display());
        diagnosis.found(Check::Sources, "manifests", what, "make it, or name another with --manifests", None);
    }
    let directory = ("manifests".to_owned(), view::directory_conditions(connection)?);
    let sets = sets.into_iter().map(|set| (format!("appset/{}", set.name), set.conditions));
    for (object, conditions) in std::iter::once(directory).chain(sets) {
        let holds =
            |condition: &&ConditionView| condition.status == "True" && BAD.contains(&condition.condition.as_str());
        for condition in conditions.iter().filter(holds) {
            let what = format!("{} ({}): {}", condition.condition, condition.reason, condition.message);
            diagnosis.found(Check::Sources, &object, what, "mend the source; what was read before stays", None);
        }
    }
    Ok(())
}
