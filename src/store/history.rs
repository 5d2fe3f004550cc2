//! The revisions of definitions: the current one is in the object's row, older ones in rows of their own. Only the mirror makes them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreError;
use super::rows::time;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

/// Older revisions that are kept of each object. Enough for months of edits by people; a program that rewrites its manifests every minute
/// must not fill the disk. A manifest is at most as long as a file, 1 MiB, so the worst case is known too.
pub const REVISIONS_KEPT: i64 = 50;

/// The columns that an older revision takes over from the object's row.
const COLUMNS: &str = "uid, revision, generation, manifest, manifest_digest, spec, revised_at, file, line, git_commit";

/// One revision of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its number, from 1; rises with every change of the text or the file, and when it comes back after a removal.
    pub number: i64,
    /// Generation of the spec that it declares.
    pub generation: i64,
    /// The document as it stood in its file; empty when it was never read, as of an app that was found on disk.
    pub manifest: String,
    /// SHA-256 of that in hex; empty with it.
    pub digest: String,
    /// When it was accepted.
    pub at: Timestamp,
    /// The file, relative to the manifests directory.
    pub file: String,
    /// The line in it; 0 when it was declared nowhere.
    pub line: u32,
    /// The commit that was checked out while it was the current one, the last one if there were several.
    pub commit: Option<String>,
}

/// Where a child of a run comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedBy {
    /// The run.
    pub run: String,
    /// Its step.
    pub step: String,
    /// Which item of the step, from 0.
    pub item: u64,
    /// What the item stands for, for people.
    pub label: String,
}

/// Keeps what an object's row says as an older revision, if what takes its place is another one: another text, another file, or it comes
/// back. Says whether it is. One whose text is not known has no history to keep.
pub(super) fn keep_declared(connection: &Connection, uid: &Uid, digest: &str, file: &str) -> Result<bool, StoreError> {
    let kept = connection
        .prepare_cached(&format!(
            "INSERT INTO revision ({COLUMNS}) SELECT {COLUMNS} FROM object
             WHERE uid = ?1 AND manifest_digest <> '' AND (manifest_digest <> ?2 OR file <> ?3 OR removed_at IS NOT NULL)"
        ))?
        .execute(params![uid.0, digest, file])?;
    if kept > 0 {
        connection
            .prepare_cached(
                "DELETE FROM revision WHERE uid = ?1 AND revision <= (SELECT revision FROM object WHERE uid = ?1) - ?2",
            )?
            .execute(params![uid.0, REVISIONS_KEPT])?;
    }
    Ok(kept > 0)
}

/// Keeps what a removed object's row says, before something that is declared nowhere takes the row.
pub(super) fn keep_removed(connection: &Connection, kind: Kind, name: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO revision ({COLUMNS}) SELECT {COLUMNS} FROM object
             WHERE kind = ?1 AND name = ?2 AND removed_at IS NOT NULL AND manifest_digest <> ''"
        ))?
        .execute(params![kind.as_str(), name])?;
    Ok(())
}

/// Every kept revision of an object, newest first; the first is the current one.
///
/// # Errors
/// What the database says.
pub fn revisions(connection: &Connection, uid: &str) -> Result<Vec<Revision>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM object WHERE uid = ?1 UNION ALL SELECT {COLUMNS} FROM revision WHERE uid = ?1 ORDER BY revision DESC"
    ))?;
    let mut rows = statement.query([uid])?;
    let mut revisions = Vec::new();
    while let Some(row) = rows.next()? {
        revisions.push(revision(row)?);
    }
    Ok(revisions)
}

fn revision(row: &Row<'_>) -> Result<Revision, StoreError> {
    Ok(Revision {
        number: row.get("revision")?,
        generation: row.get("generation")?,
        manifest: row.get("manifest")?,
        digest: row.get("manifest_digest")?,
        at: time(row, "revised_at")?,
        file: row.get("file")?,
        line: row.get("line")?,
        commit: row.get("git_commit")?,
    })
}

/// SHA-256 of a file as the mirror read it last, in hex; `None` when it has not.
///
/// # Errors
/// What the database says.
pub fn file_digest(connection: &Connection, path: &str) -> Result<Option<String>, StoreError> {
    let query = "SELECT digest FROM file WHERE path = ?1";
    Ok(connection.query_row(query, [path], |row| row.get(0)).optional()?)
}

/// The run that has this task or run as a child, with the step that asked for it.
///
/// # Errors
/// What the database says.
pub fn asked_by(connection: &Connection, uid: &str) -> Result<Option<AskedBy>, StoreError> {
    let query = "SELECT r.name, c.step, c.item, c.label FROM child c JOIN run r ON r.uid = c.run WHERE c.uid = ?1";
    let asked = |row: &Row<'_>| {
        Ok(AskedBy {
            run: row.get(0)?,
            step: row.get(1)?,
            item: row.get::<_, i64>(2)?.cast_unsigned(),
            label: row.get(3)?,
        })
    };
    Ok(connection.query_row(query, [uid], asked).optional()?)
}
