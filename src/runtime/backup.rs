//! `manifestd backup`: a consistent copy of the database, and of the results that it refers to, as one file. A controller may run meanwhile:
//! the copy is made from one moment, nobody is held up, and stored results never change.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use serde::Serialize;

use super::archive::{About, DATABASE, FORMAT, Pack, RESULTS};
use crate::resource::time::Timestamp;
use crate::store::{StoreError, check, database_path};

/// Missing result directories that are named; of more only the number is told.
const MISSING_MAX: usize = 100;

/// What a backup is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The state directory.
    pub state: PathBuf,
    /// The file to write.
    pub file: PathBuf,
    /// Whether the results are to be in it.
    pub results: bool,
    /// Whether a file that is there is replaced.
    pub force: bool,
}

/// What a backup came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupReport {
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it says of itself.
    pub about: About,
    /// Result directories that rows refer to and that are not there, the first hundred of them.
    pub missing: Vec<String>,
}

/// How far a long work is: how much of how many.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64);

/// What can go wrong with a backup or a restore.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk said no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It is refused; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    move |source| ArchiveError::Io { path: path.to_owned(), source }
}

/// Writes a backup.
///
/// # Errors
/// Why there is none. The file is there as a whole or not at all; a part of it, under another name, is removed by the next try.
pub fn back_up(wanted: &Wanted, now: Timestamp, tell: Tell<'_>) -> Result<BackupReport, ArchiveError> {
    let file = wanted.file.as_path();
    if file.file_name().is_none() || file.is_dir() {
        return Err(ArchiveError::Refused(format!("{} is a directory; name the file to write", file.display())));
    }
    if !wanted.force && file.symlink_metadata().is_ok() {
        return Err(exists(file));
    }
    let part = with_suffix(file, ".part");
    let copy = with_suffix(file, ".part.db");
    let packed = own(&part, file).and_then(|part| {
        let packed = pack(wanted, part, &copy, now, tell);
        // Whatever became of it, nobody needs the copy any more.
        let _ = fs::remove_file(&copy);
        packed
    });
    let (about, missing) = match packed {
        Ok(packed) => packed,
        Err(error) => {
            if !matches!(error, ArchiveError::Refused(_)) {
                let _ = fs::remove_file(&part);
            }
            return Err(error);
        }
    };
    publish(&part, file, wanted.force)?;
    tracing::debug!("the backup is in its place");
    let bytes = fs::metadata(file).map_err(at(file))?.len();
    Ok(BackupReport { file: file.to_owned(), bytes, about, missing })
}

fn exists(file: &Path) -> ArchiveError {
    ArchiveError::Refused(format!("{} is already there; give another name, or --force to replace it", file.display()))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    file.with_file_name(name)
}

/// Opens the file that becomes the backup, for this process alone. What an interrupted backup left in it is dropped.
fn own(part: &Path, file: &Path) -> Result<File, ArchiveError> {
    let mut options = OpenOptions::new();
    // In a directory that others write, too, it goes into a file that is nobody else's, and not through a link.
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    let opened = options.write(true).create(true).truncate(false).mode(0o600).open(part).map_err(|error| {
        match error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
            true => in_the_way(part, "a link"),
            false => at(part)(error),
        }
    })?;
    let found = opened.metadata().map_err(at(part))?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() || found.nlink() != 1 {
        return Err(in_the_way(part, "not a file of this user alone"));
    }
    opened.set_permissions(fs::Permissions::from_mode(0o600)).map_err(at(part))?;
    if flock(&opened, FlockOperation::NonBlockingLockExclusive).is_err() {
        let text = format!("another backup to {} is under way", file.display());
        return Err(ArchiveError::Refused(text));
    }
    opened.set_len(0).map_err(at(part))?;
    Ok(opened)
}

fn in_the_way(part: &Path, what: &str) -> ArchiveError {
    let text =
        format!("{} is {what}; somebody has put it there. Remove it, or write the backup elsewhere", part.display());
    ArchiveError::Refused(text)
}

fn pack(
    wanted: &Wanted,
    part: File,
    copy: &Path,
    now: Timestamp,
    tell: Tell<'_>,
) -> Result<(About, Vec<String>), ArchiveError> {
    let to_part = at(&wanted.file);
    match fs::remove_file(copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(copy)(error)),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).map_err(at(copy))?;
    let (schema, state_id) = check::snapshot(&database_path(&wanted.state), copy)?;
    tracing::debug!("the database is copied");
    let mut pack = Pack::new(part).map_err(to_part)?;
    let (database_sha256, database_bytes) = pack.file(DATABASE, copy).map_err(at(copy))?;
    let mut about = About {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        schema,
        state_id,
        taken_at: now.rfc3339(),
        database_sha256,
        database_bytes,
        with_results: wanted.results,
        result_directories: 0,
        missing_directories: 0,
        files: 0,
        sums_sha256: String::new(),
    };
    let mut missing = Vec::new();
    if wanted.results {
        let results = wanted.state.join(RESULTS);
        let (mut done, all) = (0, check::count_result_directories(copy)?);
        check::result_directories(copy, |directory| {
            let name = format!("{RESULTS}/{directory}");
            match pack_directory(&mut pack, &results.join(directory), &name)? {
                true => about.result_directories += 1,
                false => {
                    about.missing_directories += 1;
                    missing.push(directory.to_owned());
                    missing.truncate(MISSING_MAX);
                }
            }
            done += 1;
            tell(done, all);
            tracing::debug!(directory, "packed");
            Ok::<(), ArchiveError>(())
        })?;
    }
    let about = pack.finish(about).map_err(at(&wanted.file))?;
    tracing::debug!("the backup is written");
    Ok((about, missing))
}

/// Adds the files of a directory, in the order of their names; says whether it was there. It may be taken away meanwhile, by a person
/// or by maintenance: then what is in the archive of it stays, and is no harm.
fn pack_directory(pack: &mut Pack, directory: &Path, name: &str) -> Result<bool, ArchiveError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        entries => entries.map_err(at(directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(at(directory))?.file_name());
    }
    names.sort();
    for entry in names {
        let (path, Some(text)) = (directory.join(&entry), entry.to_str()) else { continue };
        let inner = format!("{name}/{text}");
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => {
                pack_directory(pack, &path, &inner)?;
            }
            Ok(found) if found.is_file() => match pack.file(&inner, &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                packed => drop(packed.map_err(at(&path))?),
            },
            // Links and sockets are nothing that manifestd stores.
            Ok(_) => tracing::warn!(path = %path.display(), "left out of the backup, since it is no ordinary file"),
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Gives the whole file its name, without replacing one that came meanwhile unless that is wanted.
fn publish(part: &Path, file: &Path, force: bool) -> Result<(), ArchiveError> {
    let renamed = match force {
        true => fs::rename(part, file),
        false => match renameat_with(CWD, part, CWD, file, RenameFlags::NOREPLACE) {
            // A file system that cannot promise it.
            Err(Errno::INVAL | Errno::NOSYS) if file.symlink_metadata().is_err() => fs::rename(part, file),
            Err(Errno::INVAL | Errno::NOSYS | Errno::EXIST) => return Err(exists(file)),
            renamed => renamed.map_err(io::Error::from),
        },
    };
    renamed.map_err(at(file))?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
}
