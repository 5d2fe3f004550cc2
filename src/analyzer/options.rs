//! What the embedded analyzer is told when it starts. Everything that comes from outside is handed in: the clock, the
//! environment, the place of the sources.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::declaration::ToolDeclaration;
use super::door::Door;
use crate::resource::time::Timestamp;

/// How long a tool may run when its declaration does not say. An attempt with a shorter deadline is no contradiction: its client leaves at the
/// deadline, which ends the analysis with all of its tools.
const TOOL_TIMEOUT: Duration = Duration::from_secs(600);

/// What the embedded analyzer works with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of all apps: `<sources>/{slug}/app{N}` or `<sources>/{slug}/{template}/app{N}`.
    pub sources: PathBuf,
    /// The tools, as [`super::shipped_tools`] or [`super::load_tools`] gives them.
    pub tools: Vec<ToolDeclaration>,
    /// Tool runs at once, over all requests; at least 1.
    pub parallel: usize,
    /// How long a tool may run when its declaration does not say.
    pub tool_timeout: Duration,
    /// The time of day, for the timestamps in frames.
    pub clock: fn() -> Timestamp,
    /// The environment tools are started with. Only PATH, HOME, LANG, LC_ALL, TZ and TMPDIR are taken from it.
    pub environment: BTreeMap<String, String>,
    /// How clients come in.
    pub door: Door,
}

impl Options {
    /// Options with the usual limits: two tools at once, ten minutes for each, and everybody is let in.
    #[must_use]
    pub fn new(sources: PathBuf, tools: Vec<ToolDeclaration>, clock: fn() -> Timestamp) -> Self {
        let (environment, door) = (BTreeMap::new(), Door::default());
        Self { sources, tools, parallel: 2, tool_timeout: TOOL_TIMEOUT, clock, environment, door }
    }
}
