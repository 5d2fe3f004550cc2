//! Kind Pool: slots that attempts of several analyzers share, such as the places of a licence or the memory of one machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analyzer::Rate;

/// Slots that attempts of several analyzers share. Every attempt of a task that names the pool takes one, whatever it runs on; so does
/// every attempt on an analyzer that names it, unless its task names another pool. An attempt never takes slots of two pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// Attempts at once, over all analyzers.
    #[schemars(range(min = 1, max = 4096))]
    pub slots: u32,
    /// At most so many attempts are opened in so much time, over all analyzers. Without it: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}
