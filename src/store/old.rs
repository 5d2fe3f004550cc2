//! Reading the database of the old system: strictly read-only, in batches, whatever it holds.
//!
//! One read transaction lasts for the whole import, so that all of it is about one moment. What lookups need is put into temporary tables of
//! this connection, which SQLite keeps apart from the file.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use serde::Serialize;

use crate::import::cell::{CELL_BYTES_MAX, Cell, Row};
use crate::import::schema::{APPS, OldTable, TABLES, TASKS};

/// How long a database that is being written is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Names of tables and columns that a report lists.
const NAMES_MAX: usize = 200;

/// The first bytes of every SQLite database. Source: sqlite.org/fileformat.html, section 1.3.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Where the header says how the database is to be read; 2 is a write-ahead log.
const READ_VERSION_AT: usize = 19;

/// Why the old database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OldError {
    /// The file cannot be opened.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{path} is no SQLite database: {why}")]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// It has none of the tables.
    #[error("{path} is no database of the old system: it has none of the tables {}; its tables are: {found}", names())]
    OtherSchema {
        /// The file.
        path: PathBuf,
        /// Its tables.
        found: String,
    },
    /// Somebody writes it.
    #[error("{path} is locked by another program; stop the old system, then try again")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// What was written last is in a file beside it, which cannot be read where it lies.
    #[error(
        "{path} was not closed in good order: what was written last is in {beside}, and it cannot be read without writing beside it. \
         Copy both into a directory that can be written, and import the copy"
    )]
    Unclosed {
        /// The file.
        path: PathBuf,
        /// The log or journal.
        beside: PathBuf,
    },
    /// SQLite said no.
    #[error("reading {path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

fn names() -> String {
    TABLES.map(|table| table.name).join(", ")
}

/// How the tables differ from those that are known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// Tables that are imported and not there.
    pub missing_tables: Vec<String>,
    /// Columns that are known and not there, as `table.column`.
    pub missing_columns: Vec<String>,
    /// Columns without which their table is left out, and that are not there.
    pub needed_columns: Vec<String>,
    /// Columns that are not known; they are left out.
    pub unknown_columns: Vec<String>,
    /// Tables that are not imported.
    pub other_tables: Vec<String>,
    /// Whether the apps know since when they are missing.
    pub missing_since: bool,
}

/// The open database of the old system.
pub struct OldDatabase {
    path: PathBuf,
    connection: Connection,
    shape: Shape,
    /// The columns that are read, by table.
    columns: BTreeMap<&'static str, Vec<&'static str>>,
}

