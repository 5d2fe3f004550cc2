//! Edits of manifest files: one document is replaced or cut out, everything else stays byte for byte.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::exit::refused;
use super::files::{self, ManifestFile};
use super::out::clean;
use crate::manifest::{Bounds, Document, parse};
use crate::resource::kind::Kind;
use crate::resource::object::Object;
use crate::store::durable::{make, sync};

/// Mode of a file that did not exist before; others keep theirs.
const NEW_FILE_MODE: u32 = 0o644;

/// Mode of a manifests directory that did not exist before, as far as the umask allows it.
const NEW_DIRECTORY_MODE: u32 = 0o777;

/// The manifests directory, as it is read.
pub(crate) struct Directory {
    /// Its canonical path, which nothing that is written may leave.
    root: PathBuf,
    /// Its files, with labels relative to it.
    pub(crate) files: Vec<ManifestFile>,
}

impl Directory {
    /// Reads the manifests directory, and makes it when it is not there and `create` says so.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(path: &Path, bounds: Bounds<'_>, create: bool) -> anyhow::Result<Self> {
        if !path.exists() {
            if !create {
                return Ok(Self { root: path.to_owned(), files: Vec::new() });
            }
            make(path, NEW_DIRECTORY_MODE).with_context(|| path.display().to_string())?;
        }
        let root = fs::canonicalize(path).with_context(|| path.display().to_string())?;
        let mut found = Vec::new();
        for file in files::list(&root)? {
            let label = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
            found.push(ManifestFile::read(&file, label, bounds)?);
        }
        Ok(Self { root, files: found })
    }

    /// Reads one file of the manifests directory, which may not be there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn of_file(path: &Path, label: &str, bounds: Bounds<'_>) -> anyhow::Result<Self> {
        let root = fs::canonicalize(path).with_context(|| path.display().to_string())?;
        let file = root.join(label);
        let files = if file.exists() { vec![ManifestFile::read(&file, label.to_owned(), bounds)?] } else { Vec::new() };
        Ok(Self { root, files })
    }

    /// The one place where an object is declared; `None` when it is not.
    ///
    /// # Errors
    /// When it is declared twice, or in a document that is invalid: only a person can tell what is meant.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> anyhow::Result<Option<(&ManifestFile, &Document)>> {
        let declares = |document: &&Document| document.object.kind() == kind && document.object.metadata.name == name;
        let mut places = self
            .files
            .iter()
            .flat_map(|file| file.parsed.documents.iter().filter(declares).map(move |doc| (file, doc)));
        let first = places.next();
        if let (Some((one, a)), Some((two, b))) = (first, places.next()) {
            return Err(refused(clean(&format!(
                "{}/{name} is declared twice, in {}:{} and {}:{}; remove one of them first",
                kind.singular(),
                one.label,
                a.line,
                two.label,
                b.line
            ))));
        }
        if first.is_some() {
            return Ok(first);
        }
        for file in &self.files {
            let broken = file
                .parsed
                .broken
                .iter()
                .find(|broken| broken.kind == Some(kind) && broken.name.as_deref() == Some(name));
            if let Some(broken) = broken {
                return Err(refused(clean(&format!(
                    "{}/{name} is declared in {}:{}, but that document is invalid; mend it there (manifestd validate shows what is wrong)",
                    kind.singular(),
                    file.label,
                    broken.line
                ))));
            }
        }
        Ok(None)
    }

    /// A path in the directory, for a new file.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file in one step: a temporary name beside it, synced, renamed, and the directory synced. `before` is what it held
    /// when it was read; when that is no longer so, nothing is written.
    ///
    /// # Errors
    /// When the path leads out of the directory, when somebody else wrote the file meanwhile, or when it cannot be written.
    pub(crate) fn write(&self, path: &Path, text: &str, before: Option<&[u8]>) -> anyhow::Result<()> {
        let (path, parent) = self.inside(path)?;
        let shown = || path.display().to_string();
        unchanged(&path, before)?;
        let mode = fs::metadata(&path).map_or(NEW_FILE_MODE, |stat| stat.permissions().mode());
        // The name is hidden and no manifest's, so that a scan at this moment does not read half a file.
        let mut file =
            tempfile::Builder::new().prefix(".manifestd-").suffix(".tmp").tempfile_in(&parent).with_context(shown)?;
        file.write_all(text.as_bytes()).with_context(shown)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode)).with_context(shown)?;
        file.as_file().sync_all().with_context(shown)?;
        match before {
            Some(_) => drop(file.persist(&path).with_context(shown)?),
            None => drop(file.persist_noclobber(&path).with_context(shown)?),
        }
        sync(&parent).with_context(|| format!("syncing {}", parent.display()))
    }

    /// Removes a file, under the same conditions as [`Directory::write`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn remove(&self, path: &Path, before: &[u8]) -> anyhow::Result<()> {
        let (path, parent) = self.inside(path)?;
        unchanged(&path, Some(before))?;
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
        sync(&parent).with_context(|| format!("syncing {}", parent.display()))
    }

    /// The file that a path really names, and its directory; refused when it is not in this directory.
    fn inside(&self, path: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        let shown = || path.display().to_string();
        let is_link = fs::symlink_metadata(path).is_ok_and(|stat| stat.is_symlink());
        let real = if is_link { fs::canonicalize(path).with_context(shown)? } else { path.to_owned() };
        let parent = real.parent().map_or(Ok(PathBuf::new()), fs::canonicalize).with_context(shown)?;
        if !parent.starts_with(&self.root) {
            return Err(refused(format!(
                "{} leads out of the manifests directory, to {}; nothing was written",
                clean(&shown()),
                clean(&real.display().to_string())
            )));
        }
        let name = real.file_name().map(std::ffi::OsStr::to_owned).unwrap_or_default();
        Ok((parent.join(name), parent))
    }
}

