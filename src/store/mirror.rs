//! The mirror's side of the store: what was read from the manifests directory, and the objects that came of it. The one writer of specs.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, params};

use super::commit::{new_uid, record, set_condition, wake_waiting_for_app};
use super::rows::time_or_none;
use super::{Store, StoreError};
use crate::manifest::Problem;
use crate::plan::Key;
use crate::plan::mirror::{Change, Declared, Existing, Identity};
use crate::plan::write::{ConditionWrite, EventWrite};
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::object::Spec;
use crate::resource::provenance::Provenance;
use crate::resource::time::Timestamp;

/// What tells whether a file may have changed since it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// Size in bytes.
    pub size: u64,
    /// Time of modification in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Inode number.
    pub inode: u64,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedFile {
    /// Path relative to the manifests directory.
    pub path: String,
    /// Its stat from before it was read.
    pub stat: FileStat,
    /// SHA-256 of what was read, in hex.
    pub digest: String,
}

/// A problem, and the file whose reading found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedProblem {
    /// The file whose reading found it; its problems are replaced together.
    pub owner: String,
    /// What is wrong.
    pub problem: Problem,
}

/// Everything that one batch of a scan changes.
#[derive(Debug, Clone, Default)]
pub struct MirrorCommit {
    /// Creations, updates and removals.
    pub changes: Vec<Change>,
    /// Files that were read, to be skipped while they do not change.
    pub files: Vec<ScannedFile>,
    /// Files whose problems are replaced: those read, and those gone.
    pub judged: Vec<String>,
    /// The problems of the judged files.
    pub problems: Vec<OwnedProblem>,
    /// Files that are no longer there.
    pub gone: Vec<String>,
    /// Conditions of the directory itself.
    pub conditions: Vec<ConditionWrite>,
}

/// What a batch came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MirrorOutcome {
    /// New objects.
    pub created: usize,
    /// Objects whose spec, labels or place changed, or that came back.
    pub updated: usize,
    /// Objects whose manifest is gone.
    pub removed: usize,
    /// Keys that the changes concern.
    pub woken: Vec<Key>,
}

impl Store {
    /// The files that were read before, with their stats.
    ///
    /// # Errors
    /// What the database says.
    pub async fn mirrored_files(&self) -> Result<HashMap<String, FileStat>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT path, size, mtime_ns, inode FROM file")?;
            let files = statement.query_map([], |row| {
                let stat =
                    FileStat { size: row.get(1)?, mtime_ns: row.get(2)?, inode: row.get::<_, i64>(3)?.cast_unsigned() };
                Ok((row.get(0)?, stat))
            })?;
            Ok(files.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Stored objects with one of these names, or from one of these files.
    ///
    /// # Errors
    /// What the database says.
    pub async fn mirrored_objects(
        &self,
        names: Vec<Identity>,
        files: HashSet<String>,
    ) -> Result<HashMap<Identity, Existing>, StoreError> {
        self.read(move |connection| existing_objects(connection, &names, &files)).await
    }

    /// Files that are to be read again though they did not change: a name that they declare was refused, and may be free by now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn contested_files(&self) -> Result<HashSet<String>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT DISTINCT owner FROM problem WHERE code = 'duplicate-name'")?;
            let files = statement.query_map([], |row| row.get(0))?;
            Ok(files.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// How many problems the directory has.
    ///
    /// # Errors
    /// What the database says.
    pub async fn problem_count(&self) -> Result<u64, StoreError> {
        self.read(|connection| Ok(connection.query_row("SELECT count(*) FROM problem", [], |row| row.get(0))?)).await
    }

    /// Whether a condition of the manifests directory itself holds.
    ///
    /// # Errors
    /// What the database says.
    pub async fn directory_condition(&self, condition: &'static str) -> Result<bool, StoreError> {
        self.read(move |connection| {
            let query = "SELECT EXISTS (SELECT 1 FROM condition WHERE uid = '' AND type = ?1 AND holds = 1)";
            Ok(connection.query_row(query, [condition], |row| row.get(0))?)
        })
        .await
    }

    /// Accepts what every blown fuse froze: the next scans may mark and remove it. Says how many sources that concerns.
    ///
    /// # Errors
    /// What the database says.
    pub async fn accept_orphans(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |connection| {
            let accepted = connection.execute(
                "INSERT INTO condition (uid, type, holds, reason, message, changed_at)
                 SELECT uid, 'GoneAccepted', 1, 'Accepted', 'a person accepted that what is gone is gone', ?1
                 FROM condition WHERE type = 'SourceSuspect' AND holds = 1
                 ON CONFLICT (uid, type) DO UPDATE SET holds = 1, changed_at = excluded.changed_at",
                [now.0],
            )?;
            Ok(accepted as u64)
        })
        .await
    }

    /// How many objects came from manifests and are not removed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn mirrored_count(&self) -> Result<usize, StoreError> {
        self.read(|connection| {
            let query = "SELECT count(*) FROM object INDEXED BY object_by_file WHERE removed_at IS NULL AND file NOT LIKE 'appset/%'";
            Ok(connection.prepare_cached(query)?.query_row([], |row| row.get(0))?)
        })
        .await
    }

