//! Mistakes that sit deeper than a seam reaches: each is a patch of the program in `tests/mutants/`. `make mutants` applies one after the other to a
//! copy of the tree and plays seeds until a law is broken; here it is only looked whether they still fit.

use std::fs;
use std::path::{Path, PathBuf};

/// Every patch, by its name.
fn patches() -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutants");
    let found = fs::read_dir(place).expect("the patches").map(|entry| entry.expect("a patch").path());
    let mut found: Vec<PathBuf> =
        found.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect();
    found.sort();
    found
}

/// What a patch wants to find in which file, and what it puts there.
struct Hunk {
    file: String,
    before: String,
    after: String,
}

fn hunks(patch: &str) -> Vec<Hunk> {
    let (mut found, mut file) = (Vec::<Hunk>::new(), String::new());
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            file = path.to_owned();
        } else if line.starts_with("@@") {
            found.push(Hunk { file: file.clone(), before: String::new(), after: String::new() });
        } else if let (Some(hunk), Some(kind)) = (found.last_mut(), line.chars().next()) {
            let text = format!("{}\n", &line[1..]);
            match kind {
                ' ' => {
                    hunk.before.push_str(&text);
                    hunk.after.push_str(&text);
                }
                '-' => hunk.before.push_str(&text),
                '+' => hunk.after.push_str(&text),
                _ => {}
            }
        }
    }
    found
}

/// Fails unless every patch fits once, changes something, and opens with a line that says what is wrong then.
pub(crate) fn assert_they_fit() {
    let patches = patches();
    assert!(patches.len() >= 8, "{patches:?}");
    for path in patches {
        let patch = fs::read_to_string(&path).expect("a patch");
        let name = path.display();
        let says = patch.lines().next().is_some_and(|line| line.len() > 20 && !line.starts_with("---"));
        assert!(says, "{name} does not open with what is wrong");
        let hunks = hunks(&patch);
        assert!(!hunks.is_empty(), "{name} changes nothing");
        for Hunk { file, before, after } in hunks {
            let text =
                fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).expect("the file of a patch");
            assert_eq!(
                text.matches(&before).count(),
                1,
                "{name} does not fit {file} any more; it wants to find\n{before}"
            );
            assert_ne!(before, after, "{name}");
        }
    }
}
