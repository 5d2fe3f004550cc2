//! The file that `manifestd backup` writes: one tar with `manifestd.db`, the result directories below `results/`, `SHA256SUMS` as sha256sum
//! knows it, and at the very end `backup.json`. What is not whole has no `backup.json`, and what was changed does not fit to its digests.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path};

use crate::resource::digest::hex;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, EntryType, Header};

/// The first member: the database.
pub(super) const DATABASE: &str = "manifestd.db";

/// The directory of the results.
pub(super) const RESULTS: &str = "results";

/// The digests of all members before it, one on a line.
const SUMS: &str = "SHA256SUMS";

/// The last member.
const ABOUT: &str = "backup.json";

/// The version of this layout. One that is newer is refused.
pub(super) const FORMAT: u32 = 1;

/// The longest `backup.json`, in bytes; it has no lists.
const ABOUT_BYTES_MAX: u64 = 64 << 10;

/// The largest `SHA256SUMS`, in bytes: some twenty million members.
const SUMS_BYTES_MAX: u64 = 4 << 30;

/// What `backup.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Version of the layout.
    pub format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Schema version of the database in it.
    pub schema: usize,
    /// The id of the state directory that it was taken from.
    pub state_id: String,
    /// When it was taken, in RFC 3339.
    pub taken_at: String,
    /// Digest of the database.
    pub database_sha256: String,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Whether the results are in it.
    pub with_results: bool,
    /// Result directories in it.
    pub result_directories: u64,
    /// Result directories that rows refer to and that were not there any more.
    pub missing_directories: u64,
    /// Files in it, without `SHA256SUMS` and this one.
    pub files: u64,
    /// Digest of `SHA256SUMS`, which has the digest of every other file.
    pub sums_sha256: String,
}

/// Writes an archive.
pub(super) struct Pack {
    tar: Builder<BufWriter<File>>,
    sums: BufWriter<File>,
    pub(super) files: u64,
}

impl Pack {
    /// Begins an archive in an open file.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut tar = Builder::new(BufWriter::new(file));
        tar.follow_symlinks(false);
        Ok(Self { tar, sums: BufWriter::new(tempfile::tempfile()?), files: 0 })
    }

    /// Adds a file under a name. Gives its digest and its bytes.
    pub(super) fn file(&mut self, name: &str, path: &Path) -> io::Result<(String, u64)> {
        // Never through a link, and without waiting for a pipe.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let stat = file.metadata()?;
        if !stat.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no ordinary file", path.display())));
        }
        let mut header = header(stat.len(), u64::try_from(stat.mtime()).unwrap_or_default());
        let mut reading = Digesting { inner: file.take(stat.len()), digest: Sha256::new(), bytes: 0 };
        self.tar.append_data(&mut header, name, &mut reading)?;
        if reading.bytes != stat.len() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} shrank while it was read", path.display()),
            ));
        }
        let sha256 = hex(&reading.digest.finalize());
        writeln!(self.sums, "{sha256}  {name}")?;
        self.files += 1;
        Ok((sha256, stat.len()))
    }

    /// Adds what closes an archive, and syncs it.
    pub(super) fn finish(mut self, mut about: About) -> io::Result<About> {
        let mut sums = self.sums.into_inner().map_err(io::IntoInnerError::into_error)?;
        sums.seek(SeekFrom::Start(0))?;
        let bytes = sums.metadata()?.len();
        let mut reading = Digesting { inner: BufReader::new(sums), digest: Sha256::new(), bytes: 0 };
        self.tar.append_data(&mut header(bytes, 0), SUMS, &mut reading)?;
        about.sums_sha256 = hex(&reading.digest.finalize());
        about.files = self.files;
        let text = serde_json::to_vec_pretty(&about)?;
        self.tar.append_data(&mut header(text.len() as u64, 0), ABOUT, text.as_slice())?;
        let file = self.tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(about)
    }
}

