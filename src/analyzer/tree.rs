//! The files of one app: one walk, as git would see the tree even when there is no repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::overrides::OverrideBuilder;
use ignore::{DirEntry, WalkBuilder};

use crate::disk::Directory;

/// The languages a file is told apart by, as clients of the existing analyzers know them, and a few more.
pub(super) const LANGUAGES: [&str; 11] = [
    "python",
    "javascript",
    "typescript",
    "css",
    "html",
    "json",
    "yaml",
    "shell",
    "dockerfile",
    "docker_compose",
    "env",
];

/// Directories that hold what other people wrote or what was built.
const SKIPPED: [&str; 11] = [
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    "venv",
    ".venv",
    "__pycache__",
    ".tox",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
];

/// The most files of one app; the rest is left out and the tree says so.
const FILES_MAX: usize = 100_000;

/// The deepest directory that is looked into.
const DEPTH_MAX: usize = 64;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// Its path, relative to the app.
    pub path: PathBuf,
    /// Its language, one of [`LANGUAGES`], or `other`.
    pub language: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The files of one app, by path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The files.
    pub files: Vec<SourceFile>,
    /// Whether there were more files than are looked at, or some that could not be read.
    pub incomplete: Option<String>,
}

impl Tree {
    /// Walks an app's directory. Blocking. Links are not followed, `.gitignore` files inside the app count (those above it do
    /// not: a generated app is often ignored as a whole). Stops early when `stop` says so.
    pub(super) fn walk(app: &Directory, stop: impl Fn() -> bool) -> Self {
        let mut tree = Self::default();
        // With a dot, since the name of an open directory is itself a link.
        let root = app.held().join(".");
        let entries = WalkBuilder::new(&root)
            .hidden(false)
            .parents(false)
            .git_global(false)
            .require_git(false)
            .follow_links(false)
            .max_depth(Some(DEPTH_MAX))
            .filter_entry(|entry| entry.depth() == 0 || !is_skipped(entry))
            .build();
        for entry in entries {
            if stop() {
                break;
            }
            match entry {
                Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => tree.take(&root, &entry),
                Ok(_) => {}
                Err(error) => {
                    let error = error.to_string().replace(&format!("{}/", root.display()), "");
                    tree.incomplete = Some(format!("a part of the tree could not be read: {error}"));
                }
            }
            if tree.files.len() == FILES_MAX {
                tree.incomplete = Some(format!("only the first {FILES_MAX} files were looked at"));
                break;
            }
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    fn take(&mut self, root: &Path, entry: &DirEntry) {
        let Ok(path) = entry.path().strip_prefix(root) else { return };
        let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
        self.files.push(SourceFile { path: path.to_owned(), language: language_of(path), bytes });
    }

    /// The files that gitignore patterns such as `*.py` name; all files when there are no patterns.
    ///
    /// # Errors
    /// Says which pattern is broken.
    pub(super) fn matching<'a>(&'a self, globs: &[String]) -> Result<Vec<&'a SourceFile>, String> {
        if globs.is_empty() {
            return Ok(self.files.iter().collect());
        }
        let mut builder = OverrideBuilder::new("");
        for glob in globs {
            builder.add(glob).map_err(|error| format!("glob {glob:?}: {error}"))?;
        }
        let chosen = builder.build().map_err(|error| format!("globs {globs:?}: {error}"))?;
        Ok(self.files.iter().filter(|file| chosen.matched(&file.path, false).is_whitelist()).collect())
    }

    /// How many files there are of each language.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<&'static str, u64> = LANGUAGES.into_iter().map(|language| (language, 0)).collect();
        for file in &self.files {
            if file.language != "other" {
                *counts.entry(file.language).or_default() += 1;
            }
        }
        counts
    }
}

fn is_skipped(entry: &DirEntry) -> bool {
    entry.file_type().is_some_and(|kind| kind.is_dir())
        && entry.file_name().to_str().is_some_and(|name| SKIPPED.contains(&name))
}

