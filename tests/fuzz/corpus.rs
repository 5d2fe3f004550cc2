//! Where mutations begin: files of the repository, and texts.

use std::fs;
use std::path::Path;

/// The contents of every file below a folder of the repository whose name ends so, in order.
pub(crate) fn files(folder: &str, extensions: &[&str]) -> Vec<Vec<u8>> {
    let (mut found, mut folders) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| extensions.iter().any(|wanted| end == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// Texts as bytes.
pub(crate) fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Writes what libFuzzer begins with: one file for each seed, and a dictionary.
pub(crate) fn write(place: &Path, target: &str, seeds: &[Vec<u8>], words: &[&str]) {
    let corpus = place.join(target);
    fs::create_dir_all(&corpus).expect("a directory");
    for (at, seed) in seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{at:03}")), seed).expect("a file");
    }
    let escaped = |word: &&str| word.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let lines: String = words.iter().map(|word| format!("\"{}\"\n", escaped(word))).collect();
    fs::write(place.join(format!("{target}.dict")), lines).expect("a file");
}

/// The targets of libFuzzer, by their files.
pub(crate) fn targets() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let entries = fs::read_dir(folder).expect("the targets").flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    names
}
