//! Finds an app's directory under the root of all sources, and nothing outside that root.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use crate::disk::{Directory, leads_out};

/// The most templates that are looked through.
const TEMPLATES_MAX: usize = 10_000;

/// Why there is no directory to analyse.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoSources {
    /// There is none for this app.
    Missing,
    /// There is one, and it must not be used, or cannot be looked at.
    Refused(String),
}

impl NoSources {
    /// The message for clients, in the words of the existing analyzer.
    pub(super) fn message(&self, slug: &str, number: u64) -> String {
        match self {
            Self::Missing => {
                format!("Model path not found for {slug} app{number} (checked flat and template structures)")
            }
            Self::Refused(why) => format!("Model path not usable for {slug} app{number}: {why}"),
        }
    }
}

/// The app's directory, held open: `<root>/{slug}/app{N}`, else the first `<root>/{slug}/*/app{N}` by name.
/// Blocking. `slug` must have been checked.
///
/// # Errors
/// [`NoSources`] when there is none, or when a link leads out of the root.
pub(super) fn find_app(root: &Path, slug: &str, number: u64) -> Result<Directory, NoSources> {
    let refused = |path: &Path, error: io::Error| NoSources::Refused(format!("{}: {error}", path.display()));
    Directory::open(root).map_err(|error| refused(root, error))?;
    let model = root.join(slug);
    let name = format!("app{number}");
    if let Some(found) = inside(root, &model.join(&name))? {
        return Ok(found);
    }
    let Some(model) = inside(root, &model)? else { return Err(NoSources::Missing) };
    let entries = fs::read_dir(model.held()).map_err(|error| refused(model.path(), error))?;
    let mut templates: Vec<OsString> = entries.take(TEMPLATES_MAX).flatten().map(|entry| entry.file_name()).collect();
    templates.sort();
    for template in templates {
        if let Some(found) = inside(root, &model.path().join(template).join(&name))? {
            return Ok(found);
        }
    }
    Err(NoSources::Missing)
}

/// The directory at `path`, if there is one, held open, and only if it lies inside the root, wherever links lead.
fn inside(root: &Path, path: &Path) -> Result<Option<Directory>, NoSources> {
    match Directory::inside(root, path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) if leads_out(&error) => {
            Err(NoSources::Refused("a symbolic link leads out of the sources directory".into()))
        }
        Err(error) => Err(NoSources::Refused(format!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(directories: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for directory in directories {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        root
    }

    fn find(root: &Path, slug: &str, number: u64) -> Result<String, NoSources> {
        let real = fs::canonicalize(root).unwrap();
        find_app(root, slug, number).map(|found| found.path().strip_prefix(real).unwrap().display().to_string())
    }

    #[test]
    fn the_flat_layout_comes_first_then_templates_by_name() {
        let root = tree(&["m/app1", "m/web/app1", "m/web/app2", "m/api/app2"]);
        assert_eq!(find(root.path(), "m", 1).unwrap(), "m/app1");
        assert_eq!(find(root.path(), "m", 2).unwrap(), "m/api/app2");
        assert_eq!(find(root.path(), "m", 3), Err(NoSources::Missing));
        assert_eq!(find(root.path(), "other", 1), Err(NoSources::Missing));
    }

    #[test]
    fn a_link_out_of_the_root_is_refused_and_one_inside_is_followed() {
        let outside = tree(&["app1"]);
        let root = tree(&["m/app1", "n"]);
        symlink(outside.path().join("app1"), root.path().join("n/app1")).unwrap();
        symlink(outside.path(), root.path().join("o")).unwrap();
        symlink("app1", root.path().join("m/app2")).unwrap();
        assert!(matches!(find(root.path(), "n", 1), Err(NoSources::Refused(_))));
        assert!(matches!(find(root.path(), "o", 1), Err(NoSources::Refused(_))));
        assert_eq!(find(root.path(), "m", 2).unwrap(), "m/app1");
    }

    #[test]
    fn a_file_is_no_app_and_a_missing_root_is_said() {
        let root = tree(&["m"]);
        fs::write(root.path().join("m/app1"), "").unwrap();
        assert_eq!(find(root.path(), "m", 1), Err(NoSources::Missing));
        assert!(matches!(find_app(Path::new("/no/such/root"), "m", 1), Err(NoSources::Refused(_))));
    }
}
