//! What a replica says of itself when it is asked how it is.

use serde::{Deserialize, Serialize};

/// The protocol extension with many requests on one connection, cancel, and attempts that can be taken up again by their token.
pub const MANIFESTD_V1: &str = "manifestd/v1";

/// The answer of a healthy replica. All text is printable and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// Name and version of the service, such as `static-analyzer 1.0.0`; empty when it does not tell.
    pub version: String,
    /// The protocol extensions that it speaks; see [`MANIFESTD_V1`].
    pub protocols: Vec<String>,
    /// The tools that it has.
    pub tools: Vec<String>,
}

impl Health {
    /// Whether it speaks [`MANIFESTD_V1`].
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.protocols.iter().any(|protocol| protocol == MANIFESTD_V1)
    }
}
