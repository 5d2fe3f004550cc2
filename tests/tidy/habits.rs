//! Habits of every file: how it opens, how long it is, which words it does not use, and what no text of the repository holds.

use std::collections::HashSet;

use regex::Regex;

use crate::source::{Lines, Source, TextFile, pattern, tokens};

/// The longest file under src/, without its tests.
const LINES_MAX: usize = 400;

/// The shortest first line that can say what a file is for.
const OPENING_MIN: usize = 20;

/// Words that say nothing about what a thing is.
const EMPTY_NAMES: [&str; 4] = ["Manager", "Service", "Helper", "Util"];

/// A message for each place of `code` that a pattern matches.
fn matches(path: &str, code: &str, pattern: &Regex, message: &str) -> Vec<String> {
    let place = |at: usize| code[..at].matches('\n').count() + 1;
    pattern.find_iter(code).map(|found| format!("{path}:{}: {message}", place(found.start()))).collect()
}

/// A file must open with a paragraph that says what it is for.
pub(crate) fn opening(source: &Source) -> Option<String> {
    let first = source.text.lines().next().unwrap_or_default();
    let says = first.strip_prefix("//! ").is_some_and(|says| says.len() >= OPENING_MIN && !says.starts_with('#'));
    (!says).then(|| format!("{}:1: it does not open with a //! paragraph that says what it is for", source.path))
}

/// A file that does too much is too long.
pub(crate) fn length(source: &Source) -> Option<String> {
    let lines = source.shipped_lines;
    (lines > LINES_MAX).then(|| format!("{}: {lines} lines without tests; at most {LINES_MAX}", source.path))
}

/// Tests that are not run, that want any panic, or code that is not there yet.
pub(crate) fn unfinished(source: &Source) -> Vec<String> {
    let Source { path, code, text, .. } = source;
    let mut wrong = matches(path, code, &pattern(r"#\[\s*(cfg_attr\(.*,\s*)?ignore\b"), "a test that is not run");
    wrong.extend(matches(path, code, &pattern(r"\bshould_panic\b"), "wants any panic; say which error is wanted"));
    wrong.extend(matches(path, code, &pattern(r"\b(todo|unimplemented)\s*!"), "code that is not there yet"));
    // Put together here, so that this file does not match itself.
    let marks = concat!(r"\b(FIX", "ME|XX", "X)\\b");
    wrong.extend(matches(
        path,
        text,
        &pattern(marks),
        "a mark for later; do it now, or say in CHANGELOG.md what is missing",
    ));
    wrong.extend(matches(
        path,
        code,
        &pattern(r"allow\(\s*clippy::too_many_lines"),
        "a function of more than 70 lines",
    ));
    wrong
}

/// A test that sleeps instead of waiting for a signal. Looking again and again at something that gives none is not that: there the
/// sleep is the body of a loop that asks.
pub(crate) fn sleeps(source: &Source) -> Vec<String> {
    let is_test = source.path.starts_with("tests/");
    let code: Vec<char> = source.code.chars().collect();
    let shipped: Vec<char> = source.shipped.chars().collect();
    let mut wrong = Vec::new();
    for found in pattern(r"\bsleep(_until)?\s*\(").find_iter(&source.code) {
        let at = source.code[..found.start()].chars().count();
        let in_test = is_test || shipped[at] == ' ';
        if in_test && !is_in_asking_loop(&code[..at]) {
            let line = Lines::of(&source.code).at(at);
            wrong.push(format!("{}:{line}: a test that sleeps; wait for what it waits for", source.path));
        }
    }
    wrong
}

/// Whether the innermost block that is open at the end of `before` is the body of a loop.
fn is_in_asking_loop(before: &[char]) -> bool {
    let mut depth = 0;
    for at in (0..before.len()).rev() {
        match before[at] {
            '}' => depth += 1,
            '{' if depth > 0 => depth -= 1,
            '{' => {
                let head = before[..at].rsplit(|c| matches!(c, ';' | '{' | '}')).next().unwrap_or_default();
                let head: String = head.iter().collect();
                return pattern(r"^\s*(while|loop)\b").is_match(&head);
            }
            _ => {}
        }
    }
    false
}

