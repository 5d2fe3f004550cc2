//! Kind AppSet: finds apps on disk, like an ApplicationSet's directory generator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which directories are apps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppSetSpec {
    /// Where to look, relative to the workspace; it must lie inside one of the roots.
    pub root: String,
    /// Shape of an app's path below the root. `{model}` and `{template}` stand for one directory name, `{number}` for digits.
    #[serde(default = "default_pattern")]
    pub pattern: String,
    /// More apps than this missing in one scan freezes marking and deleting.
    #[serde(default)]
    pub max_disappear: MaxDisappear,
}

/// The fuse against mass disappearance, as when a disk is not mounted: either limit blows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MaxDisappear {
    /// Share of the known ones, in percent; five or fewer missing never blow it.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u32,
    /// Number of them.
    pub count: u32,
}

impl Default for MaxDisappear {
    fn default() -> Self {
        Self { percent: 20, count: 50 }
    }
}

impl MaxDisappear {
    /// So few may always go: in a small set one deleted file is a large share.
    pub const ALWAYS_ALLOWED: usize = 5;

    /// Whether `missing` of `known` is more than may disappear in one scan.
    #[must_use]
    pub const fn is_exceeded(self, missing: usize, known: usize) -> bool {
        missing > Self::ALWAYS_ALLOWED
            && (missing > self.count as usize || missing * 100 > known * self.percent as usize)
    }
}

fn default_pattern() -> String {
    "{model}/app{number}".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuse_blows_on_either_limit_but_never_on_a_handful() {
        let fuse = MaxDisappear::default();
        assert!(!fuse.is_exceeded(1, 1));
        assert!(!fuse.is_exceeded(5, 5));
        assert!(fuse.is_exceeded(6, 6));
        assert!(!fuse.is_exceeded(20, 100));
        assert!(fuse.is_exceeded(21, 100));
        assert!(fuse.is_exceeded(51, 100_000));
    }
}
