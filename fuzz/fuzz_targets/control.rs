//! libFuzzer against the property in `tests/fuzz/control.rs`.
#![no_main]
#![allow(dead_code, reason = "seeds and words are read by the tests, which write them down for libFuzzer")]

#[path = "../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../tests/fuzz/control.rs"]
mod control;

libfuzzer_sys::fuzz_target!(|data: &[u8]| control::check(data));