/// Names that say nothing about what a thing is.
pub(crate) fn names(source: &Source) -> Vec<String> {
    let words = EMPTY_NAMES.map(str::to_owned).join("|");
    let types = pattern(&format!(r"\b(struct|enum|trait|type)\s+\w*({words})s?\b"));
    let modules = pattern(&format!(r"\bmod\s+\w*({})s?\b", words.to_lowercase()));
    let mut wrong = matches(&source.path, &source.code, &types, "a type whose name says nothing about what it is");
    wrong.extend(matches(&source.path, &source.code, &modules, "a module whose name says nothing about what is in it"));
    wrong.extend(matches(
        &source.path,
        &source.code,
        &pattern(r"\bfn\s+handle_\w+"),
        "handle_ says nothing; name the deed",
    ));
    wrong
}

/// Spaces at the end of a line, a last line without an end, and ends of lines of another system.
pub(crate) fn whitespace(file: &TextFile) -> Vec<String> {
    let endings = [
        (r"(?m)[ \t]+$", "spaces at the end of a line"),
        (r"\r", "a carriage return"),
        (r"[^\n]\z", "no newline at the end"),
    ];
    endings.iter().flat_map(|(mark, message)| matches(&file.path, &file.text, &pattern(mark), message)).collect()
}

/// Paths of the machine that a text was written on: these directories, each at the beginning of a path.
pub(crate) fn machine_paths(file: &TextFile, directories: &[&str]) -> Vec<String> {
    let begins = |at: usize| !file.text[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}~/".contains(c));
    let place = |at: usize| file.text[..at].matches('\n').count() + 1;
    // A single directory below the root, such as /app, is a word that any text may use.
    let telling = directories.iter().filter(|directory| directory.matches('/').count() > 1);
    let found = telling.flat_map(|directory| file.text.match_indices(directory).filter(|(at, _)| begins(*at)));
    found.map(|(at, name)| format!("{}:{}: names {name}, a directory of one machine", file.path, place(at))).collect()
}

/// Dependencies without a reason beside them.
pub(crate) fn unexplained_dependencies(cargo: &str) -> Vec<String> {
    let (mut wrong, mut inside, mut before) = (Vec::new(), false, "");
    for line in cargo.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies]");
        } else if inside && line.contains('=') && !line.starts_with('#') {
            let reason =
                line.split_once(" # ").map_or(before.strip_prefix("# ").unwrap_or_default(), |(_, reason)| reason);
            if reason.trim().len() < 8 {
                wrong.push(format!("Cargo.toml: no reason stands beside: {line}"));
            }
        }
        before = line;
    }
    wrong
}

/// The names of all dependencies as code writes them.
pub(crate) fn dependencies(cargo: &str) -> Vec<String> {
    let (mut names, mut inside) = (Vec::new(), false);
    for line in cargo.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| inside && !line.starts_with('#')) {
            names.push(name.trim().replace('-', "_"));
        }
    }
    names
}