impl OldDatabase {
    /// Opens it, and looks whether it is one.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn open(path: &Path) -> Result<Self, OldError> {
        let connection = connect(path)?;
        let mut old = Self { path: path.to_owned(), connection, shape: Shape::default(), columns: BTreeMap::new() };
        old.look().map_err(|error| old.error(error))?;
        if old.shape.missing_tables.len() == TABLES.len() {
            let found = old.shape.other_tables.join(", ");
            let found = if found.is_empty() { "none".to_owned() } else { found };
            return Err(OldError::OtherSchema { path: old.path, found });
        }
        old.index().map_err(|error| old.error(error))?;
        Ok(old)
    }

    /// How its tables differ from those that are known.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many rows a table has; none for one that is left out.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count(&self, table: &OldTable) -> Result<u64, OldError> {
        if !self.columns.contains_key(table.name) {
            return Ok(0);
        }
        let query = format!("SELECT count(*) FROM main.{}", table.name);
        self.connection.query_row(&query, [], |row| row.get(0)).map_err(|error| self.error(error))
    }

    /// The rows of a table after this rowid, at most `limit`, in the order of their ids.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn rows(&self, table: &OldTable, after: Option<i64>, limit: usize) -> Result<Vec<Row>, OldError> {
        let clause = "WHERE ?1 IS NULL OR rowid > ?1 ORDER BY rowid LIMIT ?2";
        self.select(table, clause, params![after, limit as u64])
    }

    /// The children of a main task, at most `limit`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn children(&self, task_id: &str, limit: usize) -> Result<Vec<Row>, OldError> {
        let clause = "WHERE rowid IN (SELECT row FROM temp.old_task WHERE parent = ?1 AND id IS NOT ?1 AND repeats = 0 ORDER BY row LIMIT ?2) ORDER BY rowid";
        self.select(&TASKS, clause, params![task_id, limit as u64])
    }

    /// The task of this id; the first, if there are several.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn task(&self, task_id: &str) -> Result<Option<Row>, OldError> {
        let clause = "WHERE rowid = (SELECT row FROM temp.old_task WHERE id = ?1 AND repeats = 0 LIMIT 1)";
        Ok(self.select(&TASKS, clause, params![task_id])?.pop())
    }

    /// Whether a row of the tasks repeats the id of an earlier one, and whether the task that it calls its parent is there.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn kin(&self, row: i64) -> Result<(bool, bool), OldError> {
        let query =
            "SELECT t.repeats > 0, t.parent IS NULL OR EXISTS (SELECT 1 FROM temp.old_task p WHERE p.id = t.parent)
             FROM temp.old_task t WHERE t.row = ?1";
        let mut statement = self.connection.prepare_cached(query).map_err(|error| self.error(error))?;
        statement.query_row([row], |row| Ok((row.get(0)?, row.get(1)?))).map_err(|error| self.error(error))
    }

    /// Whether there is a newer version of the app that a row is about.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn is_outdated(&self, row: i64) -> Result<bool, OldError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM temp.old_app WHERE row = ?1)")
            .map_err(|error| self.error(error))?;
        statement.query_row([row], |row| row.get(0)).map_err(|error| self.error(error))
    }

    fn select(&self, table: &OldTable, clause: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Row>, OldError> {
        let Some(columns) = self.columns.get(table.name) else { return Ok(Vec::new()) };
        let limited =
            |column: &&str| format!("iif(octet_length(\"{column}\") > {CELL_BYTES_MAX}, zeroblob(0), \"{column}\")");
        let list: Vec<String> = columns.iter().map(limited).collect();
        let query = format!("SELECT rowid, {} FROM main.{} {clause}", list.join(", "), table.name);
        let read = || {
            let mut statement = self.connection.prepare_cached(&query)?;
            let rows = statement.query_map(values, |row| {
                let mut cells = BTreeMap::new();
                for (at, column) in columns.iter().enumerate() {
                    cells.insert(*column, cell(row.get_ref(at + 1)?));
                }
                Ok(Row { table: table.name, id: row.get(0)?, cells })
            })?;
            rows.collect::<rusqlite::Result<Vec<Row>>>()
        };
        read().map_err(|error| self.error(error))
    }

    /// Reads which tables and columns there are.
    fn look(&mut self) -> rusqlite::Result<()> {
        let text = |query: &str, of: &[&dyn rusqlite::ToSql]| {
            let mut statement = self.connection.prepare(query)?;
            let names = statement.query_map(of, |row| row.get::<_, String>(0))?;
            names.collect::<rusqlite::Result<Vec<String>>>()
        };
        let tables = text(
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
            &[],
        )?;
        let mut shape = Shape::default();
        for table in &TABLES {
            if !tables.iter().any(|name| name == table.name) {
                shape.missing_tables.push(table.name.into());
                continue;
            }
            let there = text("SELECT name FROM pragma_table_info(?1, 'main')", params![table.name])?;
            let has = |column: &&&str| there.iter().any(|name| name == *column);
            let full = |column: &str| format!("{}.{column}", table.name);
            shape.missing_since |= table.name == APPS.name && has(&&"missing_since");
            let absent = |columns: &[&str]| {
                columns.iter().filter(|column| !has(column)).map(|column| full(column)).collect::<Vec<_>>()
            };
            shape.missing_columns.extend(absent(table.read));
            let needed = absent(table.needed);
            let unknown = there.iter().filter(|column| !table.knows(column)).map(|column| full(column));
            shape.unknown_columns.extend(unknown.take(NAMES_MAX));
            if needed.is_empty() {
                let read = table.needed.iter().chain(table.read).filter(has).copied();
                self.columns.insert(table.name, read.collect());
            }
            shape.needed_columns.extend(needed);
        }
        let others = tables.into_iter().filter(|name| !TABLES.iter().any(|table| table.name == name));
        shape.other_tables = others.take(NAMES_MAX).collect();
        self.shape = shape;
        Ok(())
    }

    /// Makes the temporary tables that lookups stand on.
    fn index(&self) -> rusqlite::Result<()> {
        let reads =
            |table: &OldTable, column: &str| self.columns.get(table.name).is_some_and(|known| known.contains(&column));
        // Nothing else may change what is read from here on.
        self.connection.execute_batch("BEGIN")?;
        self.connection.execute_batch(
            "CREATE TEMP TABLE old_task (row INTEGER PRIMARY KEY, id TEXT, parent TEXT, repeats INTEGER NOT NULL);
             CREATE TEMP TABLE old_app (row INTEGER PRIMARY KEY);",
        )?;
        if self.columns.contains_key(TASKS.name) {
            let parent = if reads(&TASKS, "parent_task_id") { "nullif(trim(parent_task_id), '')" } else { "NULL" };
            self.connection.execute_batch(&format!(
                "INSERT INTO temp.old_task SELECT rowid, trim(task_id), {parent}, row_number() OVER (PARTITION BY trim(task_id) ORDER BY rowid) - 1
                 FROM main.analysis_tasks;
                 CREATE INDEX temp.old_task_id ON old_task (id);
                 CREATE INDEX temp.old_task_parent ON old_task (parent) WHERE parent IS NOT NULL;"
            ))?;
        }
        if self.columns.contains_key(APPS.name) {
            let version = if reads(&APPS, "version") { "version" } else { "0" };
            let template = if reads(&APPS, "template_slug") { "template_slug" } else { "NULL" };
            self.connection.execute_batch(&format!(
                "INSERT INTO temp.old_app SELECT row FROM (SELECT rowid AS row,
                     row_number() OVER (PARTITION BY model_slug, app_number, {template} ORDER BY {version} DESC, rowid DESC) AS place
                 FROM main.generated_applications) WHERE place > 1"
            ))?;
        }
        Ok(())
    }

    fn error(&self, source: rusqlite::Error) -> OldError {
        said(&self.path, source)
    }
}

