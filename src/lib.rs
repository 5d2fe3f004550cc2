//! manifestd: a Kubernetes-style controller without Kubernetes. See ARCHITECTURE.md for the floors and the laws.

pub mod analyzer;
pub mod cli;
pub mod config;
pub mod disk;
pub mod executor;
pub mod import;
pub mod manifest;
pub mod plan;
pub mod queue;
pub mod resource;
pub mod runtime;
pub mod server;
pub mod store;
pub mod verdict;
