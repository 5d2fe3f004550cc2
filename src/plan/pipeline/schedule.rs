//! To be written.

use crate::resource::pipeline::Schedule;
use crate::resource::time::Timestamp;

/// To be written.
///
/// # Errors
/// Always.
pub fn slots(_: &Schedule, _: Timestamp, _: Timestamp, _: usize) -> Result<Vec<Timestamp>, String> {
    Err("schedules are not read yet".into())
}

/// To be written.
#[must_use]
pub fn slot_name(_: &str, _: Timestamp) -> String {
    String::new()
}
