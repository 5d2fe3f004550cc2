//! Finds the apps of an AppSet on disk: the directories whose path matches its pattern.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::plan::apps::FoundDirectory;
use crate::resource::app_set::AppSetSpec;
use crate::resource::name::check_slug;

/// A pattern has at most so many components; the shipped ones have two or three.
const COMPONENTS_MAX: usize = 16;

/// The directories that match an AppSet's pattern, sorted by path. A directory whose name cannot be a model slug is no app.
///
/// Symbolic links are followed nowhere, so that nothing outside the root is ever taken for an app.
///
/// # Errors
/// When any directory on the way cannot be read: half a scan must not be taken for a whole one. The root must exist.
pub fn find_apps(workspace: &Path, spec: &AppSetSpec) -> io::Result<Vec<FoundDirectory>> {
    let components: Vec<Component<'_>> = spec.pattern.split('/').map(Component::new).collect();
    if components.len() > COMPONENTS_MAX {
        let message = format!("the pattern {:?} has more than {COMPONENTS_MAX} components", spec.pattern);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let root = workspace.join(&spec.root);
    refuse_link(workspace, &spec.root)?;
    let start = Partial { path: clean(&spec.root), model: None, template: None, number: None };
    let mut found = Vec::new();
    descend(&root, &start, &components, &mut found)?;
    found.sort();
    Ok(found)
}

/// The number of the device that the root of an AppSet lies on; `None` when that cannot be seen.
#[must_use]
pub fn device_of(workspace: &Path, spec: &AppSetSpec) -> Option<i64> {
    // Only ever compared.
    fs::metadata(workspace.join(&spec.root)).ok().map(|found| found.dev().cast_signed())
}

/// `./a//b/` as `a/b`.
fn clean(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

/// A root that is a link, or lies behind one, leads out of the workspace.
fn refuse_link(workspace: &Path, root: &str) -> io::Result<()> {
    let mut at = workspace.to_owned();
    for part in clean(root).split('/').filter(|part| !part.is_empty()) {
        at.push(part);
        if fs::symlink_metadata(&at).map_err(|error| named(&at, &error))?.is_symlink() {
            let message = format!("{} is a symbolic link, and links are not followed", at.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    Ok(())
}

/// The same error with the path it is about.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What is known of a path so far.
#[derive(Clone)]
struct Partial {
    path: String,
    model: Option<String>,
    template: Option<String>,
    number: Option<u32>,
}

/// One component of a pattern.
enum Component<'p> {
    Model,
    Template,
    /// Digits between two literal texts.
    Number {
        before: &'p str,
        after: &'p str,
    },
    Literal(&'p str),
}

impl<'p> Component<'p> {
    fn new(part: &'p str) -> Self {
        match (part, part.split_once("{number}")) {
            ("{model}", _) => Self::Model,
            ("{template}", _) => Self::Template,
            (_, Some((before, after))) => Self::Number { before, after },
            _ => Self::Literal(part),
        }
    }

    /// What is known of a directory of this name below `parent`; `None` when the name does not fit.
    fn take(&self, parent: &Partial, name: &str) -> Option<Partial> {
        let path = if parent.path.is_empty() { name.to_owned() } else { format!("{}/{name}", parent.path) };
        let mut partial = Partial { path, ..parent.clone() };
        match self {
            Self::Literal(literal) => return (*literal == name).then_some(partial),
            Self::Number { before, after } => {
                let digits = name.strip_prefix(before)?.strip_suffix(after)?;
                // `app01` and `app1` would be one App; only the plain way of writing a number counts.
                let plain = !digits.starts_with('0') || digits == "0";
                let is_number = plain && digits.bytes().all(|byte| byte.is_ascii_digit());
                partial.number = Some(digits.parse().ok().filter(|_| is_number)?);
            }
            Self::Model | Self::Template if check_slug(name).is_err() => return None,
            Self::Model => partial.model = Some(name.to_owned()),
            Self::Template => partial.template = Some(name.to_owned()),
        }
        Some(partial)
    }
}

fn descend(
    directory: &Path,
    known: &Partial,
    components: &[Component<'_>],
    found: &mut Vec<FoundDirectory>,
) -> io::Result<()> {
    let Some((component, rest)) = components.split_first() else {
        if let Some(number) = known.number {
            let Partial { path, model, template, .. } = known.clone();
            found.push(FoundDirectory { path, model, template, number });
        }
        return Ok(());
    };
    for entry in fs::read_dir(directory).map_err(|error| named(directory, &error))? {
        let entry = entry.map_err(|error| named(directory, &error))?;
        let name = entry.file_name();
        let Some(partial) = name.to_str().and_then(|name| component.take(known, name)) else { continue };
        // The entry's own type: a symbolic link is not a directory here.
        let kind = entry.file_type().map_err(|error| named(&entry.path(), &error))?;
        if kind.is_dir() {
            descend(&entry.path(), &partial, rest, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::app_set::MaxDisappear;

    fn spec(root: &str, pattern: &str) -> AppSetSpec {
        AppSetSpec { root: root.into(), pattern: pattern.into(), max_disappear: MaxDisappear::default() }
    }

    fn tree(paths: &[&str]) -> tempfile::TempDir {
        let workspace = tempfile::tempdir().unwrap();
        paths.iter().for_each(|path| fs::create_dir_all(workspace.path().join(path)).unwrap());
        workspace
    }

    fn paths(workspace: &Path, spec: &AppSetSpec) -> Vec<String> {
        find_apps(workspace, spec).unwrap().into_iter().map(|found| found.path).collect()
    }

    #[test]
    fn directories_that_match_are_found_sorted_with_what_the_pattern_says_of_them() {
        let workspace =
            tree(&["g/b/app2", "g/a/app10", "g/a/app1", "g/a/app01", "g/a/appx", "g/a/other", "g/..x/app1"]);
        fs::write(workspace.path().join("g/a/app3"), "a file").unwrap();
        assert_eq!(
            paths(workspace.path(), &spec("./g/", "{model}/app{number}")),
            ["g/a/app1", "g/a/app10", "g/b/app2"]
        );
        let found = find_apps(workspace.path(), &spec("g", "{model}/app{number}")).unwrap();
        assert_eq!((found[1].model.as_deref(), found[1].number, found[1].name().as_str()), (Some("a"), 10, "a-app10"));
    }

    #[test]
    fn templates_literals_and_a_root_that_is_the_workspace_work() {
        let workspace = tree(&["m/t/app1/src", "m/t/app2", "m/app3"]);
        assert_eq!(paths(workspace.path(), &spec(".", "{model}/{template}/app{number}")), ["m/t/app1", "m/t/app2"]);
        assert_eq!(paths(workspace.path(), &spec("m", "{template}/app{number}/src")), ["m/t/app1/src"]);
    }

    #[test]
    fn links_are_not_followed() {
        let workspace = tree(&["g/m/app1", "out/app2"]);
        let link =
            |to: &str, at: &str| std::os::unix::fs::symlink(workspace.path().join(to), workspace.path().join(at));
        link("out", "g/n").unwrap();
        link("out/app2", "g/m/app2").unwrap();
        link("g", "h").unwrap();
        assert_eq!(paths(workspace.path(), &spec("g", "{model}/app{number}")), ["g/m/app1"]);
        assert!(find_apps(workspace.path(), &spec("h", "{model}/app{number}")).is_err());
    }

    #[test]
    fn a_scan_that_cannot_be_whole_is_an_error() {
        let workspace = tree(&["g/m/app1"]);
        let error = find_apps(workspace.path(), &spec("absent", "app{number}")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("absent"), "{error}");
        // A file where a directory is expected cannot be listed either.
        fs::write(workspace.path().join("file"), "").unwrap();
        assert!(find_apps(workspace.path(), &spec("file", "app{number}")).is_err());
    }
}
