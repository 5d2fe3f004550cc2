//! Opening the database: pragmas on every connection, migrations in one go after a backup, refusal of a newer one.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use rusqlite_migration::{M, Migrations};

use super::exchange::is_pending;
use super::{StateLock, StoreError};

static MIGRATION_FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations");

static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| Migrations::new(steps()));

/// One step for each folder, in the order of their names. Foreign keys are checked before a step is committed, since a table that others
/// refer to can only be replaced while they are off.
fn steps() -> Vec<M<'static>> {
    let mut folders: Vec<_> = MIGRATION_FILES.dirs().collect();
    folders.sort_by_key(|folder| folder.path());
    let text = |folder: &Dir<'static>| MIGRATION_FILES.get_file(folder.path().join("up.sql"))?.contents_utf8();
    folders.into_iter().filter_map(text).map(|sql| M::up(sql).foreign_key_check()).collect()
}

/// The newest schema version that this program knows: the number of its migrations.
pub const SCHEMA_VERSION: usize = 7;

/// How long a connection waits for a lock that another one holds. Only a backup or a person's sqlite3 can hold it for long.
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// Statements that each connection keeps compiled.
const CACHED_STATEMENTS: usize = 128;

/// Where the database of a state directory lies.
#[must_use]
pub fn database_path(state: &Path) -> PathBuf {
    state.join("manifestd.db")
}

/// Opens the one write connection. Returns it with the state directory's id.
pub(super) fn open(path: &Path) -> Result<(Connection, String), StoreError> {
    check_place(path)?;
    open_at(path, &MIGRATIONS, SCHEMA_VERSION).map_err(|error| error.in_file(path))
}

fn open_at(path: &Path, migrations: &Migrations<'_>, known: usize) -> Result<(Connection, String), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    // Created by us first, so that its mode does not depend on the umask; SQLite gives -wal and -shm the same one.
    create_private(path).map_err(io)?;
    let mut connection = Connection::open(path)?;
    configure(&connection)?;
    let found: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    if found > 0 && found < known {
        let copy = back_up(&connection, path, found)?;
        tracing::info!(from = found, to = known, backup = %copy.display(), "upgrading the database");
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The log is folded in by the writer between groups; see writer.rs.
    tracing::debug!("bringing the schema up to date");
    migrate(&mut connection, migrations)?;
    tracing::debug!("the schema is up to date");
    let id = state_id(&connection)?;
    Ok((connection, id))
}

/// Makes a database of what a connection leads to, if it is none of this version yet. Gives its id.
pub(super) fn bring_up(connection: &mut Connection) -> Result<String, StoreError> {
    let found: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    // Each pragma throws away what was compiled, which a connection that goes from store to store need not lose.
    if found != SCHEMA_VERSION {
        configure(connection)?;
        migrate(connection, &MIGRATIONS)?;
    }
    state_id(connection)
}

fn migrate(connection: &mut Connection, migrations: &Migrations<'_>) -> Result<(), StoreError> {
    connection.pragma_update(None, "foreign_keys", false)?;
    migrations.to_latest(connection)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

/// A step of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// The schema version that it leads to.
    pub to: usize,
    /// The folder of its migration.
    pub name: String,
}

/// What has to be done to a database, from its version to the newest one. It is not touched.
///
/// # Errors
/// As [`open_read_only`], but that an older one is none.
pub fn pending_steps(path: &Path) -> Result<(usize, Vec<Step>), StoreError> {
    let (_, version) = open_any(path)?;
    let mut names: Vec<String> = MIGRATION_FILES.dirs().map(|folder| folder.path().display().to_string()).collect();
    names.sort();
    let steps = names.into_iter().enumerate().map(|(at, name)| Step { to: at + 1, name });
    Ok((version, steps.filter(|step| step.to > version).collect()))
}

/// Where the copy lies that an upgrade from a version makes first.
#[must_use]
pub fn upgrade_backup(path: &Path, version: usize) -> PathBuf {
    path.with_extension(format!("v{version}.backup.db"))
}

/// Creates a file for its owner alone, if it is not there; SQLite takes an empty file for an empty database.
fn create_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

/// Copies the database before an upgrade, under another name until the copy is whole and on disk. An upgrade that was interrupted makes
/// it again.
fn back_up(connection: &Connection, path: &Path, version: usize) -> Result<PathBuf, StoreError> {
    let copy = upgrade_backup(path, version);
    let part = path.with_extension(format!("v{version}.backup.part"));
    let io = |source| StoreError::Io { path: part.clone(), source };
    tracing::debug!("copying the database before the upgrade");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => create_private(&part).map_err(io)?,
    }
    connection.execute("VACUUM INTO ?1", [part.to_string_lossy()])?;
    File::open(&part).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&part, &copy).map_err(io)?;
    let directory = copy.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
    Ok(copy)
}

