//! libFuzzer against the property in `tests/fuzz/tools.rs`.
#![no_main]
#![allow(dead_code, reason = "seeds and words are read by the tests, which write them down for libFuzzer")]

#[path = "../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../tests/fuzz/tools.rs"]
mod tools;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tools::check(data));
