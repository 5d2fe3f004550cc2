//! libFuzzer against the property in `tests/fuzz/sarif.rs`.
#![no_main]
#![allow(dead_code, reason = "seeds and words are read by the tests, which write them down for libFuzzer")]

#[path = "../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../tests/fuzz/sarif.rs"]
mod sarif;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sarif::check(data));
