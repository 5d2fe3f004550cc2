//! Whether a task may run at all, apart from slots: its references exist, its app is there, it is not suspended.

use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::name::Uid;
use crate::resource::reason::Reason;
use crate::resource::task::TaskSpec;
use crate::resource::time::Timestamp;

/// What is known of the app a task names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFacts {
    /// The App.
    pub uid: Uid,
    /// Directory, relative to the workspace.
    pub path: String,
    /// Model slug.
    pub model: Option<String>,
    /// Number.
    pub number: Option<u32>,
    /// Where it answers when it runs.
    pub target_urls: Vec<String>,
    /// Since when its directory is gone.
    pub missing_since: Option<Timestamp>,
    /// What its files looked like when they were read last; `None` when they have not been read.
    pub tree: Option<SeenTree>,
}

/// What the files of an app looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTree {
    /// Digest of the whole tree, in hex.
    pub digest: String,
    /// When the reading began that saw it so.
    pub at: Timestamp,
}

/// Why a task is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The reason for its status.
    pub reason: Reason,
    /// The same for a person.
    pub message: String,
}

/// Whether the pool of a task is there, when it has one: it is named by the task, or else by its analyzer.
///
/// # Errors
/// A [`Hold`] when no such pool is known.
pub fn admit_pool(spec: &TaskSpec, pool: Option<&str>, is_known: bool) -> Result<(), Hold> {
    let Some(pool) = pool.filter(|_| !is_known) else { return Ok(()) };
    let by_analyzer = spec.pool.is_none();
    let of = if by_analyzer { format!(", which Analyzer {:?} names", spec.analyzer) } else { String::new() };
    Err(Hold { reason: Reason::PoolNotFound, message: format!("no Pool is called {pool:?}{of}") })
}

/// Whether a task may run: `Err` says why not. Slots, rates and delays are not looked at here.
///
/// # Errors
/// The first [`Hold`] that applies.
pub fn admit(spec: &TaskSpec, app: Option<&AppFacts>, analyzer: Option<&AnalyzerSpec>) -> Result<(), Hold> {
    let hold = |reason, message: String| Err(Hold { reason, message });
    if spec.suspend {
        return hold(Reason::Suspended, "spec.suspend is true".into());
    }
    let Some(analyzer) = analyzer else {
        return hold(Reason::AnalyzerNotFound, format!("no Analyzer is called {:?}", spec.analyzer));
    };
    if !spec.has_app() {
        return match analyzer.websocket {
            None => Ok(()),
            Some(_) => hold(
                Reason::AppNotAddressable,
                format!("the task has no app, and the WebSocket analyzer {:?} works on nothing else", spec.analyzer),
            ),
        };
    }
    let Some(app) = app else {
        return hold(Reason::AppNotFound, format!("no App is called {:?}", spec.app));
    };
    if let Some(since) = app.missing_since {
        return hold(Reason::AppMissing, format!("the directory {:?} is gone since {since}", app.path));
    }
    if analyzer.websocket.is_some() && (app.model.is_none() || app.number.is_none()) {
        let message = format!(
            "App {:?} has no spec.model and spec.number, by which the WebSocket analyzer {:?} finds its sources",
            spec.app, spec.analyzer
        );
        return hold(Reason::AppNotAddressable, message);
    }
    Ok(())
}

/// Whether enough is known of the files of a task's app: a task that depends on them waits for a reading that began after it was asked for, at
/// `since`. Looked at once [`admit`] has nothing against it.
///
/// # Errors
/// The [`Hold`] when they have not been read.
pub fn admit_reading(spec: &TaskSpec, app: Option<&AppFacts>, since: Timestamp) -> Result<(), Hold> {
    let is_read = app.and_then(|app| app.tree.as_ref()).is_some_and(|tree| tree.at >= since);
    if is_read || !spec.needs_reading() {
        return Ok(());
    }
    let message = format!("the files of App {:?} have not been read since the task was asked for", spec.app);
    Err(Hold { reason: Reason::AppNotRead, message })
}
