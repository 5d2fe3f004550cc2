//! Floor 1: text to objects. Parses, validates and explains manifests, and reports every problem with its place.

pub mod typed;
