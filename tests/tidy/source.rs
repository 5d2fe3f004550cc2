//! Rust source as the checks see it: code with comments, literals and test modules blanked out, so that every line keeps its number.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;

/// A text file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct TextFile {
    /// Its path, relative to the repository, with `/`.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

/// A Rust file, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Its path, relative to the repository, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Its code, without comments and literals.
    pub(crate) code: String,
    /// The same without what is under `#[cfg(test)]`.
    pub(crate) shipped: String,
    /// String literals outside of tests, each with its line.
    pub(crate) literals: Vec<(usize, String)>,
    /// Lines outside of tests.
    pub(crate) shipped_lines: usize,
}

impl Source {
    /// Takes a Rust file apart.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, found) = blank(text);
        let lines = Lines::of(&code);
        let tests = test_ranges(&code);
        let in_tests = |at: usize| tests.iter().any(|range| range.contains(&at));
        let shipped = code.chars().enumerate().map(|(at, c)| if c != '\n' && in_tests(at) { ' ' } else { c }).collect();
        let literals = found.into_iter().filter(|(at, _)| !in_tests(*at));
        let literals = literals.map(|(at, literal)| (lines.at(at), literal)).collect();
        let test_lines: usize = tests.iter().map(|range| lines.at(range.end - 1) - lines.at(range.start) + 1).sum();
        let shipped_lines = text.lines().count() - test_lines;
        Self { path: path.to_owned(), text: text.to_owned(), code, shipped, literals, shipped_lines }
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One file of the repository.
pub(crate) fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text file of the repository, as git sees it, by path.
pub(crate) fn text_files() -> Vec<TextFile> {
    let mut walk = ignore::WalkBuilder::new(root());
    walk.hidden(false).parents(false).require_git(false).git_global(false);
    walk.filter_entry(|entry| entry.file_name() != ".git" && entry.file_name() != "target");
    let entries = walk.build().map(|entry| entry.expect("an entry of the repository").into_path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = String::from_utf8(std::fs::read(&path).expect("a file of the repository")).ok()?;
        let path = path.strip_prefix(root()).expect("inside the repository").to_str()?.to_owned();
        Some(TextFile { path, text })
    };
    paths.into_iter().filter_map(read).collect()
}

/// Every Rust file below these folders.
pub(crate) fn sources(folders: &[&str]) -> Vec<&'static Source> {
    static ALL: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let files = text_files().into_iter().filter(|file| file.path.ends_with(".rs"));
        files.map(|file| Source::new(&file.path, &file.text)).collect()
    });
    let wanted = |path: &str| folders.iter().any(|folder| path.starts_with(folder));
    let sources: Vec<&Source> = ALL.iter().filter(|source| wanted(&source.path)).collect();
    assert!(sources.len() > 5, "the sources below {folders:?} are not there");
    sources
}

/// A pattern, compiled once for all files.
pub(crate) fn pattern(text: &str) -> Regex {
    static KNOWN: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(text.to_owned()).or_insert_with(|| Regex::new(text).expect("a pattern")).clone()
}

/// Where the lines of a text begin, in characters.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    /// Looks through a text once.
    pub(crate) fn of(text: &str) -> Self {
        let ends = text.chars().enumerate().filter(|(_, c)| *c == '\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(ends).collect())
    }

    /// The line, from 1, of a character.
    pub(crate) fn at(&self, character: usize) -> usize {
        self.0.partition_point(|start| *start <= character)
    }
}

/// A word or a mark of the code, with its line. `::` is one mark.
pub(crate) fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    let (mut line, mut word) = (1, String::new());
    for c in code.chars().chain(['\n']) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            tokens.push((line, std::mem::take(&mut word)));
        }
        match c {
            '\n' => line += 1,
            ':' if tokens.last().is_some_and(|(_, last)| last == ":") => {
                if let Some((_, last)) = tokens.last_mut() {
                    last.push(':');
                }
            }
            c if c.is_whitespace() => {}
            c => tokens.push((line, c.to_string())),
        }
    }
    tokens
}

/// The text with comments and literals blanked out, and the string literals, each with the place of its first character.
fn blank(text: &str) -> (String, Vec<(usize, String)>) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut literals) = (chars.clone(), Vec::new());
    let mut erase = |range: Range<usize>| range.for_each(|at| code[at] = if chars[at] == '\n' { '\n' } else { ' ' });
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => quoted(rest, '"'),
            ['r', '"' | '#', ..] if !follows_word(&chars, at) => raw_string(rest).unwrap_or(0),
            ['\'', '\\', ..] => quoted(rest, '\''),
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if length == 0 {
            at += 1;
            continue;
        }
        if matches!(rest[0], '"' | 'r') {
            literals.push((at, rest[..length].iter().collect()));
        }
        erase(at..at + length);
        at += length;
    }
    (code.into_iter().collect(), literals)
}

fn follows_word(chars: &[char], at: usize) -> bool {
    // The `b` of a byte string is no word that a raw string could follow.
    let before = |back: usize| at.checked_sub(back).map(|at| chars[at]);
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if before(1) == Some('b') { is_word(before(2)) } else { is_word(before(1)) }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[char], mark: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == mark => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a raw string; `None` for a raw identifier.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &rest[hashes + 2..];
    Some(body.windows(end.len()).position(|part| part == end).map_or(rest.len(), |at| hashes + 2 + at + end.len()))
}

/// What stands under `#[cfg(test)]`, as places in the code: a module or a function to its last brace, anything else to its semicolon.
fn test_ranges(code: &str) -> Vec<Range<usize>> {
    let chars: Vec<char> = code.chars().collect();
    let mark: Vec<char> = "#[cfg(test)]".chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(found) = chars[at..].windows(mark.len()).position(|part| part == mark) {
        let start = at + found;
        let mut depth = 0;
        let is_end = |c: &char| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0 && matches!(c, '}' | ';')
        };
        at = chars[start..].iter().position(is_end).map_or(chars.len(), |length| start + length + 1);
        ranges.push(start..at);
    }
    ranges
}

#[test]
fn comments_literals_and_tests_are_told_from_code() {
    let text = r###"//! SELECT
fn a<'x>(y: &'x str) -> char { let s = "in \" string"; let r = r#"raw " one"#; /* a /* nested */ one */ '"' }
const B: &[u8] = b"bytes"; // rusqlite
#[cfg(test)]
mod tests {
    fn t() { let s = "hidden"; }
}
fn last() {}
"###;
    let source = Source::new("src/a.rs", text);
    assert_eq!(source.code.lines().count(), text.lines().count());
    assert_eq!(
        source.literals,
        [(2, r#""in \" string""#.to_owned()), (2, r##"r#"raw " one"#"##.to_owned()), (3, r#""bytes""#.to_owned())]
    );
    for gone in ["SELECT", "string", "raw", "nested", "one", "bytes", "rusqlite", "hidden"] {
        assert!(!source.code.contains(gone), "{gone}: {}", source.code);
    }
    assert!(source.code.contains("fn t()") && !source.shipped.contains("fn t()"));
    assert!(source.shipped.contains("fn last()") && source.shipped.contains("<'x>"));
    assert_eq!(source.shipped_lines, 4);
}
