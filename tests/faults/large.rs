//! Results near the limit of 100 MiB, and above it.

use manifestd::resource::outcome::Outcome::{Completed, Failed};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use serde_json::json;

use crate::scene::{More, Scene, TWICE};
use crate::support::misbehaving::{Behaviour, Gate, static_result};
use crate::support::stage::check_stored;

const MIB: usize = 1 << 20;

/// The largest message of an analyzer (docs/protocol.md).
const LIMIT: usize = 100 * MIB;

/// Of long texts, as sources and reports are. Many small values take more, for which such results are read one after another.
#[test]
fn a_result_of_90_mib_is_stored_in_bounded_memory() {
    let gate = Gate::new();
    let mut result = static_result("ruff", 1);
    let issue = json!({"rule": "F401", "file": "app/main.py", "line": 1, "message": "x".repeat(4000)});
    let issues = 90 * MIB / issue.to_string().len();
    result["analysis"]["results"]["python"]["ruff"]["issues"] = vec![issue; issues].into();
    let bytes = result.to_string().len();
    assert!(bytes > 89 * MIB && bytes < LIMIT);
    let big = Behaviour::Then(gate.clone(), Box::new(Behaviour::Answers(result)));
    let mut scene = Scene::new(big, &More::default());
    scene.give("bad", TWICE);
    scene.request();
    scene.neighbours_run_beside("bad");
    let before = scene.memory_max();
    gate.open();
    let ended = scene.ends("bad", Phase::Completed, Reason::AllToolsRan, &[Completed]);
    let more = scene.memory_max() - before;
    println!("{} MiB of memory for {} MiB of result", more / MIB as u64, bytes / MIB);
    assert!(more < 3 * LIMIT as u64, "{more} bytes of memory for {bytes} bytes of result");
    let directory = scene.home.state().join("results").join(ended.results[0].as_ref().unwrap());
    assert_eq!(directory.join("result.json").metadata().unwrap().len(), bytes as u64);
    let attempt = &scene.home.attempts("bad")[0];
    let query = "SELECT result_bytes FROM attempt WHERE result_bytes IS NOT NULL AND analyzer = 'bad'";
    let stored: u64 = scene.home.database().query_row(query, [], |row| row.get(0)).unwrap();
    check_stored("bad", &directory, attempt.result_sha256.as_ref().unwrap(), stored);
    scene.stop();
}

/// What is too large once is so again: it fails at once, and says what to do.
fn is_too_large(behaviour: Behaviour) {
    let gate = Gate::new();
    let mut scene = Scene::new(Behaviour::Then(gate.clone(), Box::new(behaviour)), &More::default());
    scene.give("bad", TWICE);
    scene.request();
    scene.neighbours_run_beside("bad");
    let before = scene.memory_max();
    gate.open();
    let ended = scene.ends("bad", Phase::Failed, Reason::ResultTooLarge, &[Failed]);
    assert!(ended.message.contains("104857600 bytes") && ended.message.contains("fewer tools"), "{}", ended.message);
    assert_eq!(ended.results, [None]);
    let more = scene.memory_max() - before;
    assert!(more < 3 * LIMIT as u64, "{more} bytes of memory for a message that is refused");
    scene.stop();
}

#[test]
fn a_frame_that_is_announced_as_too_large_is_refused() {
    // A final text frame with its length in 8 bytes (RFC 6455, section 5.2), and the beginning of it.
    let header = [&[0x81, 127][..], &(LIMIT as u64 + 1).to_be_bytes()].concat();
    is_too_large(Behaviour::Writes([&header, &b"{\"type\":\"static_analysis_result\",\"padding\":\""[..]].concat()));
}

#[test]
fn a_message_of_many_small_frames_that_grows_too_large_is_refused() {
    // A first text frame and continuations of 1 MiB each, none of them the last.
    let frame = |opcode: u8| [&[opcode, 127][..], &(MIB as u64).to_be_bytes(), &vec![b'x'; MIB]].concat();
    let mut bytes = frame(0x01);
    (0..100).for_each(|_| bytes.extend(frame(0x00)));
    is_too_large(Behaviour::Writes(bytes));
}
