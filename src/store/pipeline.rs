//! Runs and their children: what plans write of them. To be written.

use rusqlite::Connection;

use super::StoreError;
use crate::plan::Key;
use crate::plan::pipeline::write::{AskChild, CancelChild, Conclude, CreateRun, ProducedApp, RunWrite};
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

pub(super) fn set_run(_: &Connection, _: &RunWrite, _: Timestamp, _: &mut Vec<Key>) -> Result<(), StoreError> {
    Ok(())
}
pub(super) fn create_run(_: &Connection, _: &CreateRun, _: Timestamp, _: &mut Vec<Key>) -> Result<(), StoreError> {
    Ok(())
}
pub(super) fn ask_child(_: &Connection, _: &AskChild, _: Timestamp, _: &mut Vec<Key>) -> Result<(), StoreError> {
    Ok(())
}
pub(super) fn conclude(_: &Connection, _: &Conclude) -> Result<(), StoreError> {
    Ok(())
}
pub(super) fn cancel_child(_: &Connection, _: &CancelChild, _: &mut Vec<Key>) -> Result<(), StoreError> {
    Ok(())
}
pub(super) fn produced_app(_: &Connection, _: &ProducedApp, _: Timestamp, _: &mut Vec<Key>) -> Result<(), StoreError> {
    Ok(())
}
pub(super) fn expand(_: &Connection, _: &Uid, _: &str, _: &[String]) -> Result<(), StoreError> {
    Ok(())
}
pub(super) fn schedule_seen(_: &Connection, _: &Uid, _: &str, _: Timestamp) -> Result<(), StoreError> {
    Ok(())
}
pub(super) fn unsuspend(_: &Connection, _: &Uid) -> Result<(), StoreError> {
    Ok(())
}
