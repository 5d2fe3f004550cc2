//! Manifests and migrations that are shipped: they are valid, their names lead somewhere, and what was released never changes.

use std::fmt::Write as _;
use std::path::Path;

use manifestd::manifest::{Document, Known, KnownApp, parse, references};
use manifestd::resource::kind::Kind;
use manifestd::resource::object::Spec;
use manifestd::runtime::app_scan::find_apps;
use sha2::{Digest as _, Sha256};

use crate::source::TextFile;

/// Every problem of these manifests as one directory: of each file, and of the names in them. Apps are looked for in `workspace`.
pub(crate) fn problems(files: &[TextFile], workspace: &Path) -> Vec<String> {
    let roots = [".".to_owned()];
    let parsed: Vec<_> =
        files.iter().map(|file| (file.path.as_str(), parse(&file.path, file.text.as_bytes(), &roots))).collect();
    let documents: Vec<(&str, &Document)> =
        parsed.iter().flat_map(|(path, parsed)| parsed.documents.iter().map(|document| (*path, document))).collect();
    let mut known = Known::default();
    let mut problems = Vec::new();
    for (path, document) in &documents {
        let Spec::AppSet(spec) = &document.object.spec else { continue };
        match find_apps(workspace, spec) {
            Ok(found) => known
                .apps
                .extend(found.iter().map(|found| (found.name(), KnownApp { addressable: found.model.is_some() }))),
            Err(error) => problems.push(format!("{path}: {error}")),
        }
    }
    problems.extend(parsed.iter().flat_map(|(_, parsed)| parsed.problems.iter().map(|problem| problem.render(false))));
    problems.extend(references::check(&documents, &known).iter().map(|problem| problem.render(false)));
    problems
}

/// What is wrong with one text of manifests, whatever its names lead to.
pub(crate) fn faults(name: &str, text: &str) -> Vec<String> {
    let parsed = parse(name, text.as_bytes(), &[".".to_owned()]);
    parsed.problems.iter().map(|problem| problem.render(false)).collect()
}

/// Apps that are declared, but whose directory is not there.
pub(crate) fn missing_apps(files: &[TextFile], workspace: &Path) -> Vec<String> {
    let parsed = files.iter().flat_map(|file| parse(&file.path, file.text.as_bytes(), &[".".to_owned()]).documents);
    let paths = parsed.filter_map(|document| match &document.object.spec {
        Spec::App(app) => Some(app.path.clone()),
        Spec::Analyzer(_) | Spec::AppSet(_) | Spec::Pipeline(_) | Spec::Pool(_) | Spec::Task(_) => None,
    });
    paths.filter(|path| !workspace.join(path).is_dir()).map(|path| format!("{path} is not there")).collect()
}

/// The kinds that files declare, in order.
pub(crate) fn kinds(files: &[&TextFile]) -> Vec<Kind> {
    let parsed = files.iter().flat_map(|file| parse(&file.path, file.text.as_bytes(), &[".".to_owned()]).documents);
    parsed.map(|document| document.object.kind()).collect()
}

/// One line for each file: its SHA-256 and its path.
pub(crate) fn digests(files: &[&TextFile]) -> String {
    let mut lines = String::new();
    for file in files {
        for byte in Sha256::digest(file.text.as_bytes()) {
            let _ = write!(lines, "{byte:02x}");
        }
        let _ = writeln!(lines, "  {}", file.path);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.into(), text: text.into() }
    }

    #[test]
    fn bad_manifests_unknown_names_and_missing_apps_are_found() {
        let workspace = tempfile::tempdir().expect("a directory");
        let head = "apiVersion: manifestd.dev/v1alpha1\nkind: ";
        let app = file("app.yaml", &format!("{head}App\nmetadata: {{name: a}}\nspec: {{path: apps/a}}\n"));
        let task = file("task.yaml", &format!("{head}Task\nmetadata: {{name: t}}\nspec: {{app: a, analyzer: z}}\n"));
        let odd = file("odd.yaml", &format!("{head}Task\nmetadata: {{name: u}}\nspec: {{app: a, analyser: z}}\n"));
        let files = [app, task, odd];
        let problems = problems(&files, workspace.path());
        assert!(problems.iter().any(|problem| problem.contains("no Analyzer is called")), "{problems:?}");
        assert!(problems.iter().any(|problem| problem.contains("analyser")), "{problems:?}");
        assert_eq!(missing_apps(&files, workspace.path()), ["apps/a is not there"]);
        std::fs::create_dir_all(workspace.path().join("apps/a")).expect("a directory");
        assert_eq!(missing_apps(&files, workspace.path()), Vec::<String>::new());
        assert_eq!(kinds(&files.each_ref()), [Kind::App, Kind::Task]);
        let of = |file: &TextFile| faults(&file.path, &file.text).len();
        assert_eq!((files.each_ref().map(of), faults("x", "").len()), ([0, 0, 2], 1));
    }

    #[test]
    fn one_changed_byte_changes_a_digest() {
        let [one, other] = ["a", "b"].map(|text| digests(&[&file("m.sql", text)]));
        assert_eq!(one.len(), 64 + "  m.sql\n".len());
        assert_ne!(one, other);
    }
}
