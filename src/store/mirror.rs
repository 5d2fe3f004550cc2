//! The mirror's side of the store: what was read from the manifests directory, and the objects that came of it. The one writer of specs.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::{Connection, params};

use super::commit::set_condition;
use super::mirror_write::{apply, write_files, write_problems};
use super::rows::time_or_none;
use super::{Moment, Store, StoreError};
use crate::manifest::Problem;
use crate::plan::Key;
use crate::plan::mirror::{Change, Existing, Identity, ObservedMirror};
use crate::plan::write::ConditionWrite;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::provenance::Provenance;
use crate::resource::time::Timestamp;

/// What tells whether a file may have changed since it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// Sees to it that every file that was read by other rules than these is read again: what was allowed may not be any more, and the other way
    /// round. It counts as changed from now on, until it was read.
    ///
    /// # Errors
    /// What the database says.
    pub async fn read_by(&self, rules: String) -> Result<(), StoreError> {
        let wanted = rules.clone();
        let is_known = self.read(move |connection| {
            let query = "SELECT 1 FROM meta WHERE key = 'read_by' AND value = ?1";
            Ok(connection.prepare_cached(query)?.exists([wanted])?)
        });
        if is_known.await? {
            return Ok(());
        }
        self.write(move |connection| {
            connection.execute("UPDATE file SET size = 0, mtime_ns = 0, inode = 0", [])?;
            let write = "INSERT INTO meta (key, value) VALUES ('read_by', ?1) ON CONFLICT DO UPDATE SET value = ?1";
            connection.execute(write, [&rules])?;
            Ok(())
        })
        .await
    }

    /// The files that were read before, with their stats, sorted by path.
    ///
    /// # Errors
    /// What the database says.
    pub async fn mirrored_files(&self) -> Result<Vec<(String, FileStat)>, StoreError> {
        self.read(|connection| {
            let query = "SELECT path, size, mtime_ns, inode FROM file ORDER BY path";
            let mut statement = connection.prepare_cached(query)?;
            let files = statement.query_map([], |row| {
                let stat =
                    FileStat { size: row.get(1)?, mtime_ns: row.get(2)?, inode: row.get::<_, i64>(3)?.cast_unsigned() };
                Ok((row.get(0)?, stat))
            })?;
            Ok(files.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Files that are to be read again though they did not change: a name that they declare was refused, and may be free by now, or a program,
    /// which may be where it should be by now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn contested_files(&self) -> Result<HashSet<String>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT DISTINCT owner FROM problem WHERE code IN ('duplicate-name', 'program-not-allowed')",
            )?;
            let files = statement.query_map([], |row| row.get(0))?;
            Ok(files.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The problems that reading one file found; those of the directory itself have no owner.
    ///
    /// # Errors
    /// What the database says.
    pub async fn problems_of(&self, owner: String) -> Result<Vec<Problem>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT body FROM problem WHERE owner = ?1 ORDER BY id")?;
            let mut rows = statement.query([owner])?;
            let mut problems = Vec::new();
            while let Some(row) = rows.next()? {
                problems.push(super::rows::json_column(row, "body")?);
            }
            Ok(problems)
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
            let query = "SELECT count(*) FROM object INDEXED BY object_by_file WHERE removed_at IS NULL AND line > 0";
            Ok(connection.prepare_cached(query)?.query_row([], |row| row.get(0))?)
        })
        .await
    }

    /// Commits one batch of a scan.
    ///
    /// # Errors
    /// What the database says.
    pub async fn commit_mirror(&self, batch: MirrorCommit, now: Timestamp) -> Result<MirrorOutcome, StoreError> {
        self.at_one_moment(move |moment| moment.commit_mirror(&batch, now)).await
    }
}

impl Moment<'_> {
    /// Those of these problems that are not stored yet.
    ///
    /// # Errors
    /// What the database says.
    pub fn new_problems(&self, problems: &[OwnedProblem]) -> Result<Vec<Problem>, StoreError> {
        let mut known = self.connection.prepare_cached("SELECT 1 FROM problem WHERE owner = ?1 AND body = ?2")?;
        let mut found = Vec::new();
        for OwnedProblem { owner, problem } in problems {
            let body = serde_json::to_string(problem).map_err(|error| StoreError::Corrupt(error.to_string()))?;
            if !known.exists(params![owner, body])? {
                found.push(problem.clone());
            }
        }
        Ok(found)
    }

    /// The stored objects that are declared in what was read, or come from a file that was read or is gone.
    ///
    /// # Errors
    /// What the database says.
    pub fn mirrored_objects(&self, observed: &ObservedMirror) -> Result<HashMap<Identity, Existing>, StoreError> {
        existing_objects(self.connection, observed)
    }

    /// Writes one batch of a scan.
    ///
    /// # Errors
    /// What the database says.
    pub fn commit_mirror(&self, batch: &MirrorCommit, now: Timestamp) -> Result<MirrorOutcome, StoreError> {
        let mut outcome = MirrorOutcome::default();
        for change in &batch.changes {
            apply(self.connection, change, now, &mut outcome)?;
        }
        write_files(self.connection, batch)?;
        write_problems(self.connection, batch)?;
        for condition in &batch.conditions {
            set_condition(self.connection, condition, now)?;
        }
        Ok(outcome)
    }
}

/// The columns of an object that the mirror looks at.
macro_rules! mirrored {
    ($where:literal) => {
        concat!(
            "SELECT uid, kind, name, generation, spec, labels, annotations, file, line, digest, git_commit, removed_at,
                 manifest_digest <> '' AS has_text FROM object WHERE ",
            $where
        )
    };
}

/// Stored objects with names of a list.
pub(super) const BY_NAME: &str = mirrored!("kind = ?1 AND name IN (SELECT value FROM json_each(?2))");

/// Stored objects of the files of a list.
pub(super) const BY_FILE: &str =
    mirrored!("file IN (SELECT value FROM json_each(?1)) AND removed_at IS NULL AND line > 0");

/// Stored objects that are declared in what was read, or come from a file that was read or is gone and are not removed.
///
/// # Errors
/// What the database says.
pub fn existing_objects(
    connection: &Connection,
    observed: &ObservedMirror,
) -> Result<HashMap<Identity, Existing>, StoreError> {
    let mut found = HashMap::new();
    let mut names: BTreeMap<Kind, Vec<&str>> = BTreeMap::new();
    for declared in &observed.declared {
        names.entry(declared.object.kind()).or_default().push(&declared.object.metadata.name);
    }
    let mut by_name = connection.prepare_cached(BY_NAME)?;
    for (kind, names) in names {
        let names = serde_json::Value::from(names).to_string();
        collect(by_name.query(params![kind.as_str(), names])?, &mut found)?;
    }
    let files: Vec<&str> = observed.read.iter().chain(&observed.gone).map(String::as_str).collect();
    let files = serde_json::Value::from(files).to_string();
    collect(connection.prepare_cached(BY_FILE)?.query([files])?, &mut found)?;
    Ok(found)
}

/// Every file that an object comes from which is not removed.
///
/// # Errors
/// What the database says.
pub fn object_files(connection: &Connection) -> Result<HashSet<String>, StoreError> {
    let query = "SELECT DISTINCT file FROM object WHERE removed_at IS NULL AND line > 0";
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
            has_text: row.get("has_text")?,
        };
        found.insert((kind, row.get("name")?), existing);
    }
    Ok(())
}