/// Opens a read-only connection to an existing database, with or without a daemon running.
///
/// # Errors
/// [`StoreError::Absent`] when there is none, [`StoreError::Newer`] when it is too new to be understood.
pub fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    match open_any(path)? {
        (connection, SCHEMA_VERSION) => Ok(connection),
        (_, found) => Err(StoreError::Older { path: path.to_owned(), found, known: SCHEMA_VERSION }),
    }
}

/// Opens a read-only connection to a database of any version that this program knows, and gives that version. An exchange of the state
/// that was interrupted is finished first.
///
/// # Errors
/// As [`open_read_only`], but that an older one is none.
pub(super) fn open_any(path: &Path) -> Result<(Connection, usize), StoreError> {
    let state = path.parent().unwrap_or(Path::new("."));
    if is_pending(state) {
        drop(StateLock::acquire(state)?);
    }
    if !path.exists() {
        return Err(StoreError::Absent { path: path.to_owned() });
    }
    check_place(path)?;
    read_any(path).map_err(|error| error.in_file(path))
}

/// SQLite calls a directory in the place of a database a broken disk.
fn check_place(path: &Path) -> Result<(), StoreError> {
    match path.is_dir() {
        true => {
            let said = "it is a directory".to_owned();
            Err(StoreError::Unusable { path: path.to_owned(), said, advice: super::error::CLOSED })
        }
        false => Ok(()),
    }
}

/// Whether nobody can write it: it lies on a read-only file system, whole, without a log beside it. SQLite would want to make one even for
/// reading.
fn is_frozen(path: &Path) -> bool {
    use rustix::fs::{StatVfsMountFlags, statvfs};
    statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
        && !path.with_extension("db-wal").exists()
}

/// A path as SQLite reads it with the promise that nothing changes.
fn frozen_uri(path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{path}?immutable=1")
}

fn read_any(path: &Path) -> Result<(Connection, usize), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match is_frozen(path) {
        false => Connection::open_with_flags(path, flags)?,
        true => Connection::open_with_flags(frozen_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)?,
    };
    configure(&connection)?;
    let found: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match found {
        0 => Err(StoreError::Absent { path: path.to_owned() }),
        found if found > SCHEMA_VERSION => {
            Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION })
        }
        found => Ok((connection, found)),
    }
}

/// Sets a connection as each of the program's is set. What was compiled for it is compiled anew.
///
/// # Errors
/// What SQLite says.
pub fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Else a statement is compiled anew whenever it is given another value that a partial index could be about.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(())
}

