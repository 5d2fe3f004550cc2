//! Floor 1: reading the records of the old system as records of this one. Pure: rows come in as cells, records and notes go out.
//!
//! `store/old.rs` reads the rows, `store/import.rs` writes the records, `runtime/import.rs` joins the two. Nothing here trusts a row: any
//! cell may hold anything, and what cannot be mapped becomes a note with its table and row.

pub mod app;
pub mod cell;
pub mod identity;
pub mod moment;
pub mod note;
pub mod pipeline;
pub mod schema;
pub mod status;
pub mod task;
#[cfg(test)]
mod tests;

/// Where imported objects say that they come from, instead of a file; with line 0, which no manifest can have, so the mirror leaves them
/// alone.
pub const FROM_THE_OLD_SYSTEM: &str = "import/thesis";
