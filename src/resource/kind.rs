//! The kinds of objects a manifest can declare, and the words a person may type for them.

crate::words! {
    /// What a manifest declares.
    pub enum Kind {
        /// Anything that can run a task: WebSocket services or a local command.
        Analyzer,
        /// One directory to analyse.
        App,
        /// Finds apps on disk by a pattern.
        AppSet,
        /// Steps that depend on each other.
        Pipeline,
        /// Slots that attempts of several analyzers share.
        Pool,
        /// What one trigger of a pipeline made. It is declared nowhere.
        Run,
        /// One app, one analyzer, some tools: the unit of work.
        Task,
    }
}

/// `apiVersion` of every kind.
pub const API_VERSION: &str = "manifestd.dev/v1alpha1";

impl Kind {
    /// The kinds that a manifest can declare.
    pub const DECLARED: &[Self] = &[Self::Analyzer, Self::App, Self::AppSet, Self::Pipeline, Self::Pool, Self::Task];

    /// The plural, lower-case word used on the command line and in tables.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Analyzer => "analyzers",
            Self::App => "apps",
            Self::AppSet => "appsets",
            Self::Pipeline => "pipelines",
            Self::Pool => "pools",
            Self::Run => "runs",
            Self::Task => "tasks",
        }
    }

    /// The singular, lower-case word, as in `task/lint`.
    #[must_use]
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Analyzer => "analyzer",
            Self::App => "app",
            Self::AppSet => "appset",
            Self::Pipeline => "pipeline",
            Self::Pool => "pool",
            Self::Run => "run",
            Self::Task => "task",
        }
    }

    /// One line for help texts.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Analyzer => "anything that can run a task: WebSocket services or a local command",
            Self::App => "one directory to analyse, written by hand or found by an AppSet",
            Self::AppSet => "finds apps on disk by a directory pattern",
            Self::Pipeline => "steps that depend on each other; each trigger makes a run",
            Self::Run => "what one trigger of a pipeline made",
            Self::Pool => "slots that attempts of several analyzers share",
            Self::Task => "one app, one analyzer, some tools: the unit of work",
        }
    }

    /// The kind a person means by `Task`, `task`, `tasks`; `None` for anything else.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        Self::ALL.iter().copied().find(|kind| word == kind.plural() || word == kind.singular())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_own_words() {
        for &kind in Kind::ALL {
            for word in [kind.plural(), kind.singular(), kind.as_str()] {
                assert_eq!(Kind::from_word(word), Some(kind));
            }
        }
        assert_eq!(Kind::from_word("pods"), None);
    }

    #[test]
    fn every_kind_but_a_run_can_be_declared() {
        let declared = Kind::ALL.iter().filter(|kind| **kind != Kind::Run);
        assert!(declared.eq(Kind::DECLARED));
    }
}
