//! Events: what happened to an object, written in the transaction of the change they describe.

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::time::Timestamp;

crate::words! {
    /// Whether somebody should look.
    pub enum EventType {
        /// As it should be.
        Normal,
        /// Worth a look.
        Warning,
    }
}

/// Something that happened to an object. Equal ones in a row are one row with a count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object.
    pub name: String,
    /// Normal or Warning.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// CamelCase, such as `Started`.
    pub reason: String,
    /// One line for a person.
    pub message: String,
    /// When it happened first.
    pub first_at: Timestamp,
    /// When it happened last.
    pub last_at: Timestamp,
    /// How often.
    pub count: u64,
}
