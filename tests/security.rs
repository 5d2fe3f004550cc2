//! What SECURITY.md promises, shown: TLS and tokens, what may be run, where paths lead, who can read what, and what a hostile analyzer can do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

#[path = "security/access.rs"]
mod access;
#[path = "security/certificates.rs"]
mod certificates;
#[path = "security/commands.rs"]
mod commands;
#[path = "security/hostile.rs"]
mod hostile;
#[path = "security/programs.rs"]
mod programs;
mod support;
#[path = "security/tls.rs"]
mod tls;
#[path = "security/tokens.rs"]
mod tokens;
