//! Floor 2: the disk, as far as others have a hand in it. Opens what lies below a directory and nothing else, whatever becomes of the path
//! meanwhile, finds programs that may be run, reads secrets that really are nobody else's, and makes directories that are nobody else's.
//!
//! Between a look at a path and its use somebody may put something else there. So what is opened is opened once, and what counts is where
//! the open file lies, not what its name said before.

mod directory;
mod programs;
mod scratch;
pub mod secret;

pub use directory::{Directory, leads_out};
pub use programs::TrustedPrograms;
pub use scratch::scratch;