/// The language of a file, by its name alone.
fn language_of(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
    if name == ".env" || name.starts_with(".env.") {
        return "env";
    }
    if name == "dockerfile" || name.starts_with("dockerfile.") || name.ends_with(".dockerfile") {
        return "dockerfile";
    }
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "py" | "pyw" => "python",
        "js" | "jsx" | "mjs" | "cjs" => "javascript",
        "ts" | "tsx" | "mts" | "cts" => "typescript",
        "css" | "scss" => "css",
        "html" | "htm" | "vue" | "svelte" => "html",
        "json" => "json",
        "sh" | "bash" => "shell",
        "yml" | "yaml" if name.starts_with("docker-compose") || name.starts_with("compose.") => "docker_compose",
        "yml" | "yaml" => "yaml",
        "env" => "env",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        directory
    }

    fn walk(app: &Path) -> Tree {
        Tree::walk(&Directory::open(app).unwrap(), || false)
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.files.iter().map(|file| file.path.display().to_string()).collect()
    }

    #[test]
    fn the_tree_is_what_git_would_see_without_a_repository() {
        let directory = app(&[
            (".gitignore", "ignored/\n*.log\n"),
            (".env", "A=1"),
            ("a.py", ""),
            ("ignored/b.py", ""),
            ("node_modules/c.js", ""),
            ("sub/venv/d.py", ""),
            ("sub/e.js", ""),
            ("x.log", ""),
        ]);
        let tree = walk(directory.path());
        assert_eq!(paths(&tree), [".env", ".gitignore", "a.py", "sub/e.js"]);
        assert_eq!(tree.counts()["python"], 1);
        assert_eq!(tree.incomplete, None);
    }

    #[test]
    fn a_gitignore_above_the_app_does_not_hide_the_app() {
        let directory = app(&[(".gitignore", "*"), ("app1/a.py", "")]);
        assert_eq!(paths(&walk(&directory.path().join("app1"))), ["a.py"]);
    }

    #[test]
    fn links_are_not_followed() {
        let directory = app(&[("app/a.py", ""), ("outside/b.py", "")]);
        std::os::unix::fs::symlink("../outside", directory.path().join("app/link")).unwrap();
        std::os::unix::fs::symlink("../outside/b.py", directory.path().join("app/b.py")).unwrap();
        assert_eq!(paths(&walk(&directory.path().join("app"))), ["a.py"]);
    }

    #[test]
    fn the_app_that_was_found_is_walked_whatever_has_its_path_by_then() {
        let directory = app(&[("app/a.py", ""), ("outside/b.py", "")]);
        let held = Directory::open(&directory.path().join("app")).unwrap();
        std::fs::rename(directory.path().join("app"), directory.path().join("moved")).unwrap();
        std::os::unix::fs::symlink("outside", directory.path().join("app")).unwrap();
        assert_eq!(paths(&Tree::walk(&held, || false)), ["a.py"]);
    }

    #[test]
    fn globs_choose_files_at_any_depth() {
        let directory = app(&[("a.py", ""), ("s/b.py", ""), ("s/c.js", "")]);
        let tree = walk(directory.path());
        let chosen = |globs: &[&str]| {
            let globs: Vec<String> = globs.iter().map(ToString::to_string).collect();
            tree.matching(&globs).unwrap().len()
        };
        assert_eq!((chosen(&["*.py"]), chosen(&["s/*"]), chosen(&[]), chosen(&["*.css"])), (2, 2, 3, 0));
        assert!(tree.matching(&["a{".into()]).is_err());
    }

    #[test]
    fn names_tell_languages() {
        for (name, language) in [
            ("Dockerfile", "dockerfile"),
            ("docker-compose.yml", "docker_compose"),
            ("x.TSX", "typescript"),
            (".env.local", "env"),
            ("README", "other"),
        ] {
            assert_eq!(language_of(Path::new(name)), language, "{name}");
        }
    }
}
