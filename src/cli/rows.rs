//! Objects as rows of tables: which columns each kind has, and what stands in them.

use serde_json::Value;

use super::item::{Beside, analyzer, suspect};
use super::replicas::usable;
use super::run_rows;
use super::table;
use crate::resource::kind::Kind;
use crate::resource::phase::Phase;
use crate::resource::time::Timestamp;
use crate::store::view::ObjectView;

/// What stands where there is nothing.
const NOTHING: &str = "-";

/// The columns of a kind.
pub(crate) fn header(kind: Kind, wide: bool) -> Vec<&'static str> {
    let (narrow, more): (&[_], &[_]) = match kind {
        Kind::Task => (
            &["NAME", "APP", "ANALYZER", "PHASE", "REASON", "ATTEMPTS", "FINDINGS(H/M/L)", "AGE"],
            &["GENERATION", "PRIORITY", "NEXT", "MESSAGE", "FILE:LINE"],
        ),
        Kind::App => (&["NAME", "PATH", "MODEL", "NUMBER", "PRESENT", "SOURCE", "AGE"], &["TARGETS", "LABELS"]),
        Kind::Analyzer => {
            (&["NAME", "TYPE", "READY", "CAPACITY", "INFLIGHT", "DRAINING", "AGE"], &["RUNS", "FILE:LINE"])
        }
        Kind::Pool => (&["NAME", "SLOTS", "USED", "DRAINING", "WAITING", "RATE", "AGE"], &["FREE", "FILE:LINE"]),
        Kind::Pipeline => (
            &["NAME", "STEPS", "SCHEDULE", "NEXT", "LAST RUN", "PHASE", "SUSPENDED", "AGE"],
            &["GENERATION", "FILE:LINE"],
        ),
        Kind::Run => (
            &["NAME", "PIPELINE", "CAUSE", "PHASE", "REASON", "DONE", "FAILED", "DURATION", "AGE"],
            &["ROUND", "GENERATION", "REVISION", "COMMIT", "SCHEDULED", "SUSPENDED", "WITHIN", "NEXT", "MESSAGE"],
        ),
        Kind::AppSet => (&["NAME", "ROOT", "PATTERN", "APPS", "SUSPECT", "AGE"], &["MESSAGE", "FILE:LINE"]),
    };
    if wide { [narrow, more].concat() } else { narrow.to_vec() }
}

/// The row of an object. `prefix` puts the kind before the name, as in `task/lint`.
pub(crate) fn row(object: &ObjectView, beside: &Beside, wide: bool, prefix: bool) -> Vec<String> {
    let name = if prefix { format!("{}/{}", object.kind.singular(), object.name) } else { object.name.clone() };
    let (mut row, more) = match object.kind {
        Kind::Task => task(object, beside),
        Kind::App => app(object, beside),
        Kind::Analyzer => runs(object, beside),
        Kind::AppSet => set(object, beside),
        Kind::Pipeline => run_rows::pipeline(object, beside),
        Kind::Run => run_rows::run(object, beside),
        Kind::Pool => pool(object, beside),
    };
    row.insert(0, name);
    row.push(match object.removed_at {
        Some(removed) => format!("removed {} ago", table::age(beside.now, removed)),
        None => table::age(beside.now, object.created_at),
    });
    if wide {
        row.extend(more);
    }
    row
}

fn task(object: &ObjectView, beside: &Beside) -> (Vec<String>, Vec<String>) {
    let spec = &object.spec;
    let mut row = vec![text(spec, "app"), text(spec, "analyzer")];
    let mut more = vec![object.generation.to_string(), text(spec, "priority")];
    match &object.task {
        Some(task) => {
            let status = &task.status;
            let counted = matches!(status.phase, Phase::Completed | Phase::PartialSuccess | Phase::Failed);
            row.extend([
                status.phase.to_string(),
                status.reason.to_string(),
                status.attempt.to_string(),
                if counted { table::findings(status.findings) } else { NOTHING.into() },
            ]);
            more.extend([next(status.next_at, beside.now), or_nothing(&status.message)]);
        }
        None => {
            row.extend(std::iter::repeat_n(NOTHING.to_owned(), 4));
            more.extend([NOTHING.to_owned(), NOTHING.to_owned()]);
        }
    }
    more.push(place(object));
    (row, more)
}