    /// Commits one batch of a scan.
    ///
    /// # Errors
    /// What the database says.
    pub async fn commit_mirror(&self, batch: MirrorCommit, now: Timestamp) -> Result<MirrorOutcome, StoreError> {
        self.write(move |connection| {
            let mut outcome = MirrorOutcome::default();
            for change in &batch.changes {
                apply(connection, change, now, &mut outcome)?;
            }
            write_files(connection, &batch)?;
            write_problems(connection, &batch)?;
            for condition in &batch.conditions {
                set_condition(connection, condition, now)?;
            }
            Ok(outcome)
        })
        .await
    }
}

/// Stored objects with one of these names, or from one of these files and not removed.
///
/// # Errors
/// What the database says.
pub fn existing_objects(
    connection: &Connection,
    names: &[Identity],
    files: &HashSet<String>,
) -> Result<HashMap<Identity, Existing>, StoreError> {
    let mut found = HashMap::new();
    let columns = "uid, kind, name, generation, spec, labels, annotations, file, line, digest, git_commit, removed_at";
    let mut by_name =
        connection.prepare_cached(&format!("SELECT {columns} FROM object WHERE kind = ?1 AND name = ?2"))?;
    for (kind, name) in names {
        collect(by_name.query(params![kind.as_str(), name])?, &mut found)?;
    }
    let mut by_file =
        connection.prepare_cached(&format!("SELECT {columns} FROM object WHERE file = ?1 AND removed_at IS NULL"))?;
    for file in files {
        collect(by_file.query([file])?, &mut found)?;
    }
    Ok(found)
}

/// Every file that an object comes from which is not removed.
///
/// # Errors
/// What the database says.
pub fn object_files(connection: &Connection) -> Result<HashSet<String>, StoreError> {
    let query = "SELECT DISTINCT file FROM object WHERE removed_at IS NULL AND file NOT LIKE 'appset/%'";
    let mut statement = connection.prepare_cached(query)?;
    let files = statement.query_map([], |row| row.get(0))?;
    Ok(files.collect::<Result<_, _>>()?)
}

fn collect(mut rows: rusqlite::Rows<'_>, found: &mut HashMap<Identity, Existing>) -> Result<(), StoreError> {
    while let Some(row) = rows.next()? {
        let kind: Kind = super::rows::word(row, "kind")?;
        let existing = Existing {
            uid: Uid(row.get("uid")?),
            generation: row.get("generation")?,
            spec: row.get("spec")?,
            labels: row.get("labels")?,
            annotations: row.get("annotations")?,
            provenance: Provenance {
                file: row.get("file")?,
                line: row.get("line")?,
                digest: row.get("digest")?,
                commit: row.get("git_commit")?,
            },
            removed: time_or_none(row, "removed_at")?.is_some(),
        };
        found.insert((kind, row.get("name")?), existing);
    }
    Ok(())
}

fn apply(
    connection: &Connection,
    change: &Change,
    now: Timestamp,
    outcome: &mut MirrorOutcome,
) -> Result<(), StoreError> {
    match change {
        Change::Create(declared) => {
            let uid = new_uid(now);
            write_object(connection, &uid, declared, 1, now)?;
            outcome.created += 1;
            let message = format!("{}:{}", declared.provenance.file, declared.provenance.line);
            tell(connection, &uid, declared, "Created", message, now)?;
            wake(connection, &uid, declared, false, &mut outcome.woken)
        }
        Change::Update { uid, declared, difference, generation } => {
            write_object(connection, uid, declared, *generation, now)?;
            outcome.updated += 1;
            let at = format!("{}:{}", declared.provenance.file, declared.provenance.line);
            if difference.restored {
                tell(connection, uid, declared, "Restored", format!("its manifest came back at {at}"), now)?;
            } else if difference.spec {
                tell(connection, uid, declared, "SpecChanged", format!("generation {generation}, {at}"), now)?;
            }
            if difference.spec || difference.restored {
                wake(connection, uid, declared, true, &mut outcome.woken)?;
            }
            Ok(())
        }
        Change::Remove { uid, identity, provenance } => {
            connection
                .prepare_cached("UPDATE object SET removed_at = ?2 WHERE uid = ?1")?
                .execute(params![uid.0, now.0])?;
            connection.prepare_cached("UPDATE task SET removed = 1 WHERE uid = ?1")?.execute([&uid.0])?;
            outcome.removed += 1;
            let (kind, name) = identity.clone();
            let event = EventWrite {
                uid: uid.clone(),
                kind,
                name: name.clone(),
                event_type: EventType::Normal,
                reason: "Removed",
                message: format!("no longer declared in {}", provenance.file),
            };
            record(connection, &event, now)?;
            match kind {
                Kind::Task => outcome.woken.push(Key::Task(uid.clone())),
                // Its queue is told that it waits for an analyzer now.
                Kind::Analyzer => outcome.woken.push(Key::Lane(name)),
                Kind::App | Kind::AppSet => {}
            }
            Ok(())
        }
    }
}

