//! One result on its way to its place: written below `staging/`, then renamed to `results/<app>/<task>/<attempt>/`. What has to be synced in
//! between and afterwards it gives to whoever takes it there, which is `press.rs`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_tungstenite::tungstenite::Bytes;

use super::log::Logged;
use super::results::{at, create_dir, create_file, file_name, remove_dir};
use crate::resource::attempt::StoredResult;
use crate::resource::digest::{hex, sha256};

/// What an attempt leaves.
pub(super) struct Payload {
    /// The result's file name and bytes, as received.
    pub(super) result: Option<(&'static str, Bytes)>,
    /// One SARIF document for each tool.
    pub(super) sarif: Vec<(String, Value)>,
    /// The log, as far as there is one.
    pub(super) log: Logged,
}

/// Up to so many bytes the press writes a result itself; a larger one is written where it comes from, so that nobody waits behind it.
const SMALL_BYTES: u64 = 64 << 10;

/// A result larger than this is also synced where it comes from. In bytes.
const LARGE_BYTES: u64 = 4 << 20;

impl Payload {
    pub(super) fn is_small(&self) -> bool {
        // What is in its file already is of an attempt that has run for a while.
        let log = self.log.rest.len() as u64;
        let result = self.result.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
        // How long a document is as a text is not known before it is one.
        self.sarif.is_empty() && self.log.file.is_none() && result + log <= SMALL_BYTES
    }
}

/// One result on its way to its place.
pub(super) struct Sheet {
    staging: PathBuf,
    results: PathBuf,
    parts: [String; 3],
    replaces: bool,
    content: Option<(Value, Payload)>,
    written: Option<(String, u64)>,
    unsynced: Vec<File>,
}

impl Sheet {
    /// A result of which nothing is written yet: of the attempt that is staged there, for the place `parts` below `results/` of this state directory.
    /// One that `replaces` takes the place of another one that is there; `about` is its `manifest.json`, but for the list of files.
    pub(super) fn new(
        state: &Path,
        staging: PathBuf,
        parts: [String; 3],
        replaces: bool,
        (about, payload): (Value, Payload),
    ) -> Self {
        let results = state.join("results");
        Self { staging, results, parts, replaces, content: Some((about, payload)), written: None, unsynced: Vec::new() }
    }

    /// Where everything lies that has to be synced.
    pub(super) fn state(&self) -> &Path {
        self.results.parent().unwrap_or(&self.results)
    }

    /// Writes all files below staging, unless that was done. `files` gets everything that must be synced before [`Sheet::publish`].
    ///
    /// # Errors
    /// What the disk says, with the path.
    pub(super) fn write(&mut self, files: &mut Vec<File>) -> io::Result<()> {
        if let Some((about, payload)) = self.content.take() {
            create_dir(&self.staging)?;
            self.written = Some(write_all(&self.staging, about, payload, files)?);
        }
        files.append(&mut self.unsynced);
        Ok(())
    }

    /// Writes all files before the press does, and syncs them if that takes long. It blocks.
    ///
    /// # Errors
    /// What the disk says, with the path.
    pub(super) fn write_ahead(mut self) -> io::Result<Self> {
        let mut files = Vec::new();
        self.write(&mut files)?;
        if self.written.as_ref().is_some_and(|(_, bytes)| *bytes > LARGE_BYTES) {
            files.drain(..).try_for_each(|file| file.sync_all())?;
        }
        self.unsynced = files;
        Ok(self)
    }

    /// Renames the staging directory to its place below `results/`. `directories` gets every directory with a new entry, which must be synced
    /// before anything says that the result is there.
    ///
    /// # Errors
    /// What the disk says, with the path.
    pub(super) fn publish(&mut self, directories: &mut Vec<File>) -> io::Result<()> {
        publish(&self.staging, &self.results, &self.parts, self.replaces, directories)
    }

    /// What the row of the attempt says of it. What gave way to it is removed.
    ///
    /// # Errors
    /// What the disk says, with the path.
    pub(super) fn done(self) -> io::Result<StoredResult> {
        if self.replaces {
            remove_dir(&replaced(&self.staging))?;
        }
        let (sha256, bytes) = self.written.ok_or_else(|| io::Error::other("nothing was written"))?;
        Ok(StoredResult { directory: self.parts.join("/"), sha256, bytes })
    }
}

fn write_all(dir: &Path, mut about: Value, payload: Payload, written: &mut Vec<File>) -> io::Result<(String, u64)> {
    let mut files = Vec::new();
    let mut total = 0;
    let mut list = |name: String, bytes: u64, sha256: String| {
        total += bytes;
        files.push(json!({"name": name, "bytes": bytes, "sha256": sha256}));
    };
    let log = dir.join("log.txt");
    if let Some(mut file) = payload.log.file {
        file.write_all(&payload.log.rest).map_err(at(&log))?;
        written.push(file);
        let (bytes, sha256) = digest_file(&log)?;
        list("log.txt".into(), bytes, sha256);
    } else if !payload.log.rest.is_empty() {
        list("log.txt".into(), payload.log.rest.len() as u64, write(&log, &payload.log.rest, written)?);
    }
    if let Some((name, bytes)) = payload.result {
        list(name.into(), bytes.len() as u64, write(&dir.join(name), &bytes, written)?);
    }
    if !payload.sarif.is_empty() {
        let inner = dir.join("sarif");
        create_dir(&inner)?;
        for (tool, document) in payload.sarif {
            let name = format!("{}.sarif", file_name(&tool));
            let text = serde_json::to_vec(&document)?;
            list(format!("sarif/{name}"), text.len() as u64, write(&inner.join(&name), &text, written)?);
        }
        written.push(open(&inner)?);
    }
    about["files"] = files.into();
    let manifest = serde_json::to_vec_pretty(&about)?;
    let sha256 = write(&dir.join("manifest.json"), &manifest, written)?;
    written.push(open(dir)?);
    Ok((sha256, total + manifest.len() as u64))
}

fn publish(
    staging: &Path,
    results: &Path,
    parts: &[String; 3],
    replaces: bool,
    directories: &mut Vec<File>,
) -> io::Result<()> {
    let [app, task, number] = parts;
    let place = results.join(app).join(task);
    let target = place.join(number);
    let is_there = target.symlink_metadata().is_ok();
    if is_there && replaces {
        // Below staging, where the next start clears it if this process dies here.
        std::fs::rename(&target, replaced(staging)).map_err(at(&target))?;
    } else if is_there {
        let text = format!("{} is already there, and results are never overwritten", target.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let mut fresh: Vec<&Path> = Vec::new();
    let mut missing: &Path = &place;
    while !missing.exists() {
        let Some(parent) = missing.parent() else { break };
        fresh.push(parent);
        missing = parent;
    }
    create_dir(&place)?;
    std::fs::rename(staging, &target).map_err(at(&target))?;
    for directory in std::iter::once(place.as_path()).chain(fresh) {
        directories.push(open(directory)?);
    }
    Ok(())
}

/// Where a result goes that gives way to another one of the same attempt.
fn replaced(staging: &Path) -> PathBuf {
    staging.with_extension("replaced")
}

fn write(path: &Path, bytes: &[u8], written: &mut Vec<File>) -> io::Result<String> {
    let mut file = create_file(path)?;
    file.write_all(bytes).map_err(at(path))?;
    written.push(file);
    Ok(sha256(bytes))
}

fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(at(path))
}

fn digest_file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        match file.read(&mut buffer).map_err(at(path))? {
            0 => return Ok((total, hex(&digest.finalize()))),
            n => {
                digest.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
}
