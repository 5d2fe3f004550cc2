//! libFuzzer against the property in `tests/fuzz/schedules.rs`.
#![no_main]
#![allow(dead_code, reason = "seeds and words are read by the tests, which write them down for libFuzzer")]

#[path = "../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../tests/fuzz/schedules.rs"]
mod schedules;

libfuzzer_sys::fuzz_target!(|data: &[u8]| schedules::check(data));