/// Dependencies that no source names.
pub(crate) fn unused_dependencies(cargo: &str, sources: &[&Source]) -> Vec<String> {
    let words: HashSet<String> = sources.iter().flat_map(|source| tokens(&source.code)).map(|(_, word)| word).collect();
    let unused = dependencies(cargo).into_iter().filter(|name| !words.contains(name));
    unused.map(|name| format!("Cargo.toml: {name} is used nowhere")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("tests/a.rs", text)
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_for_is_found() {
        for bad in [
            "",
            "use std::fs;",
            "//! Short.",
            "// Says what it is for, but as a comment.\n",
            "//! # A heading that says nothing",
        ] {
            assert!(opening(&source(bad)).is_some(), "{bad}");
        }
        assert!(opening(&source("//! Says what it is for.\n")).is_none());
    }

    #[test]
    fn a_file_of_401_lines_is_too_long_and_its_tests_do_not_count() {
        let lines = "let x = 1;\n".repeat(LINES_MAX);
        assert!(length(&source(&lines)).is_none());
        assert!(length(&source(&format!("{lines}let y = 2;\n"))).is_some());
        assert!(length(&source(&format!("{lines}#[cfg(test)]\nmod tests {{\n}}\n"))).is_none());
    }

    #[test]
    fn what_is_unfinished_is_found() {
        for bad in [
            "#[ignore]\nfn a() {}",
            "#[ignore = \"slow\"]\nfn a() {}",
            "#[cfg_attr(unix, ignore)]\nfn a() {}",
            "#[should_panic]\nfn a() {}",
            "fn a() { todo!() }",
            "fn a() { unimplemented!(\"x\") }",
            concat!("// FIX", "ME later"),
            "#[allow(clippy::too_many_lines, reason = \"x\")]\nfn a() {}",
        ] {
            assert_eq!(unfinished(&source(bad)).len(), 1, "{bad}");
        }
        let good = "let todo = \"todo!()\"; use ignore::Walk; // #[ignore]\nlet key = \"AKIAXXXX\";";
        assert_eq!(unfinished(&source(good)), Vec::<String>::new());
    }

    #[test]
    fn a_test_that_sleeps_is_found_unless_it_asks_again() {
        for bad in [
            "fn t() { std::thread::sleep(x); }",
            "fn t() { while a() {} tokio::time::sleep(x).await; }",
            "fn t() { loop { if a() { sleep(x).await; } } }",
            "fn t() { let a = async { sleep_until(x).await }; }",
        ] {
            assert_eq!(sleeps(&source(bad)).len(), 1, "{bad}");
        }
        assert_eq!(sleeps(&source("fn t() { while a() { sleep(x).await; } }")).len(), 0);
        assert_eq!(sleeps(&source("fn t() { sh(\"sleep 600\"); a_service_may_sleep(); }")).len(), 0);
        assert_eq!(sleeps(&Source::new("src/a.rs", "fn f() { sleep(x); }")).len(), 0);
        assert_eq!(sleeps(&Source::new("src/a.rs", "#[cfg(test)]\nmod t { fn f() { sleep(x); } }")).len(), 1);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        for bad in
            ["struct TaskManager;", "enum Helper {}", "mod utils;", "fn handle_event() {}", "trait ProbeService {}"]
        {
            assert_eq!(names(&source(bad)).len(), 1, "{bad}");
        }
        assert_eq!(names(&source("struct Utility; fn handle() {} mod runtime; // a service")).len(), 0);
    }

    #[test]
    fn bad_whitespace_and_machine_paths_are_found_with_their_line() {
        let file = |text: &str| TextFile { path: "a.md".into(), text: text.into() };
        for bad in ["a \n", "a\t\nb\n", "a\r\n", "a"] {
            assert_eq!(
                whitespace(&file(bad)).len(),
                1 + usize::from(bad.contains('\r') && bad.contains(' ')),
                "{bad:?}"
            );
        }
        assert_eq!(whitespace(&file("a\n\n  b\n")), Vec::<String>::new());
        assert_eq!(machine_paths(&file("a\nsee /var/build/x\n"), &["/var/build", "/", "/see", ""]).len(), 1);
        assert_eq!(machine_paths(&file("https://example.org/var/build/x ${A}/var/build\n"), &["/var/build"]).len(), 0);
        assert!(machine_paths(&file("a\nsee /var/build/x\n"), &["/var/build"])[0].starts_with("a.md:2: "));
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let cargo = "[package]\nname = \"a\"\n[dependencies]\n# Has its reason above it.\na = \"1\"\nb = \"1\" # Has one beside it\nc = \"1\"\n[dev-dependencies]\nd = \"1\" # Why\n[profile.dev]\ndebug = true\n";
        let wrong = unexplained_dependencies(cargo);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].ends_with("c = \"1\"") && wrong[1].contains("d = "), "{wrong:?}");
    }

    #[test]
    fn a_dependency_that_nobody_names_is_found() {
        let cargo = "[dependencies]\na-b = \"1\" # Why\n# Why\nc = { version = \"1\" }\n[dev-dependencies]\nd = \"1\" # Why\n[lints.rust]\ne = \"deny\"\n";
        assert_eq!(dependencies(cargo), ["a_b", "c", "d"]);
        let source = source("use a_b::X; fn f() { d::g() } // c");
        assert_eq!(unused_dependencies(cargo, &[&source]), ["Cargo.toml: c is used nowhere"]);
    }
}