fn header(bytes: u64, mtime: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(mtime);
    header.set_entry_type(EntryType::Regular);
    header
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum BadArchive {
    /// It could not be read, or what is in it could not be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what `manifestd backup` writes, or not any more.
    #[error("{0}")]
    Wrong(String),
}

fn wrong<T>(why: impl Into<String>) -> Result<T, BadArchive> {
    Err(BadArchive::Wrong(why.into()))
}

/// Reads a whole archive and holds every member against its digest. `keep` is given each member's name and contents in turn, reads them to
/// their end, and is believed only once this function has come back.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn unpack(
    path: &Path,
    mut keep: impl FnMut(&str, &mut dyn Read) -> io::Result<()>,
) -> Result<About, BadArchive> {
    let mut archive = Archive::new(BufReader::new(File::open(path)?));
    let mut own = BufWriter::new(tempfile::tempfile()?);
    let (mut files, mut sums, mut database): (u64, Option<(File, String)>, Option<String>) = (0, None, None);
    for entry in archive.entries()? {
        let entry = entry.map_err(not_whole)?;
        let name = member(&entry)?;
        let mut reading = Digesting { inner: entry, digest: Sha256::new(), bytes: 0 };
        match (name.as_str(), sums.take()) {
            (ABOUT, Some((told, sums_sha256))) => {
                let about = about(&mut reading)?;
                compare(own.into_inner().map_err(io::IntoInnerError::into_error)?, told)?;
                if about.sums_sha256 != sums_sha256
                    || about.files != files
                    || Some(&about.database_sha256) != database.as_ref()
                {
                    return wrong("backup.json does not belong to the rest of it");
                }
                return Ok(about);
            }
            (_, Some(_)) => return wrong(format!("{name} comes behind {SUMS}")),
            (SUMS, None) => {
                let mut told = tempfile::tempfile()?;
                io::copy(&mut (&mut reading).take(SUMS_BYTES_MAX), &mut told).map_err(not_whole)?;
                sums = Some((told, hex(&reading.digest.finalize())));
            }
            (ABOUT, None) => return wrong(format!("it has no {SUMS}")),
            (_, None) => {
                if database.is_none() != (name == DATABASE) {
                    return wrong(format!("{name} is not where it belongs"));
                }
                keep(&name, &mut reading)?;
                io::copy(&mut reading, &mut io::sink()).map_err(not_whole)?;
                let sha256 = hex(&reading.digest.finalize());
                writeln!(own, "{sha256}  {name}")?;
                files += 1;
                database.get_or_insert(sha256);
            }
        }
    }
    wrong("it is not whole: its end is missing. It was cut off, or is no backup of manifestd")
}

/// The name of a member, which must be an ordinary file at a place that a backup has.
fn member<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String, BadArchive> {
    let bytes = entry.path_bytes();
    let Ok(name) = std::str::from_utf8(&bytes) else { return wrong("a member's name is no text") };
    if entry.header().entry_type() != EntryType::Regular {
        return wrong(format!("{name:?} is no ordinary file; a backup has no links, directories or devices"));
    }
    let is_plain = !name.is_empty()
        && !name.contains(['\\', '\n', '\0'])
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
        && !name.split('/').any(str::is_empty);
    let is_ours =
        matches!(name, DATABASE | SUMS | ABOUT) || name.strip_prefix("results/").is_some_and(|rest| !rest.is_empty());
    match is_plain && is_ours {
        true => Ok(name.to_owned()),
        false => wrong(format!("{name:?} is no place that a backup has; it may have been made to do harm")),
    }
}

fn about(entry: &mut impl Read) -> Result<About, BadArchive> {
    let mut text = Vec::new();
    entry.take(ABOUT_BYTES_MAX).read_to_end(&mut text).map_err(not_whole)?;
    // Its version first: what comes after it may look different in another one.
    let format =
        serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|about| about.get("format")?.as_u64());
    match format {
        Some(format) if format > u64::from(FORMAT) => {
            wrong("it was written by a newer manifestd; use that to restore it")
        }
        _ => serde_json::from_slice(&text).map_err(|error| BadArchive::Wrong(format!("backup.json: {error}"))),
    }
}

/// Holds the digests that were computed against those that were told.
fn compare(mut own: File, mut told: File) -> Result<(), BadArchive> {
    use std::io::BufRead as _;
    own.seek(SeekFrom::Start(0))?;
    told.seek(SeekFrom::Start(0))?;
    let mut told = BufReader::new(told).lines();
    for line in BufReader::new(own).lines() {
        let (line, other) = (line?, told.next().transpose()?.unwrap_or_default());
        if line != other {
            let name = line.split_once("  ").map_or("", |(_, name)| name);
            return wrong(format!("{name} is not what was backed up: its digest is another one"));
        }
    }
    match told.next() {
        None => Ok(()),
        Some(_) => wrong("files are missing from it"),
    }
}

fn not_whole(error: io::Error) -> BadArchive {
    BadArchive::Wrong(format!("it is not whole, or no backup of manifestd: {error}"))
}

/// Digests what is read through it.
struct Digesting<R> {
    inner: R,
    digest: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_with_long_names_come_back_as_they_went_in() {
        let place = tempfile::tempdir().unwrap();
        let (file, path) = (place.path().join("contents"), place.path().join("a.tar"));
        std::fs::write(&file, "contents").unwrap();
        let name = format!("{RESULTS}/{}/{}/1/sarif/x.sarif", "a".repeat(100), "t".repeat(200));
        let mut pack = Pack::new(File::create(&path).unwrap()).unwrap();
        let (database_sha256, database_bytes) = pack.file(DATABASE, &file).unwrap();
        pack.file(&name, &file).unwrap();
        let about = About {
            format: FORMAT,
            program: "1".into(),
            schema: 1,
            state_id: String::new(),
            taken_at: String::new(),
            database_sha256,
            database_bytes,
            with_results: true,
            result_directories: 1,
            missing_directories: 0,
            files: 0,
            sums_sha256: String::new(),
        };
        let written = pack.finish(about).unwrap();
        let mut found = Vec::new();
        let read = unpack(&path, |name, contents| {
            let mut text = String::new();
            contents.read_to_string(&mut text)?;
            found.push((name.to_owned(), text));
            Ok(())
        });
        assert_eq!(read.unwrap(), written);
        assert_eq!(found, [(DATABASE.to_owned(), "contents".to_owned()), (name, "contents".to_owned())]);
    }
}