impl std::fmt::Debug for OldDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OldDatabase").field("path", &self.path).finish_non_exhaustive()
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(bytes) => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(_) => Cell::Unreadable,
    }
}

fn said(path: &Path, source: rusqlite::Error) -> OldError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OldError::Locked { path },
        Some(ErrorCode::NotADatabase) => OldError::NotADatabase { path, why: source.to_string() },
        // Reading would have to write: a log without its index, or a journal that is to be rolled back.
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => match unclosed(&path) {
            Some(beside) => OldError::Unclosed { path, beside },
            None => OldError::Sqlite { path, source },
        },
        _ => OldError::Sqlite { path, source },
    }
}

/// The log or the journal beside a database, if there is something in it.
fn unclosed(path: &Path) -> Option<PathBuf> {
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let has_something = |path: &PathBuf| fs::metadata(path).is_ok_and(|stat| stat.len() > 0);
    [beside("-wal"), beside("-journal")].into_iter().find(has_something)
}

/// Opens a connection that can only read.
///
/// A database with a write-ahead log is read together with that. Without one nobody has it open; it is then opened as immutable, since SQLite
/// would else make two files beside it, and could not where nothing can be written.
fn connect(path: &Path) -> Result<Connection, OldError> {
    let io = |source| OldError::Io { path: path.to_owned(), source };
    let not = |why: &str| OldError::NotADatabase { path: path.to_owned(), why: why.into() };
    if fs::metadata(path).map_err(io)?.is_dir() {
        return Err(not("it is a directory"));
    }
    let mut header = Vec::new();
    fs::File::open(path).and_then(|file| file.take(100).read_to_end(&mut header)).map_err(io)?;
    if !header.starts_with(MAGIC) {
        return Err(not(if header.is_empty() { "it is empty" } else { "it does not begin like one" }));
    }
    let has_log = header.get(READ_VERSION_AT) == Some(&2);
    let whole = fs::canonicalize(path).map_err(io)?;
    let quiet = has_log && unclosed(&whole).is_none();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let open = || {
        let connection = Connection::open_with_flags(uri(&whole, quiet), flags)?;
        connection.busy_timeout(LOCK_WAIT)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    open().map_err(|error| said(&whole, error))
}

/// A path as SQLite's URI; see sqlite.org/uri.html.
fn uri(path: &Path, immutable: bool) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str(if immutable { "?mode=ro&immutable=1" } else { "?mode=ro" });
    uri
}
