//! Floor 3: the embedded analyzer, a real WebSocket service that runs tools over source trees.
//!
//! It answers the protocol of the existing static analyzer, so that everything that drives that one drives this one. Where
//! the older service hides the truth (a tool that is not installed, a tool that crashed), this one says it in the tool's entry.
//!
//! The way of a request: `door` lets in, `connection` opens and closes, `session` reads a frame, `request` understands it, `sources` finds the app,
//! `analysis` runs the tools side by side (`tool_run`: an outside program through `process`, or a built-in through `scan`), `report`
//! puts the result together. A request with an attempt token takes the way through `attempts`, which runs it whoever stays, and
//! `kept`, which has its answer for whoever asks again. `docs/protocol.md` is what clients may rely on.

mod analysis;
mod argv;
mod attempts;
mod compiled_rules;
mod connection;
mod declaration;
mod detect;
mod door;
mod frames;
mod kept;
mod mapping;
mod options;
mod process;
mod report;
mod request;
mod rules;
mod sarif;
mod scan;
mod serve;
mod session;
mod shipped;
mod sources;
mod tool_run;
mod tree;

pub use declaration::{BadTools, Builtin, Mapping, Output, Problems, SeverityWords, ToolDeclaration, load_tools};
pub use door::{Door, Proof};
pub use options::Options;
pub use rules::Rule;
pub use serve::serve;
pub use shipped::shipped_tools;