fn state_id(connection: &Connection) -> Result<String, StoreError> {
    let known = connection
        .query_row("SELECT value FROM meta WHERE key = 'state_id'", [], |row| row.get::<_, String>(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let id: String = connection.query_row("SELECT lower(hex(randomblob(8)))", [], |row| row.get(0))?;
    connection.execute("INSERT INTO meta (key, value) VALUES ('state_id', ?1)", params![id])?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_version_is_the_number_of_migrations() {
        MIGRATIONS.validate().unwrap();
        assert_eq!((MIGRATION_FILES.dirs().count(), steps().len()), (SCHEMA_VERSION, SCHEMA_VERSION));
    }

    #[test]
    fn an_upgrade_makes_a_whole_private_backup_first_even_after_one_that_was_interrupted() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = database_path(directory.path());
        let first = M::up(MIGRATION_FILES.get_file("01-first/up.sql").unwrap().contents_utf8().unwrap());
        let older = [first.clone()];
        let (connection, id) = open_at(&path, &Migrations::from_slice(&older), 1).unwrap();
        drop(connection);
        // What an upgrade that was killed may have left: a whole copy, and a part of one.
        let copy = directory.path().join("manifestd.v1.backup.db");
        let part = directory.path().join("manifestd.v1.backup.part");
        fs::write(&copy, "from the last try").unwrap();
        fs::write(&part, "half of a").unwrap();
        let next = [first, M::up("ALTER TABLE meta ADD COLUMN more TEXT; UPDATE meta SET more = 'new';")];
        let (connection, same) = open_at(&path, &Migrations::from_slice(&next), 2).unwrap();
        assert_eq!(same, id);
        let version: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 2);
        assert!(!part.exists());
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let old = Connection::open(&copy).unwrap();
        let kept: (usize, String) = old
            .query_row("SELECT user_version, value FROM pragma_user_version, meta WHERE key = 'state_id'", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(kept, (1, id));
        drop(connection);
        let back = open_at(&path, &Migrations::from_slice(&older), 1);
        assert!(matches!(back, Err(StoreError::Newer { found: 2, known: 1, .. })));
    }

    #[test]
    fn an_upgrade_keeps_every_row_and_what_refers_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = database_path(directory.path());
        let first = [M::up(MIGRATION_FILES.get_file("01-first/up.sql").unwrap().contents_utf8().unwrap())];
        let (connection, _) = open_at(&path, &Migrations::from_slice(&first), 1).unwrap();
        connection
            .execute_batch(
                "INSERT INTO object VALUES ('t', 'Task', 'lint', '{}', '{}', '{}', 1, 5, 5, NULL, 'a.yaml', 1, '', NULL);
                 INSERT INTO object VALUES ('a', 'App', 'demo', '{}', '{}', '{}', 1, 5, 5, 7, 'a.yaml', 9, '', NULL);
                 INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation) VALUES ('t', 'lint', 'demo', 'l', 1, 5, 1);
                 INSERT INTO object VALUES ('u', 'Task', 'one', '{}', '{}', '{}', 1, 5, 5, NULL, 'x/b.yaml', 1, '', NULL);
                 INSERT INTO object VALUES ('v', 'Task', 'two', '{}', '{}', '{}', 1, 5, 5, NULL, 'x/b.yaml', 9, '', NULL);
                 INSERT INTO object VALUES ('w', 'Task', 'set', '{\"manifestd.dev/owner\": \"web\"}', '{}', '{}', 1, 5, 5, NULL, 'x/b.yaml', 20, '', NULL);
                 INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation)
                     SELECT uid, name, 'demo', 'l', 1, 6, 1 FROM object WHERE file = 'x/b.yaml';
                 INSERT INTO app (uid) VALUES ('a');
                 INSERT INTO attempt (task_uid, number, round, generation, analyzer, replica, opened_at, deadline_at)
                     VALUES ('t', 1, 1, 1, 'l', '', 6, 9);",
            )
            .unwrap();
        drop(connection);
        let (connection, _) = open(&path).unwrap();
        let kept: (i64, i64, i64, i64) = connection
            .query_row(
                "SELECT (SELECT count(*) FROM object), (SELECT count(*) FROM app), (SELECT min(since) FROM task), (SELECT count(*) FROM attempt)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .unwrap();
        assert_eq!(kept, (5, 1, 5, 1));
        let line =
            "SELECT group_concat(name || ' of ' || owner || ' ' || turn, ', ') FROM (SELECT * FROM task ORDER BY name)";
        let line: String = connection.query_row(line, [], |row| row.get(0)).unwrap();
        assert_eq!(
            line, "lint of ./ 1, one of x/b.yaml 1, set of web 1, two of x/b.yaml 2",
            "what the mirror would write"
        );
        assert!(connection.execute("UPDATE object SET kind = 'Pod'", []).is_err(), "kinds are a closed list");
        assert_eq!(connection.execute("DELETE FROM object WHERE uid = 't'", []).unwrap(), 1);
        let left: i64 = connection.query_row("SELECT count(*) FROM attempt", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "an attempt goes with its task");
    }

    #[test]
    fn an_upgrade_that_fails_leaves_the_database_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = database_path(directory.path());
        drop(open(&path).unwrap());
        for broken in ["DELETE FROM meta; SELECT * FROM no_such_table;", "INSERT INTO app (uid) VALUES ('nobody');"] {
            let mut broken_steps = steps();
            broken_steps.push(M::up(broken).foreign_key_check());
            let tried = open_at(&path, &Migrations::new(broken_steps), SCHEMA_VERSION + 1);
            assert!(matches!(tried, Err(StoreError::Migration(_))), "{broken}");
        }
        open(&path).unwrap();
    }

    #[test]
    fn a_newer_database_is_refused_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = database_path(directory.path());
        let (connection, _) = open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        for refused in [open(&path).map(|_| ()), open_read_only(&path).map(|_| ())] {
            assert!(matches!(refused, Err(StoreError::Newer { found: 99, .. })));
        }
        let version: i64 =
            Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 99);
    }

    #[test]
    fn every_connection_enforces_foreign_keys_and_keeps_its_id() {
        let directory = tempfile::tempdir().unwrap();
        let path = database_path(directory.path());
        let (connection, id) = open(&path).unwrap();
        assert!(connection.execute("INSERT INTO app (uid) VALUES ('nobody')", []).is_err());
        drop(connection);
        assert_eq!(open(&path).unwrap().1, id);
    }

    #[test]
    fn readers_never_block_the_writer_and_every_connection_waits_for_a_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = database_path(directory.path());
        let (writer, _) = open(&path).unwrap();
        let reader = open_read_only(&path).unwrap();
        for connection in [&writer, &reader] {
            let text = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, String>(0)).unwrap();
            let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, u64>(0)).unwrap();
            assert_eq!(text("PRAGMA journal_mode"), "wal");
            assert_eq!((number("PRAGMA busy_timeout"), number("PRAGMA foreign_keys")), (BUSY_TIMEOUT_MS, 1));
        }
        reader.execute_batch("BEGIN; SELECT * FROM meta").unwrap();
        writer.busy_timeout(std::time::Duration::ZERO).unwrap();
        assert_eq!(writer.execute("INSERT INTO meta VALUES ('a', 'b')", []).unwrap(), 1, "while somebody reads");
    }

    #[test]
    fn a_database_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = open_read_only(&database_path(directory.path())).unwrap_err();
        assert!(error.to_string().contains("manifestd.db"), "{error}");
    }
}
