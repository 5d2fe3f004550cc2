//! What doctor looks at, what it finds, and what may be done about it without asking anybody who knows more.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::resource::attempt::AttemptId;

/// One thing that doctor looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// Settings that cannot both be meant.
    Settings,
    /// Who may read the state.
    Access,
    /// Whether whoever owns the state directory answers.
    Lock,
    /// The version of the schema.
    Schema,
    /// The pages of the database, and what refers to what.
    Database,
    /// Rows that contradict each other.
    Rows,
    /// Whether the manifests and the directories of apps were read as a whole, and are believed.
    Sources,
    /// What analyzers name outside of the manifests: programs and secrets.
    Analyzers,
    /// Attempts that run while nobody carries them.
    Running,
    /// The files of every stored result.
    Results,
    /// Directories that belong to nothing.
    Strays,
}

impl Check {
    /// Every check, in the order in which they are made.
    pub const ALL: [Self; 11] = [
        Self::Settings,
        Self::Access,
        Self::Lock,
        Self::Schema,
        Self::Database,
        Self::Rows,
        Self::Sources,
        Self::Analyzers,
        Self::Running,
        Self::Results,
        Self::Strays,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}").to_lowercase())
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// By which check.
    pub check: Check,
    /// What it is about, such as `task/lint`.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// What a person does about it.
    pub advice: String,
    /// What can be done about it safely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

/// What can be done safely: nothing is deleted, and nothing that is true is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", deny_unknown_fields)]
pub enum Fix {
    /// Record that the files of an attempt's result are lost. The task stays as it ended.
    ForgetResult {
        /// The task's name.
        task: String,
        /// The attempt.
        id: AttemptId,
        /// The directory, relative to results/.
        directory: String,
    },
    /// End an attempt whose task has ended.
    EndAttempt {
        /// The task's name.
        task: String,
        /// The attempt.
        id: AttemptId,
    },
    /// List a directory as a stray: maintenance deletes it after its time in quarantine, unless somebody keeps it.
    ListStray {
        /// Its path, relative to results/.
        path: String,
    },
    /// Remove the results of what was purged, and what attempts that are gone left in staging/.
    Sweep,
    /// Take the right to read the state from everybody but its owner.
    MakePrivate,
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForgetResult { task, id, directory } => {
                write!(f, "task/{task}: record that the result of attempt {}, results/{directory}, is lost", id.number)
            }
            Self::EndAttempt { task, id } => write!(f, "task/{task}: end attempt {} as Interrupted", id.number),
            Self::ListStray { path } => write!(f, "results/{path}: list it as a stray"),
            Self::Sweep => f.write_str("remove what was purged and what dead attempts left"),
            Self::MakePrivate => f.write_str("make the state directory readable for its owner alone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::name::Uid;

    #[test]
    fn a_fix_names_what_it_is_about_and_comes_back_from_json() {
        let id = AttemptId { task: Uid("u".into()), number: 3 };
        let fix = Fix::ForgetResult { task: "lint".into(), id, directory: "a/lint/3".into() };
        assert_eq!(fix.to_string(), "task/lint: record that the result of attempt 3, results/a/lint/3, is lost");
        let text = serde_json::to_string(&fix).unwrap();
        assert_eq!(serde_json::from_str::<Fix>(&text).unwrap(), fix);
    }
}
