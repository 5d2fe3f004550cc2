//! Where an accepted object comes from.

use serde::{Deserialize, Serialize};

/// Where an object's manifest lies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The file, relative to the manifests directory; `appset/NAME` for an app found on disk, `import/thesis` for what was imported.
    pub file: String,
    /// Line of the document's first key, from 1; 0 when there is no file.
    pub line: u32,
    /// SHA-256 of the file, in hex.
    pub digest: String,
    /// The git commit of the checkout, when the directory is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}
