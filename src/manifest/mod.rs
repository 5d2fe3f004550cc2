//! Floor 1: text to objects. Parses, validates and explains manifests, and reports every problem with its place.
//!
//! The road of one file: `yaml` reads bytes into a tree in which every node knows its place; `validate` walks the tree
//! against the schema that is derived from the spec types (`schema`, `shape`); `check` adds the rules a schema
//! cannot say; `parse` joins the three; [`references`] then looks at the documents of many files together.

pub mod bounds;
mod check;
pub mod explain;
mod faults;
mod keys;
pub mod parse;
pub mod print;
pub mod problem;
pub mod references;
pub mod schema;
mod shape;
mod source;
pub(crate) mod suggest;
mod syntax;
mod tree;
pub mod typed;
mod validate;
mod yaml;

pub use bounds::{Bounds, Programs};
pub use explain::{ExplainError, explain};
pub use parse::{Broken, Document, FILE_BYTES_MAX, Parsed, parse};
pub use print::to_yaml;
pub use problem::{Place, Problem, Severity};
pub use references::{Known, KnownAnalyzer, KnownApp};
pub use schema::schema;
