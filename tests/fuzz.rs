//! Properties of everything that reads what others wrote, held against small changes of known inputs. `fuzz/` holds the same properties
//! against libFuzzer, which follows the branches that are taken: `make fuzz TARGET=manifests SECONDS=600`.
//!
//! `MANIFESTD_TEST_SEED` draws other changes, and `MANIFESTD_FUZZ_RUNS` more of them. With `MANIFESTD_FUZZ_CORPUS` the test writes the inputs that it
//! begins with, and the words that it knows, into a directory for libFuzzer, and does nothing else.
#![expect(clippy::print_stdout, reason = "what is printed of an input that breaks a property is how it is found again")]

#[path = "fuzz/control.rs"]
mod control;
#[path = "fuzz/corpus.rs"]
mod corpus;
#[path = "fuzz/frames.rs"]
mod frames;
#[path = "fuzz/git.rs"]
mod git;
#[path = "fuzz/import.rs"]
mod import;
#[path = "fuzz/manifests.rs"]
mod manifests;
#[path = "fuzz/mutation.rs"]
mod mutation;
#[path = "fuzz/patterns.rs"]
mod patterns;
#[path = "fuzz/sarif.rs"]
mod sarif;
#[path = "fuzz/schedules.rs"]
mod schedules;
#[path = "fuzz/session.rs"]
mod session;
mod support;
#[path = "fuzz/templates.rs"]
mod templates;
#[path = "fuzz/tools.rs"]
mod tools;

/// One test for each target, with so many changes of its seeds.
macro_rules! targets {
    ($($name:ident $target:ident $runs:literal)*) => {
        $(#[test]
        fn $name() {
            match std::env::var_os("MANIFESTD_FUZZ_CORPUS") {
                Some(place) => corpus::write(std::path::Path::new(&place), stringify!($target), &$target::seeds(), $target::WORDS),
                None => mutation::run(stringify!($target), $target::seeds(), $target::WORDS, $runs, $target::check),
            }
        })*

        #[test]
        fn every_property_has_a_target_for_libfuzzer_and_every_target_a_property() {
            let mut wanted = vec![$(stringify!($target)),*];
            wanted.sort_unstable();
            assert_eq!(corpus::targets(), wanted);
        }
    };
}

targets! {
    any_bytes_are_a_file_of_manifests_with_its_problems manifests 1_500
    any_message_of_an_analyzer_is_judged frames 4_000
    any_json_becomes_valid_sarif_or_nothing sarif 2_000
    any_text_is_a_file_of_tools_or_refused tools 600
    any_requests_on_the_control_socket_are_answered control 250
    any_messages_to_the_embedded_analyzer_are_answered session 400
    any_schedule_has_rising_slots_or_none schedules 1_500
    any_placeholders_come_apart_and_fill_one_argument templates 6_000
    any_pattern_finds_what_lies_below_its_root patterns 1_500
    any_files_of_git_give_a_hash_or_nothing git 400
    any_row_of_the_old_system_is_mapped_or_told import 4_000
}
