//! Actions: what the loops of the file system and of maintenance do, one line for each thing, with the rule and the threshold behind it.
//!
//! They are part of the plan that does them, so what `reconcile --once --dry-run` lists is what a real run does, word for word. That is why
//! no text here tells an age: it would be another one a moment later.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::resource::time::Span;

/// Why something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// An AppSet found a directory.
    AppFound,
    /// The directory of an app is gone.
    AppMissing,
    /// The directory of an app is there again.
    AppRestored,
    /// The record of an app whose directory stays away is deleted.
    AppDeleted,
    /// A task hangs in Running.
    TaskStuck,
    /// A task hangs in Pending.
    TaskPendingTooLong,
    /// A task that ended long ago is set aside.
    TaskSetAside,
    /// A run that ended long ago is set aside, with its tasks.
    RunSetAside,
    /// The record of a deleted app is deleted for good.
    AppPurged,
    /// What was set aside of a task is deleted for good.
    TaskPurged,
    /// What was set aside of a run is deleted for good.
    RunPurged,
    /// A directory of results belongs to no attempt.
    StrayFound,
    /// A directory that belongs to no attempt is removed.
    StrayPurged,
    /// Old events are deleted.
    EventsPruned,
}

impl Rule {
    /// Every rule, in the order of reports.
    pub const ALL: [Self; 14] = [
        Self::AppFound,
        Self::AppMissing,
        Self::AppRestored,
        Self::AppDeleted,
        Self::TaskStuck,
        Self::TaskPendingTooLong,
        Self::TaskSetAside,
        Self::RunSetAside,
        Self::AppPurged,
        Self::TaskPurged,
        Self::RunPurged,
        Self::StrayFound,
        Self::StrayPurged,
        Self::EventsPruned,
    ];

    /// The setting that holds its threshold; `None` for what has none.
    #[must_use]
    pub const fn setting(self) -> Option<&'static str> {
        match self {
            Self::AppFound | Self::AppMissing | Self::AppRestored => None,
            Self::AppDeleted => Some("orphanAppRetentionDays"),
            Self::TaskStuck => Some("stuckTaskTimeoutMinutes"),
            Self::TaskPendingTooLong => Some("pendingTaskTimeoutMinutes"),
            Self::TaskSetAside | Self::RunSetAside | Self::EventsPruned => Some("taskRetentionDays"),
            Self::StrayFound => Some("gracePeriodMinutes"),
            Self::AppPurged | Self::TaskPurged | Self::RunPurged | Self::StrayPurged => Some("quarantineDays"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Action {
    /// Why.
    pub rule: Rule,
    /// What it is done to, such as `task/lint-app1`.
    pub object: String,
    /// What is done, for a person.
    pub what: String,
    /// The threshold that was passed, when the rule has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<String>,
}

impl Action {
    /// An action of a rule without a threshold.
    #[must_use]
    pub fn new(rule: Rule, object: String, what: impl Into<String>) -> Self {
        Self { rule, object, what: what.into(), threshold: None }
    }

    /// An action of a rule that found something older than this.
    #[must_use]
    pub fn over(rule: Rule, object: String, what: impl Into<String>, threshold: Span) -> Self {
        Self { threshold: Some(threshold.to_string()), ..Self::new(rule, object, what) }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)?;
        match (&self.threshold, self.rule.setting()) {
            (Some(threshold), Some(setting)) => write!(f, " ({}, {setting} = {threshold})", self.rule),
            _ => write!(f, " ({})", self.rule),
        }
    }
}

/// What may be done: everything, or only what a person has seen in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Permit {
    /// Whatever the rules say.
    #[default]
    All,
    /// Only these rules on these objects.
    Only(BTreeSet<(Rule, String)>),
}

impl Permit {
    /// Allows exactly these actions.
    #[must_use]
    pub fn only(actions: &[Action]) -> Self {
        Self::Only(actions.iter().map(|action| (action.rule, action.object.clone())).collect())
    }

    /// Whether an action may be done.
    #[must_use]
    pub fn allows(&self, rule: Rule, object: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(known) => known.contains(&(rule, object.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_object_the_rule_and_the_threshold() {
        let action = Action::over(Rule::TaskSetAside, "task/a".into(), "set aside", Span::minutes(60 * 24 * 30));
        assert_eq!(action.to_string(), "task/a: set aside (TaskSetAside, taskRetentionDays = 30d)");
        let action = Action::new(Rule::AppRestored, "app/a".into(), "\"apps/a\" is there again");
        assert_eq!(action.to_string(), "app/a: \"apps/a\" is there again (AppRestored)");
    }

    #[test]
    fn a_permit_allows_what_it_names_and_nothing_else() {
        let action = Action::new(Rule::AppMissing, "app/a".into(), "gone");
        let permit = Permit::only(std::slice::from_ref(&action));
        assert!(permit.allows(Rule::AppMissing, "app/a"));
        assert!(!permit.allows(Rule::AppDeleted, "app/a") && !permit.allows(Rule::AppMissing, "app/b"));
        assert!(Permit::All.allows(Rule::AppDeleted, "app/b"));
    }

    #[test]
    fn every_rule_is_in_the_list_of_reports_once() {
        let listed: BTreeSet<Rule> = Rule::ALL.into_iter().collect();
        assert_eq!(listed.len(), Rule::ALL.len());
    }
}
