//! What must hold of any state directory that a power cut leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use manifestd::executor::results::clear_staging;
use manifestd::plan::doctor::Check;
use manifestd::resource::time::{Span, Timestamp};
use manifestd::runtime::doctor::{Subject, examine};
use manifestd::runtime::doctor_analyzers::Outside;
use manifestd::store::exchange::holds_database;
use manifestd::store::{StateLock, Store, database_path, open_read_only};
use rusqlite::Connection;

use crate::recording::Cut;
use crate::support::stage::check_stored;

/// An attempt as its row tells of it, by the uid of its task and its number.
pub(crate) type Attempts = BTreeMap<(String, u32), Ended>;

/// How an attempt ended, and the digest of its result; nothing of one that is open.
pub(crate) type Ended = (Option<String>, Option<String>);

/// Opens a state as the next start does, and looks whether it is whole. Gives its database; `None` when there is none yet.
pub(crate) fn opened(state: &Path) -> Option<Connection> {
    if !state.exists() {
        return None;
    }
    let lock = StateLock::acquire(state).expect("a state that can be taken");
    if !holds_database(state) {
        return None;
    }
    drop(Store::open(lock).unwrap_or_else(|error| panic!("it does not open: {error}")));
    clear_staging(state).unwrap();
    let subject = Subject {
        state: state.to_owned(),
        manifests: state.to_owned(),
        held: None,
        grace: Span(0),
        quick: false,
        outside: Outside { programs: None, secrets: state.join("secrets") },
        now: Timestamp(i64::MAX / 2),
    };
    let diagnosis = examine(&subject, &mut |_, _| {});
    // What belongs to no attempt was written before its row, which did not come any more; the sources are not in the state directory.
    let is_lost = |check| !matches!(check, Check::Strays | Check::Sources);
    let wrong: Vec<_> = diagnosis.findings.iter().filter(|finding| is_lost(finding.check)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let connection = open_read_only(&database_path(state)).unwrap();
    assert_whole(&connection, state);
    Some(connection)
}

/// The same as doctor says, but by other means.
fn assert_whole(connection: &Connection, state: &Path) {
    let problems: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(problems, "ok");
    let broken: i64 =
        connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
    assert_eq!(broken, 0);
    let query = "SELECT result_dir, result_sha256, result_bytes FROM attempt WHERE result_dir IS NOT NULL";
    let mut statement = connection.prepare(query).unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (directory, sha256, bytes): (String, String, u64) =
            (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
        check_stored(&directory, &state.join("results").join(&directory), &sha256, bytes);
    }
}

pub(crate) fn attempts(connection: &Connection) -> Attempts {
    let mut statement = connection.prepare("SELECT task_uid, number, outcome, result_sha256 FROM attempt").unwrap();
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Every event as `Kind/name Reason: message`.
pub(crate) fn events(connection: &Connection) -> BTreeSet<String> {
    let query = "SELECT kind || '/' || name || ' ' || reason || ': ' || message FROM event";
    let mut statement = connection.prepare(query).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Nothing that was told of attempts and events is lost, and nothing is there that never was: `whole` is what there was in the end.
pub(crate) fn assert_told(cut: &Cut<'_>, found: Option<&Connection>, whole: &Attempts) {
    let (attempts, events) = found.map(|found| (attempts(found), events(found))).unwrap_or_default();
    for began in cut.told("began ") {
        let mut parts = began.split('/').skip(1);
        let id = (parts.next().unwrap().to_owned(), parts.next().unwrap().parse().unwrap());
        assert!(attempts.contains_key(&id), "the program of attempt {began} was started, and its row is gone");
    }
    for line in cut.told.iter().filter(|line| line.contains("attempt ended attempt=")) {
        let (_, rest) = line.split_once("attempt=").unwrap();
        let (id, outcome) = rest.split_once(" outcome=").unwrap();
        let (uid, number) = id.split_once('/').unwrap();
        let found = attempts.get(&(uid.to_owned(), number.parse().unwrap()));
        assert_eq!(found.and_then(|ended| ended.0.as_deref()), Some(outcome), "of {line}");
    }
    for line in cut.told.iter().filter(|line| line.starts_with(r#"{"kind":"#)) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| event[field].as_str().unwrap();
        let event = format!("{}/{} {}: {}", text("kind"), text("name"), text("reason"), text("message"));
        assert!(events.contains(&event), "lost: {event}");
    }
    for (id, ended) in &attempts {
        let really = whole.get(id).unwrap_or_else(|| panic!("there never was an attempt {id:?}"));
        // A controller that is killed while its commit is being synced leaves it in the log, past the end that the index of the log knows. A
        // power cut brings it back; without one the next controller writes over it, and the attempt was interrupted. Nobody was told of it,
        // or the loops above would have said so.
        let was_cut_off = really.0.as_deref() == Some("Interrupted");
        assert!(ended.0.is_none() || ended == really || was_cut_off, "{id:?}: {ended:?} instead of {really:?}");
    }
}
