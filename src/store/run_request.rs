//! What people ask of runs and pipelines. To be written.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Store, StoreError};
use crate::plan::Key;
use crate::resource::pipeline::PipelineSpec;
use crate::resource::run::{RetryMode, Suspension};
use crate::resource::time::Timestamp;

/// What a request came to for one run, step or slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The run, step or pipeline.
    pub name: String,
    /// What happened to it, or would, for a person.
    pub message: String,
    /// Whether anything happens.
    pub effective: bool,
    /// What is to be looked at now; `None` when nothing was written.
    pub key: Option<Key>,
}

/// One line for each run or step; or why the request was refused as a whole, in which case nothing was written.
pub type Verdict = Result<Vec<Told>, String>;

fn missing<T>() -> Result<T, StoreError> {
    Err(StoreError::Corrupt("runs are not stored yet".into()))
}

#[expect(missing_docs, clippy::unused_async, reason = "to be written")]
impl Store {
    pub async fn pipeline_spec(&self, _: String) -> Result<Option<PipelineSpec>, StoreError> {
        missing()
    }
    pub async fn run_spec(&self, _: String, _latest: bool) -> Result<Option<PipelineSpec>, StoreError> {
        missing()
    }
    pub async fn make_run(&self, _: String, _: Map<String, Value>, _: Timestamp) -> Result<Verdict, StoreError> {
        missing()
    }
    pub async fn rerun(
        &self,
        _: String,
        _: Map<String, Value>,
        _latest: bool,
        _dry_run: bool,
        _: Timestamp,
    ) -> Result<Verdict, StoreError> {
        missing()
    }
    pub async fn cancel_runs(&self, _: Vec<String>, _: String, _finally: bool, _: bool) -> Result<Verdict, StoreError> {
        missing()
    }
    pub async fn retry_run(
        &self,
        _: String,
        _: BTreeMap<String, RetryMode>,
        _dry_run: bool,
    ) -> Result<Verdict, StoreError> {
        missing()
    }
    pub async fn suspend(&self, _: String, _: Suspension, _dry_run: bool) -> Result<Verdict, StoreError> {
        missing()
    }
    pub async fn resume(&self, _: String, _dry_run: bool) -> Result<Verdict, StoreError> {
        missing()
    }
    pub async fn decide(
        &self,
        _: String,
        _step: String,
        _approved: bool,
        _by_and_comment: (String, String),
        _: Timestamp,
    ) -> Result<Verdict, StoreError> {
        missing()
    }
    pub async fn backfill(
        &self,
        _: String,
        _: Vec<(String, Timestamp)>,
        _dry_run: bool,
        _: Timestamp,
    ) -> Result<Verdict, StoreError> {
        missing()
    }
}