fn tell(
    connection: &Connection,
    uid: &Uid,
    declared: &Declared,
    reason: &'static str,
    message: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = EventWrite {
        uid: uid.clone(),
        kind: declared.object.kind(),
        name: declared.object.metadata.name.clone(),
        event_type: EventType::Normal,
        reason,
        message,
    };
    record(connection, &event, now)
}

fn write_object(
    connection: &Connection,
    uid: &Uid,
    declared: &Declared,
    generation: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let json = |value: &std::collections::BTreeMap<String, String>| serde_json::to_string(value).unwrap_or_default();
    let (object, place) = (&declared.object, &declared.provenance);
    connection
        .prepare_cached(
            "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest, git_commit)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (uid) DO UPDATE SET labels = excluded.labels, annotations = excluded.annotations,
                 spec = excluded.spec, generation = excluded.generation, updated_at = excluded.updated_at, removed_at = NULL,
                 file = excluded.file, line = excluded.line, digest = excluded.digest, git_commit = excluded.git_commit",
        )?
        .execute(params![
            uid.0,
            object.kind().as_str(),
            object.metadata.name,
            json(&object.metadata.labels),
            json(&object.metadata.annotations),
            object.spec.to_value().to_string(),
            generation,
            now.0,
            place.file,
            place.line,
            place.digest,
            place.commit,
        ])?;
    match &object.spec {
        Spec::Task(spec) => {
            connection
                .prepare_cached(
                    "INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (uid) DO UPDATE SET app = excluded.app, analyzer = excluded.analyzer,
                         priority = excluded.priority, generation = excluded.generation, removed = 0",
                )?
                .execute(params![uid.0, object.metadata.name, spec.app, spec.analyzer, spec.priority, now.0, generation])?;
        }
        Spec::App(_) => {
            connection
                .prepare_cached("INSERT INTO app (uid) VALUES (?1) ON CONFLICT (uid) DO UPDATE SET app_set = NULL")?
                .execute([&uid.0])?;
        }
        Spec::Analyzer(_) | Spec::AppSet(_) => {}
    }
    Ok(())
}

/// The keys that a changed object concerns: itself, and the tasks that are held because of it.
fn wake(
    connection: &Connection,
    uid: &Uid,
    declared: &Declared,
    known: bool,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let name = &declared.object.metadata.name;
    match &declared.object.spec {
        Spec::Task(spec) => {
            // A suspended one is told so at once, however many are before it in the queue.
            if known || spec.suspend {
                woken.push(Key::Task(uid.clone()));
            }
            woken.push(Key::Lane(spec.analyzer.clone()));
        }
        Spec::Analyzer(_) => {
            woken.push(Key::Lane(name.clone()));
            let mut statement = connection.prepare_cached(
                "SELECT uid FROM task WHERE phase = 'Pending' AND reason IN ('AnalyzerNotFound', 'AppNotAddressable') AND analyzer = ?1",
            )?;
            for uid in statement.query_map([name], |row| row.get(0))? {
                woken.push(Key::Task(Uid(uid?)));
            }
        }
        Spec::App(_) => {
            woken.push(Key::Apps);
            wake_waiting_for_app(connection, name, woken)?;
        }
        Spec::AppSet(_) => woken.push(Key::Apps),
    }
    Ok(())
}

fn write_files(connection: &Connection, batch: &MirrorCommit) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO file (path, size, mtime_ns, inode, digest) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for file in &batch.files {
        let stat = &file.stat;
        insert.execute(params![file.path, stat.size, stat.mtime_ns, stat.inode.cast_signed(), file.digest])?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM file WHERE path = ?1")?;
    for path in &batch.gone {
        delete.execute([path])?;
    }
    Ok(())
}

fn write_problems(connection: &Connection, batch: &MirrorCommit) -> Result<(), StoreError> {
    let mut delete = connection.prepare_cached("DELETE FROM problem WHERE owner = ?1")?;
    for path in batch.judged.iter().chain(&batch.gone) {
        delete.execute([path])?;
    }
    let mut insert =
        connection.prepare_cached("INSERT INTO problem (owner, file, line, code, body) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for OwnedProblem { owner, problem } in &batch.problems {
        let body = serde_json::to_string(problem).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        insert.execute(params![owner, problem.file, problem.place.line, problem.code, body])?;
    }
    Ok(())
}
