//! What the files really say and which directories are really there, and until when each was seen otherwise: what a law compares with that
//! says that something is gone.

use std::collections::{BTreeMap, BTreeSet};

use manifestd::resource::kind::Kind;

use super::words::Document;

/// The files of the manifests directory.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// What each file says, or said before it was broken.
    files: BTreeMap<String, Vec<Document>>,
    /// Whether the directory is not there, and whether an empty one is there in its place.
    hidden: bool,
    empty: bool,
    /// When each object was last not declared anywhere, while the directory was there.
    absent: BTreeMap<(Kind, String), u64>,
    /// Directories of apps that are there.
    directories: BTreeSet<String>,
    /// When each directory was last not there.
    gone: BTreeMap<String, u64>,
}

impl Declared {
    fn declares(&self, kind: Kind, name: &str) -> bool {
        self.files.values().flatten().any(|document| document.kind == kind && document.name == name)
    }

    /// Everything that is not declared now was not declared at this age.
    fn note(&mut self, age: u64) {
        if self.hidden {
            return;
        }
        let known: Vec<(Kind, String)> = self.absent.keys().cloned().collect();
        for (kind, name) in known {
            if !self.declares(kind, &name) {
                self.absent.insert((kind, name), age);
            }
        }
    }

    /// A file says this from now on, also if nobody can read it any more.
    pub(crate) fn write(&mut self, file: &str, documents: Vec<Document>, age: u64) {
        self.note(age);
        for document in &documents {
            self.absent.entry((document.kind, document.name.clone())).or_insert(age);
        }
        self.files.insert(file.to_owned(), documents);
        self.note(age);
    }

    /// A file is gone.
    pub(crate) fn remove(&mut self, file: &str, age: u64) {
        self.files.remove(file);
        self.note(age);
    }

    /// The directory goes, with an empty one in its place or without, or comes back.
    pub(crate) fn hide(&mut self, hidden: bool, empty: bool, age: u64) {
        self.note(age);
        if self.hidden && self.empty {
            self.absent.values_mut().for_each(|at| *at = age);
        }
        (self.hidden, self.empty) = (hidden, empty);
        self.note(age);
    }

    /// What a file says, if it is there.
    pub(crate) fn documents(&self, file: &str) -> Option<&Vec<Document>> {
        self.files.get(file)
    }

    /// When an object was last not declared; `None` when it always was, or its directory was away.
    pub(crate) fn absent_at(&self, kind: Kind, name: &str, age: u64) -> Option<u64> {
        if (self.hidden && self.empty) || (!self.hidden && !self.declares(kind, name)) {
            return Some(age);
        }
        self.absent.get(&(kind, name.to_owned())).copied()
    }

    /// Directories come and go.
    pub(crate) fn place(&mut self, path: &str, there: bool, age: u64) {
        if there {
            self.gone.entry(path.to_owned()).or_insert(age);
            if self.directories.insert(path.to_owned()) {
                self.gone.insert(path.to_owned(), age);
            }
        } else {
            let below = format!("{path}/");
            let lost: Vec<String> =
                self.directories.iter().filter(|known| *known == path || known.starts_with(&below)).cloned().collect();
            for path in lost {
                self.directories.remove(&path);
                self.gone.insert(path, age);
            }
        }
    }

    /// Whether a directory is there.
    pub(crate) fn is_there(&self, path: &str) -> bool {
        self.directories.contains(path)
    }

    /// When a directory was last not there.
    pub(crate) fn gone_at(&self, path: &str, age: u64) -> Option<u64> {
        if self.is_there(path) { self.gone.get(path).copied() } else { Some(age) }
    }
}
