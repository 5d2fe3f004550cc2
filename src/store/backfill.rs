//! Runs for slots of a schedule that have passed: each slot has one name, so it is made once, whoever asks for it.

use serde_json::Map;

use super::new_run::{NewRun, declared, insert_run};
use super::run_request::{Verdict, told};
use super::{Store, StoreError};
use crate::plan::Key;
use crate::resource::run::Cause;
use crate::resource::time::Timestamp;

impl Store {
    /// Makes the runs of these slots, each with its name, as far as there are none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn backfill(
        &self,
        pipeline: String,
        slots: Vec<(String, Timestamp)>,
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        self.write(move |connection| {
            let Some(found) = declared(connection, &pipeline)? else {
                return Ok(Err(format!("there is no pipeline {pipeline:?}")));
            };
            let mut lines = Vec::new();
            for (name, slot) in &slots {
                if connection.prepare_cached("SELECT 1 FROM run WHERE name = ?1")?.exists([name])? {
                    lines.push(told(name, "is there already", false, None));
                } else if dry_run {
                    lines.push(told(name, "would be made", true, None));
                } else {
                    let new = NewRun {
                        name,
                        definition: found.clone(),
                        params: Map::new(),
                        cause: Cause::Backfill,
                        scheduled_at: Some(*slot),
                        parent: None,
                        pins: None,
                    };
                    let uid = insert_run(connection, new, now, &mut Vec::new())?;
                    lines.push(told(name, "made", true, uid.map(Key::Run)));
                }
            }
            Ok(Ok(lines))
        })
        .await
    }
}
