//! libFuzzer against the property in `tests/fuzz/templates.rs`.
#![no_main]
#![allow(dead_code, reason = "seeds and words are read by the tests, which write them down for libFuzzer")]

#[path = "../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../tests/fuzz/templates.rs"]
mod templates;

libfuzzer_sys::fuzz_target!(|data: &[u8]| templates::check(data));
