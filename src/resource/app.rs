//! Kind App: one directory to analyse.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One directory to analyse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppSpec {
    /// The directory, relative to the workspace; it must lie inside one of the roots.
    pub path: String,
    /// The model that wrote the app. WebSocket analyzers find the sources at `<root>/{model}/app{number}`, so they need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The app's number among the apps of its model; needed by WebSocket analyzers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub number: Option<u32>,
    /// Where the running app answers, for analyzers that test it from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_urls: Vec<String>,
}