fn app(object: &ObjectView, beside: &Beside) -> (Vec<String>, Vec<String>) {
    let spec = &object.spec;
    let state = object.app.as_ref();
    let present = match state.and_then(|app| app.missing_since) {
        Some(since) => format!("no, for {}", table::age(beside.now, since)),
        None => "yes".into(),
    };
    let row = vec![text(spec, "path"), text(spec, "model"), text(spec, "number"), present, place(object)];
    let labels: Vec<_> = object.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (row, vec![text(spec, "targetUrls"), or_nothing(&labels.join(","))])
}

fn runs(object: &ObjectView, beside: &Beside) -> (Vec<String>, Vec<String>) {
    let facts = analyzer(object, &beside.settings);
    let (in_flight, draining) = beside.slots.get(&object.name).copied().unwrap_or_default();
    let replicas = beside.replicas(object);
    let numbers = [facts.capacity, in_flight, draining];
    let mut row = vec![facts.sort.to_owned(), format!("{}/{}", usable(&replicas), replicas.len())];
    row.extend(numbers.iter().map(u64::to_string));
    let runs = match object.spec.pointer("/command/argv") {
        Some(argv) => words(argv).join(" "),
        None => facts.urls.join(" "),
    };
    (row, vec![or_nothing(&runs), place(object)])
}

fn set(object: &ObjectView, beside: &Beside) -> (Vec<String>, Vec<String>) {
    let found = beside.found.get(&object.name).copied().unwrap_or(0);
    let doubt = suspect(object);
    let suspect = if doubt.is_some() { "yes" } else { "no" };
    let row = vec![text(&object.spec, "root"), text(&object.spec, "pattern"), found.to_string(), suspect.into()];
    (row, vec![or_nothing(doubt.unwrap_or_default()), place(object)])
}

fn pool(object: &ObjectView, beside: &Beside) -> (Vec<String>, Vec<String>) {
    let found = beside.pools.get(&object.name);
    let count = |number: Option<u64>| number.map_or_else(|| NOTHING.to_owned(), |number| number.to_string());
    let row = vec![
        text(&object.spec, "slots"),
        count(found.map(|found| found.used.into())),
        count(found.map(|found| found.draining.into())),
        count(found.map(|found| found.waiting)),
        rate(&object.spec),
    ];
    (row, vec![next(found.and_then(|found| found.free_at), beside.now), place(object)])
}

/// A rate as `60 in 1m`.
pub(crate) fn rate(spec: &Value) -> String {
    match spec.get("rate").filter(|rate| !rate.is_null()) {
        Some(rate) => format!("{} in {}", text(rate, "limit"), text(rate, "per")),
        None => NOTHING.into(),
    }
}

/// A field of a spec as text.
pub(crate) fn text(spec: &Value, field: &str) -> String {
    match spec.get(field) {
        None | Some(Value::Null) => NOTHING.into(),
        Some(Value::String(text)) => or_nothing(text),
        Some(Value::Array(_)) => or_nothing(&words(&spec[field]).join(",")),
        Some(other) => other.to_string(),
    }
}

fn words(list: &Value) -> Vec<String> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
}

pub(crate) fn or_nothing(text: &str) -> String {
    if text.is_empty() { NOTHING.into() } else { text.to_owned() }
}

/// `FILE:LINE`, or `appset/NAME` for an app found on disk.
pub(crate) fn place(object: &ObjectView) -> String {
    let provenance = &object.provenance;
    if provenance.line == 0 { provenance.file.clone() } else { format!("{}:{}", provenance.file, provenance.line) }
}

/// When something happens next: `in 43s`, `due`.
pub(crate) fn next(at: Option<Timestamp>, now: Timestamp) -> String {
    match at {
        None => NOTHING.into(),
        Some(at) if at <= now => "due".into(),
        Some(at) => format!("in {}", table::length(at.since(now))),
    }
}
