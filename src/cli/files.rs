//! Manifests on disk: which files a path stands for, and what they declare.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::manifest::{Bounds, FILE_BYTES_MAX, Parsed, parse};

/// Directories nested deeper are not read.
const DEPTH_MAX: usize = 32;

/// So many files are read at most.
const FILES_MAX: usize = 200_000;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    /// Where it is; `-` for standard input.
    pub(crate) path: PathBuf,
    /// What problems call it.
    pub(crate) label: String,
    /// Its bytes; of one that is too large only the beginning, which `parsed` then says.
    pub(crate) bytes: Vec<u8>,
    /// What it declares.
    pub(crate) parsed: Parsed,
}

impl ManifestFile {
    /// Reads one file. `label` is what problems call it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(path: &Path, label: String, bounds: Bounds<'_>) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Self::of(path.to_owned(), label, file, bounds)
    }

    /// Reads standard input.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn stdin(bounds: Bounds<'_>) -> anyhow::Result<Self> {
        Self::of("-".into(), "standard input".into(), std::io::stdin().lock(), bounds)
    }

    fn of(path: PathBuf, label: String, source: impl Read, bounds: Bounds<'_>) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        let limit = FILE_BYTES_MAX as u64 + 1;
        source.take(limit).read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
        let parsed = parse(&label, &bytes, bounds);
        Ok(Self { path, label, bytes, parsed })
    }

    /// Its text; empty when it is not UTF-8, which `parsed` then says.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }
}

/// Reads what the paths stand for, as with `-f`: a file, every manifest below a directory, or `-` for standard input.
///
/// # Errors
/// When a path is not there or cannot be read.
pub(crate) fn read_all(paths: &[PathBuf], bounds: Bounds<'_>) -> anyhow::Result<Vec<ManifestFile>> {
    let mut files = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            files.push(ManifestFile::stdin(bounds)?);
            continue;
        }
        for file in list(path)? {
            files.push(ManifestFile::read(&file, file.display().to_string(), bounds)?);
        }
    }
    Ok(files)
}

/// The file itself, or every `*.yaml` and `*.yml` below the directory, sorted. Hidden files and directories are left out, and
/// links to directories are not followed.
///
/// # Errors
/// When anything on the way cannot be read.
pub(crate) fn list(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let stat = fs::metadata(path).with_context(|| path.display().to_string())?;
    if !stat.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    descend(path, 0, &mut files)?;
    files.sort();
    Ok(files)
}

fn descend(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if depth > DEPTH_MAX {
        bail!("{}: directories are nested more than {DEPTH_MAX} deep", directory.display());
    }
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry.with_context(|| directory.display().to_string())?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        let kind = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?.file_type();
        let is_manifest = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if kind.is_dir() {
            descend(&path, depth + 1, files)?;
        } else if is_manifest && (kind.is_file() || fs::metadata(&path).is_ok_and(|stat| stat.is_file())) {
            if files.len() >= FILES_MAX {
                bail!("{}: more than {FILES_MAX} manifests", directory.display());
            }
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_every_manifest_below_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("sub/.git")).unwrap();
        for name in ["b.yml", "a.yaml", "notes.md", ".hidden.yaml", "sub/c.yaml", "sub/.git/d.yaml"] {
            fs::write(at(name), "").unwrap();
        }
        std::os::unix::fs::symlink(root.path(), at("sub/loop")).unwrap();
        assert_eq!(list(root.path()).unwrap(), [at("a.yaml"), at("b.yml"), at("sub/c.yaml")]);
        assert_eq!(list(&at("notes.md")).unwrap(), [at("notes.md")]);
        assert!(list(&at("absent")).is_err());
    }
}
