//! Reading a stored result back: what its `manifest.json` says, once every file that it lists has the digest that it gives.

use std::io::{self, Read};
use std::path::{Component, Path};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::disk::Directory;
use crate::executor::results::file_name;
use crate::plan::rebuild::FoundAttempt;
use crate::resource::attempt::StoredResult;
use crate::resource::digest::{self, hex};
use crate::resource::outcome::Verdict;
use crate::resource::time::Timestamp;

/// The largest `manifest.json` that is read, in bytes: thousands of tools.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// `manifest.json`, as far as it is read. What is optional was not written by older programs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    app: String,
    task: String,
    attempt: u32,
    analyzer: String,
    opened_at: String,
    round: Option<i64>,
    generation: Option<i64>,
    spec_digest: Option<String>,
    app_digest: Option<String>,
    #[serde(default)]
    asked: Vec<String>,
    #[serde(default)]
    replica: String,
    ended_at: Option<String>,
    files: Vec<Listed>,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
    sha256: String,
}

/// The attempt that a result directory tells of. `directory` is `APP/TASK/ATTEMPT` below `results`.
///
/// # Errors
/// Why it is not to be believed.
pub(super) fn found_attempt(results: &Path, directory: &str, task: &str) -> Result<FoundAttempt, String> {
    let place = open(results, directory)?;
    let file = place.open_file(Path::new("manifest.json")).map_err(|error| format!("manifest.json: {error}"))?;
    // When it was written, it had just ended.
    let written = file.metadata().and_then(|found| found.modified()).ok();
    let written = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let written = written.and_then(|since| i64::try_from(since.as_millis()).ok()).map(Timestamp);
    let mut text = Vec::new();
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(|error| format!("manifest.json: {error}"))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| format!("manifest.json: {error}"))?;
    let (number, app) = (manifest.attempt.to_string(), file_name(&manifest.app));
    let parts: Vec<&str> = directory.split('/').collect();
    let of_app = if manifest.app.is_empty() { "_" } else { app.as_str() };
    if parts != [of_app, &file_name(&manifest.task), &number] || manifest.task != task {
        return Err("manifest.json is about another attempt".into());
    }
    let mut bytes = text.len() as u64;
    for listed in &manifest.files {
        verify(&place, listed)?;
        bytes += listed.bytes;
    }
    let opened_at = time(&manifest.opened_at)?;
    let ended_at = manifest.ended_at.as_deref().map(time).transpose()?.or(written).unwrap_or(opened_at);
    Ok(FoundAttempt {
        number: manifest.attempt,
        round: manifest.round,
        generation: manifest.generation,
        spec_digest: manifest.spec_digest,
        app: manifest.app,
        analyzer: manifest.analyzer,
        replica: manifest.replica,
        asked: manifest.asked,
        opened_at,
        ended_at: ended_at.max(opened_at),
        verdict: manifest.verdict,
        app_digest: manifest.app_digest,
        result: StoredResult { directory: directory.to_owned(), sha256: digest::sha256(&text), bytes },
    })
}

/// Whether a stored result is what its row says: its `manifest.json` has this digest, and every file that it lists has the digest there.
/// `quick` only looks whether `manifest.json` is there.
///
/// # Errors
/// What is wrong with it.
pub(super) fn verify_result(results: &Path, directory: &str, sha256: &str, quick: bool) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Files {
        files: Vec<Listed>,
    }
    let place = open(results, directory)?;
    let file = place.open_file(Path::new("manifest.json")).map_err(|error| format!("manifest.json: {error}"))?;
    if quick {
        return Ok(());
    }
    let mut text = Vec::new();
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(|error| format!("manifest.json: {error}"))?;
    if digest::sha256(&text) != sha256 {
        return Err("manifest.json is not what was stored: its digest is another one".into());
    }
    let listed: Files = serde_json::from_slice(&text).map_err(|error| format!("manifest.json: {error}"))?;
    listed.files.iter().try_for_each(|listed| verify(&place, listed))
}

/// The directory of a result, reached without a link.
fn open(results: &Path, directory: &str) -> Result<Directory, String> {
    let opened = Directory::open(results).and_then(|results| results.directory(Path::new(directory)));
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "the directory is not there".to_owned(),
        io::ErrorKind::InvalidInput => "it leads out of results/".to_owned(),
        _ => format!("its directory: {error}"),
    })
}

fn verify(place: &Directory, listed: &Listed) -> Result<(), String> {
    let name = &listed.name;
    if name.is_empty() || !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("manifest.json lists {name:?}, which is no file of it"));
    }
    let mut file = place.open_file(Path::new(name)).map_err(|error| format!("{name}: {error}"))?;
    let mut digest = Sha256::new();
    let bytes = io::copy(&mut file, &mut digest).map_err(|error| format!("{name}: {error}"))?;
    match bytes == listed.bytes && hex(&digest.finalize()) == listed.sha256 {
        true => Ok(()),
        false => Err(format!("{name} is not what was stored: its digest is another one")),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let parsed: jiff::Timestamp = text.parse().map_err(|error| format!("manifest.json: {text:?}: {error}"))?;
    Ok(Timestamp(parsed.as_millisecond()))
}
