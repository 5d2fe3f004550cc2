//! The limit of ingest: readdir, stat, read, parse into the typed spec, insert into one bare table in one transaction, and nothing else.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use manifestd::resource::metadata::Metadata;
use manifestd::resource::task::TaskSpec;
use rusqlite::{Connection, params};
use serde::Deserialize;

use crate::machine::workplace;

/// Threads that read and parse: one for each of two cores.
const THREADS: usize = 2;

/// A task as it stands in its file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Manifest {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: TaskSpec,
}

/// Seconds for all of it.
pub(crate) fn cold(directory: &Path) -> f64 {
    let place = tempfile::tempdir_in(workplace()).expect("a temporary directory");
    let mut connection = Connection::open(place.path().join("bare.db")).expect("a database");
    connection.pragma_update(None, "journal_mode", "WAL").expect("a pragma");
    connection.pragma_update(None, "synchronous", "FULL").expect("a pragma");
    let schema = "CREATE TABLE task (id INTEGER PRIMARY KEY, name TEXT NOT NULL, app TEXT NOT NULL, analyzer TEXT NOT NULL, spec TEXT NOT NULL) STRICT";
    connection.execute_batch(schema).expect("a schema");
    let began = Instant::now();
    let files = list(directory);
    let manifests: Vec<Manifest> = std::thread::scope(|scope| {
        let parts = files
            .chunks(files.len().div_ceil(THREADS))
            .map(|part| scope.spawn(|| part.iter().map(read).collect::<Vec<_>>()));
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().expect("a thread")).collect()
    });
    let transaction = connection.transaction().expect("a transaction");
    {
        let mut insert = transaction
            .prepare("INSERT INTO task (name, app, analyzer, spec) VALUES (?1, ?2, ?3, ?4)")
            .expect("a statement");
        for Manifest { api_version, kind, metadata, spec } in &manifests {
            assert_eq!((api_version.as_str(), kind.as_str()), ("manifestd.dev/v1alpha1", "Task"));
            let text = serde_json::to_string(spec).expect("JSON");
            insert.execute(params![metadata.name, spec.app, spec.analyzer, text]).expect("a row");
        }
    }
    transaction.commit().expect("a commit");
    began.elapsed().as_secs_f64()
}

/// Seconds to find out that nothing has changed.
pub(crate) fn unchanged(directory: &Path) -> f64 {
    let began = Instant::now();
    let files = list(directory);
    assert!(!files.is_empty(), "there are files");
    began.elapsed().as_secs_f64()
}

/// Each file with what tells whether it has changed.
fn list(directory: &Path) -> Vec<(PathBuf, (u64, i64, u64))> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    let stat = |entry: fs::DirEntry| {
        let metadata = entry.metadata().expect("a file");
        (entry.path(), (metadata.size(), metadata.mtime_nsec(), metadata.ino()))
    };
    entries.map(stat).collect()
}

fn read((path, _): &(PathBuf, (u64, i64, u64))) -> Manifest {
    let text = fs::read_to_string(path).expect("a file");
    serde_yaml::from_str(&text).expect("a manifest")
}
