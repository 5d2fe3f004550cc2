//! One file for each question. A question measures ours and the limit in turns, and tells the rows of the table.

pub(crate) mod commands;
pub(crate) mod dispatch;
pub(crate) mod history;
pub(crate) mod idle;
pub(crate) mod ingest;
pub(crate) mod latency;
pub(crate) mod maintenance;
pub(crate) mod pipeline;
pub(crate) mod restart;
pub(crate) mod served;
pub(crate) mod states;
