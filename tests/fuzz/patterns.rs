//! Any pattern and root of an AppSet over one tree of directories: what is found lies below the root, each once, and no link is followed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::OnceLock;

use manifestd::manifest::parse;
use manifestd::resource::app_set::AppSetSpec;
use manifestd::resource::object::Spec;
use manifestd::resource::path::{is_inside, wrong};
use manifestd::runtime::app_scan::find_apps;
use tempfile::TempDir;

use super::corpus::texts;

pub(crate) const WORDS: &[&str] = &[
    "{model}",
    "{template}",
    "{number}",
    "app{number}",
    "app{number}-x",
    "/",
    ".",
    "..",
    "\n",
    "generated",
    "apps",
    "a",
    "b",
    "link",
    "acme",
    "*",
    "[",
    "{",
    "}",
    "\\",
    "~",
    "C:",
];

/// Lines: the root and the pattern.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "generated/apps\n{model}/app{number}",
        "generated/apps\n{model}/{template}/app{number}",
        ".\ngenerated/apps/{model}/app{number}",
        "./generated//apps/\nacme/app{number}-x",
        "generated/link\n{model}/app{number}",
        "generated\n../{number}",
        "\n{number}",
    ])
}

fn tree() -> &'static Path {
    static TREE: OnceLock<TempDir> = OnceLock::new();
    let tree = TREE.get_or_init(|| {
        let tree = tempfile::tempdir().expect("a directory");
        for path in [
            "acme/app1",
            "acme/app01",
            "acme/app2-x",
            "acme/app4294967296",
            "acme/crud/app3",
            "b b/app1",
            "..c/app1",
            "m/app10/app1",
        ] {
            fs::create_dir_all(tree.path().join("generated/apps").join(path)).expect("a directory");
        }
        fs::write(tree.path().join("generated/apps/acme/app9"), "a file").expect("a file");
        symlink("..", tree.path().join("generated/link")).expect("a link");
        symlink("../acme", tree.path().join("generated/apps/linked")).expect("a link");
        tree
    });
    tree.path()
}

/// What must hold of any text.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (root, pattern) = text.split_once('\n').unwrap_or((text, "{model}/app{number}"));
    if wrong(root).is_none() {
        assert!(is_inside(root, "."), "{root:?} leads out of the workspace and is called clean");
    }
    // Only what a manifest may say comes here.
    let manifest = serde_json::json!({
        "apiVersion": "manifestd.dev/v1alpha1", "kind": "AppSet", "metadata": {"name": "a"}, "spec": {"root": root, "pattern": pattern},
    });
    let parsed = parse("a.yaml", manifest.to_string().as_bytes(), &[".".to_owned()]);
    let Some(Spec::AppSet(spec)) = parsed.documents.into_iter().next().map(|document| document.object.spec.clone())
    else {
        return;
    };
    assert_found(&spec);
}

fn assert_found(spec: &AppSetSpec) {
    let tree = tree();
    let Ok(found) = find_apps(tree, spec) else { return };
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "out of order, or one twice: {found:?}");
    let identities: BTreeSet<_> = found.iter().map(|app| (&app.model, &app.template, app.number)).collect();
    assert_eq!(identities.len(), found.len(), "two apps are one: {found:?}");
    for app in &found {
        assert!(wrong(&app.path).is_none() && is_inside(&app.path, &spec.root), "{app:?} is not below {:?}", spec.root);
        let mut at = tree.to_owned();
        for part in app.path.split('/') {
            at.push(part);
            let is_directory = at.symlink_metadata().is_ok_and(|found| found.is_dir());
            assert!(is_directory, "{} is no directory", at.display());
        }
    }
}