fn unchanged(path: &Path, before: Option<&[u8]>) -> anyhow::Result<()> {
    let now = match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    match (now.as_deref() == before, before) {
        (true, _) => Ok(()),
        (false, Some(_)) => bail!(
            "{} was changed by somebody else at this moment; nothing was written to it, try again",
            path.display()
        ),
        (false, None) => bail!(
            "{} is there already, though it does not declare this object; move it away or add the object to it by hand",
            path.display()
        ),
    }
}

/// The text of a document without the blank and comment lines around it, which belong to the file.
pub(crate) fn core(text: &str, body: Range<usize>) -> Range<usize> {
    let (mut start, mut end) = (body.start, body.end);
    for line in text[body.clone()].split_inclusive('\n') {
        let trimmed = line.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            break;
        }
        start += line.len();
    }
    // Only unindented comments: an indented `#` can be a line of a block of text.
    while let Some(line) = text[start..end].split_inclusive('\n').next_back() {
        if !line.trim().is_empty() && !line.starts_with('#') {
            break;
        }
        end -= line.len();
    }
    start..end
}

/// A document's text, as it is put into a file: ends with a line break.
pub(crate) fn lifted(text: &str, document: &Document) -> String {
    let core = core(text, document.body.clone());
    // A document on the line of its `---` starts with a blank there.
    let mut lifted = text[core].to_owned();
    if document.body.start > 0 && !text[..document.body.start].ends_with('\n') {
        lifted = lifted.trim_start_matches([' ', '\t']).to_owned();
    }
    if !lifted.ends_with('\n') {
        lifted.push('\n');
    }
    lifted
}

/// The file's text with a document replaced by `new`, which ends with a line break.
pub(crate) fn replaced(text: &str, document: &Document, new: &str) -> String {
    let core = core(text, document.body.clone());
    let (before, after) = (&text[..core.start], &text[core.end..]);
    // A block mapping cannot start on the line of its `---`.
    let line_break = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    format!("{before}{line_break}{new}{after}")
}

/// The file's text without a document. The unindented comments behind it stay: they mostly speak of what follows.
pub(crate) fn cut(text: &str, document: &Document) -> String {
    let core = core(text, document.body.clone());
    format!("{}{}", &text[..document.whole.start], &text[core.end.min(document.whole.end)..])
}

