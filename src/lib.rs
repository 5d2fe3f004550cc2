//! manifestd: a Kubernetes-style controller without Kubernetes. See ARCHITECTURE.md for the floors and the laws.

pub mod analyzer;
pub mod executor;
pub mod manifest;
pub mod resource;
pub mod verdict;
