//! Answering what people ask of runs and pipelines. To be written.

use super::answer::Answerer;
use super::control::{Request, Response};

impl Answerer {
    pub(super) async fn answer_run(&self, _: Request) -> Result<Response, String> {
        Err("not yet".into())
    }
}
