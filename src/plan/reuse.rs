//! Reuse of results: what a result depends on, as one key, and the plan that takes an older result instead of running.
//!
//! The key is a promise only for tools that are deterministic: the same files, analyzer, tools and settings give the same findings.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::lane::Candidate;
use super::transition::{TaskRef, transition};
use super::write::{CloseAttempt, OpenAttempt, TaskStatus, Write};
use super::{Key, Plan};
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::attempt::{AttemptId, StoredResult};
use crate::resource::digest::sha256;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::task::TaskSpec;
use crate::resource::time::Timestamp;

/// First word of what is digested: another one makes every older key useless.
const KEY_FORMAT: &str = "manifestd-cache-1";

/// The same of an analyzer that keeps no files of what completes: nobody who wants files is given such a result.
const BARE_KEY_FORMAT: &str = "manifestd-cache-1-bare";

/// A file that a command runs: its program, or a script that an argument names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFile {
    /// Absolute path.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Time of modification in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// What tells one analyzer from another one, or from itself after an update.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnalyzerFacts {
    /// Of a WebSocket analyzer: each replica that said which version it is, and what it said.
    pub versions: Vec<(String, String)>,
    /// Of a command: the files that it runs; empty when its program was not found.
    pub files: Vec<ProgramFile>,
}

/// A stored result that can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reusable {
    /// Name of the task whose attempt it is.
    pub task: String,
    /// Number of that attempt.
    pub number: u32,
    /// What judging it came to.
    pub verdict: Verdict,
    /// Where it lies; a program that answers with its exit code alone leaves nothing.
    pub result: Option<StoredResult>,
}

/// The identity of an analyzer; `None` when it cannot be told from another one, so that nothing may be reused.
///
/// A WebSocket analyzer is its request type and its version, which every replica must have said alike, or which a person gave in
/// `spec.version`. A command is its spec and the files that it runs.
#[must_use]
pub fn identity(spec: &AnalyzerSpec, facts: &AnalyzerFacts) -> Option<Value> {
    match (&spec.websocket, &spec.command) {
        (Some(websocket), _) => {
            let version_of =
                |url: &String| facts.versions.iter().find(|(known, _)| known == url).map(|(_, said)| said.as_str());
            let mut said: Vec<&str> = websocket.urls.iter().map(|url| version_of(url).unwrap_or_default()).collect();
            said.dedup();
            match said.as_slice() {
                [""] if spec.version.is_empty() => None,
                [one] => Some(json!(["websocket", websocket.request, one, spec.version])),
                _ => None,
            }
        }
        (None, Some(command)) if !facts.files.is_empty() => {
            let files: Vec<Value> =
                facts.files.iter().map(|file| json!([file.path, file.bytes, file.mtime_ns])).collect();
            let command = serde_json::to_value(command).ok()?;
            Some(json!(["command", sorted(&command), files, spec.version]))
        }
        (None, _) => None,
    }
}

/// All that the result of a task depends on, as one digest in hex. `app_digest` says what its files look like, `identity` which analyzer it is.
#[must_use]
pub fn cache_key(app_digest: &str, identity: &Value, analyzer: &AnalyzerSpec, candidate: &Candidate) -> String {
    let spec = &candidate.spec;
    let mut tools = spec.tools.clone();
    tools.sort();
    tools.dedup();
    let urls = candidate.app.as_ref().map(|app| app.target_urls.as_slice()).unwrap_or_default();
    let config = sorted(&Value::Object(spec.config.clone()));
    let named = named_in_argv(analyzer, spec, candidate);
    let format = if analyzer.keep_results.keeps(Outcome::Completed) { KEY_FORMAT } else { BARE_KEY_FORMAT };
    let whole = json!([format, app_digest, sorted(identity), tools, config, urls, named]);
    sha256(whole.to_string())
}

/// What a command is told besides the app's directory: two apps with the same files are not the same to a program that is told their names.
fn named_in_argv(analyzer: &AnalyzerSpec, spec: &TaskSpec, candidate: &Candidate) -> BTreeMap<&'static str, String> {
    let argv = analyzer.command.as_ref().map(|command| command.argv.as_slice()).unwrap_or_default();
    let app = candidate.app.as_ref();
    let values = [
        ("${app.name}", spec.app.clone()),
        ("${app.model}", app.and_then(|app| app.model.clone()).unwrap_or_default()),
        ("${app.number}", app.and_then(|app| app.number).map(|number| number.to_string()).unwrap_or_default()),
        ("${task.name}", candidate.name.clone()),
    ];
    values.into_iter().filter(|(name, _)| argv.iter().any(|argument| argument.contains(name))).collect()
}

/// The same value with the keys of every object in order, so that two ways of writing it are one.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            ordered.into_iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Takes a stored result: an attempt that is opened and closed in one transaction, and the end of the task's round. It needs no slot.
pub(super) fn take(analyzer: &str, candidate: &Candidate, from: &Reusable, now: Timestamp, plan: &mut Plan) {
    let id = AttemptId { task: candidate.uid.clone(), number: candidate.status.attempt + 1 };
    let message = format!("the same as attempt {} of task {}", from.number, from.task);
    let app_digest = candidate.stamp.as_ref().map(|stamp| stamp.app_digest.clone());
    plan.writes.push(Write::OpenAttempt(Box::new(OpenAttempt {
        id: id.clone(),
        round: candidate.status.round,
        generation: candidate.generation,
        asked: candidate.spec.tools.clone(),
        analyzer: analyzer.to_owned(),
        replica: String::new(),
        opened_at: now,
        deadline_at: now,
        resumable: false,
        // Nothing runs, so no slot of a pool is taken.
        pool: None,
        app_digest: app_digest.clone(),
    })));
    let verdict = Verdict {
        outcome: Outcome::Completed,
        reason: Reason::Reused,
        message: message.clone(),
        ..from.verdict.clone()
    };
    let findings = verdict.findings;
    plan.writes.push(Write::CloseAttempt(Box::new(CloseAttempt {
        id: id.clone(),
        verdict,
        result: from.result.clone(),
        at: now,
        slot_until: None,
        // Whoever comes next takes the original, too.
        cache_key: None,
    })));
    let status = TaskStatus {
        observed_generation: candidate.generation,
        attempt: id.number,
        started_at: candidate.status.started_at.or(Some(now)),
        app_digest,
        ..candidate.status.clone()
    };
    let status = status.ended(Phase::Completed, Reason::Reused, message, findings, now);
    // What changed between the observation and this commit is seen by another look.
    plan.wakes.push(Key::Task(candidate.uid.clone()));
    let seen = TaskRef { uid: &candidate.uid, name: &candidate.name, version: candidate.version };
    plan.writes.extend(transition(seen, status));
}