/// Makes sure that an edited text declares exactly these objects, in this order.
///
/// # Errors
/// When it does not: then the file is written in a way that only a person should edit.
pub(crate) fn verify(label: &str, text: &str, expected: &[&Object], bounds: Bounds<'_>) -> anyhow::Result<()> {
    let parsed = parse(label, text.as_bytes(), bounds);
    let same = parsed.documents.len() == expected.len()
        && parsed.documents.iter().zip(expected).all(|(document, object)| *document.object == **object);
    if !same || parsed.unreadable {
        bail!(
            "{} is written in a way that cannot be edited safely; nothing was written, edit it by hand",
            clean(label)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(name: &str, path: &str) -> String {
        format!(
            "apiVersion: manifestd.dev/v1alpha1\nkind: App # {name}\nmetadata: {{name: {name}}}\nspec:\n  path: {path}\n"
        )
    }

    fn documents(text: &str) -> Vec<Document> {
        let parsed = parse("f", text.as_bytes(), &[".".to_owned()]);
        assert!(!parsed.has_errors(), "{:?}\n{text}", parsed.problems);
        parsed.documents
    }

    #[test]
    fn replacing_one_document_leaves_the_others_and_all_comments_as_they_are() {
        let (a, b, c) = (doc("a", "x"), doc("b", "y"), doc("c", "z"));
        let text = format!("# head\n\n{a}\n# about b\n---\n# b itself\n{b}\n# about c\n--- # c\n{c}# end");
        let new = doc("b", "new");
        let parsed = documents(&text);
        let edited = replaced(&text, &parsed[1], &lifted(&new, &documents(&new)[0]));
        assert_eq!(edited, text.replace(&b, &new));
        let expected: Vec<Object> = documents(&edited).into_iter().map(|document| (*document.object).clone()).collect();
        verify("f", &edited, &expected.iter().collect::<Vec<_>>(), (&[".".to_owned()]).into()).unwrap();
    }

    #[test]
    fn cutting_takes_the_document_and_its_line_and_leaves_comments_on_what_follows() {
        let (a, b, c) = (doc("a", "x"), doc("b", "y"), doc("c", "z"));
        let text = format!("{a}---\n# b itself\n{b}\n# about c\n---\n{c}");
        let parsed = documents(&text);
        assert_eq!(cut(&text, &parsed[1]), format!("{a}\n# about c\n---\n{c}"));
        assert_eq!(cut(&text, &parsed[0]), format!("---\n# b itself\n{b}\n# about c\n---\n{c}"));
        assert_eq!(cut(&text, &parsed[2]), format!("{a}---\n# b itself\n{b}\n# about c\n"));
    }

    #[test]
    fn a_document_on_the_line_of_its_dashes_can_be_replaced_and_lifted() {
        let inline = "--- {apiVersion: manifestd.dev/v1alpha1, kind: App, metadata: {name: a}, spec: {path: x}}\n";
        let new = doc("a", "y");
        let edited = replaced(inline, &documents(inline)[0], &new);
        assert_eq!(documents(&edited)[0].object, documents(&new)[0].object);
        let back = replaced(&new, &documents(&new)[0], &lifted(inline, &documents(inline)[0]));
        assert_eq!(documents(&back)[0].object, documents(inline)[0].object);
    }

    #[test]
    fn an_edit_that_came_out_wrong_is_refused() {
        let (a, b) = (doc("a", "x"), doc("b", "y"));
        let object = &documents(&b)[0].object;
        assert!(verify("f", &a, &[object], (&[".".to_owned()]).into()).is_err());
        assert!(verify("f", &b, &[object], (&[".".to_owned()]).into()).is_ok());
        assert!(verify("f", &format!("{b}---\n{{"), &[object], (&[".".to_owned()]).into()).is_err());
    }

    #[test]
    fn nothing_is_written_through_a_link_that_leads_out() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = outside.path().join("secret.yaml");
        fs::write(&secret, doc("a", "x")).unwrap();
        std::os::unix::fs::symlink(&secret, inside.path().join("a.yaml")).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("dir")).unwrap();
        let directory = Directory::read(inside.path(), (&[".".to_owned()]).into(), false).unwrap();
        let (file, _) = directory.find(Kind::App, "a").unwrap().unwrap();
        assert!(directory.write(&file.path, "new", Some(&file.bytes)).is_err());
        assert!(directory.remove(&file.path, &file.bytes).is_err());
        assert!(directory.write(&directory.path_of("dir/new.yaml"), "new", None).is_err());
        assert_eq!(fs::read_to_string(&secret).unwrap(), doc("a", "x"));
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_left_alone_and_modes_stay() {
        let inside = tempfile::tempdir().unwrap();
        let path = inside.path().join("a.yaml");
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let directory = Directory::read(inside.path(), (&[".".to_owned()]).into(), false).unwrap();
        let path = directory.path_of("a.yaml");
        assert!(directory.write(&path, "three", Some(b"two")).is_err());
        assert!(directory.write(&path, "three", None).is_err());
        directory.write(&path, "three", Some(b"one")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(inside.path()).unwrap().count(), 1);
    }
}
