//! What the documents promise, compared with the program: every setting, phase, reason, outcome, exit code, command and path in them.

use std::collections::BTreeSet;

use manifestd::config::{Described, ENV_PREFIX};

use crate::source::pattern;

/// The text below a heading, down to the next one of the same level or above it; empty when there is no such heading.
pub(crate) fn section<'d>(document: &'d str, heading: &str) -> &'d str {
    let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
    let is_it = |line: &str| level(line) > 0 && line.trim_start_matches('#').trim() == heading;
    let Some(start) = document
        .split_inclusive('\n')
        .scan(0, |at, line| {
            let begin = *at;
            *at += line.len();
            Some((begin, line))
        })
        .find(|(_, line)| is_it(line))
    else {
        return "";
    };
    let body = &document[start.0 + start.1.len()..];
    let mut end = 0;
    let mut fenced = false;
    for line in body.split_inclusive('\n') {
        fenced ^= line.starts_with("```");
        if !fenced && (1..=level(start.1)).contains(&level(line)) {
            break;
        }
        end += line.len();
    }
    &body[..end]
}

/// The first cell of every row of the tables in a text, without backticks.
pub(crate) fn first_cells(text: &str) -> Vec<String> {
    let row = pattern(r"(?m)^\|\s*`([^`|]+)`\s*\|");
    row.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// What a table under a heading lists too much, too little or twice.
pub(crate) fn table(document: &str, heading: &str, wanted: &[&str]) -> Vec<String> {
    let listed = first_cells(section(document, heading));
    let (there, should): (BTreeSet<_>, BTreeSet<_>) =
        (listed.iter().map(String::as_str).collect(), wanted.iter().copied().collect());
    let mut wrong = Vec::new();
    wrong.extend(should.difference(&there).map(|word| format!("{heading}: no row for `{word}`")));
    wrong.extend(there.difference(&should).map(|word| format!("{heading}: a row for `{word}`, which is not there")));
    if listed.len() != there.len() {
        wrong.push(format!("{heading}: a row stands twice"));
    }
    wrong
}

/// The row that describes a setting.
pub(crate) fn settings_row(setting: &Described) -> String {
    let mut env = ENV_PREFIX.to_owned();
    for c in setting.name.chars() {
        if c.is_ascii_uppercase() {
            env.push('_');
        }
        env.push(c.to_ascii_uppercase());
    }
    let old = setting.old_env.map_or_else(String::new, |old| format!("`{old}`"));
    let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
    format!("| `{}` | `{env}` | {old} | {default} | {} |", setting.name, setting.about)
}

/// The codes and words of the program's exits, as src/cli/exit.rs declares them.
pub(crate) fn exit_codes(source: &str) -> Vec<String> {
    let variant = pattern(r"(?m)^    \w+ = (\d+),$");
    variant.captures_iter(source).map(|found| found[1].to_owned()).collect()
}

/// Relative links, and paths of the repository, that lead nowhere.
pub(crate) fn dead_paths(document: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let link = pattern(r"\]\(([^)#:]+)(#[^)]*)?\)");
    let path = pattern(r"`((?:src|tests|examples|manifests|migrations|benches)/[\w./-]*)`");
    let found = link.captures_iter(document).chain(path.captures_iter(document)).map(|found| found[1].to_owned());
    found.filter(|path| !exists(path.trim_end_matches('/'))).map(|path| format!("{path} is not there")).collect()
}

/// The YAML examples of a document, each with its line, without the indentation of the list it stands in.
pub(crate) fn yaml_examples(document: &str) -> Vec<(usize, String)> {
    let (mut examples, mut open): (Vec<(usize, String)>, Option<usize>) = (Vec::new(), None);
    for (at, line) in document.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (open, line.trim_start()) {
            (None, "```yaml") => {
                open = Some(indent);
                examples.push((at + 2, String::new()));
            }
            (Some(_), "```") => open = None,
            (Some(cut), _) => {
                if let Some((_, text)) = examples.last_mut() {
                    text.push_str(line.get(cut.min(indent)..).unwrap_or_default());
                    text.push('\n');
                }
            }
            (None, _) => {}
        }
    }
    examples
}

/// The names of the goals of the benchmarks, as benches/goals.rs lists them.
pub(crate) fn goals(source: &str) -> Vec<String> {
    let goal = pattern(r#"(?m)^    \("([a-z0-9-]+)", At(?:Least|Most)\("#);
    goal.captures_iter(source).map(|found| found[1].to_owned()).collect()
}

/// The questions of the benchmarks, as benches/main.rs lists them: a name, a title, and what measures it.
pub(crate) fn questions(source: &str) -> Vec<String> {
    let question = pattern(r#"\(\s*(?:"([a-z]+)"|PEERS),\s*"[^"]+",\s*\w+::measure"#);
    let name = |found: regex::Captures<'_>| found.get(1).map_or("peers", |name| name.as_str()).to_owned();
    question.captures_iter(source).map(name).collect()
}

/// The targets of a Makefile, each with whether `make help` shows it.
pub(crate) fn targets(makefile: &str) -> Vec<(String, bool)> {
    let target = pattern(r"(?m)^([a-z][\w-]*):[^=\n]*?(##[^\n]+)?$");
    target.captures_iter(makefile).map(|found| (found[1].to_owned(), found.get(2).is_some())).collect()
}

/// `make` commands in a document that the Makefile does not have.
pub(crate) fn unknown_targets(document: &str, targets: &[(String, bool)]) -> Vec<String> {
    let make = pattern(r"(?m)(?:`|^\s*(?:\$ )?)make ([a-z][\w-]*)");
    let named = make.captures_iter(document).map(|found| found[1].to_owned());
    named
        .filter(|name| !targets.iter().any(|(target, _)| target == name))
        .map(|name| format!("make {name} is not there"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# A\n## Exit codes\n| code | what |\n|---|---|\n| `0` | ok |\n| `1` | no |\n### Deeper\n| `2` | x |\n## Next\n| `9` | x |\n";

    #[test]
    fn a_section_ends_at_the_next_heading_of_its_level() {
        assert_eq!(first_cells(section(DOCUMENT, "Exit codes")), ["0", "1", "2"]);
        assert_eq!(first_cells(section(DOCUMENT, "Deeper")), ["2"]);
        assert_eq!(section(DOCUMENT, "Exit"), "");
        assert_eq!(first_cells(section("## A\n```\n# no heading\n```\n| `1` | a |\n", "A")), ["1"]);
    }

    #[test]
    fn missing_unknown_and_repeated_rows_are_found() {
        assert_eq!(table(DOCUMENT, "Exit codes", &["0", "1", "2"]), Vec::<String>::new());
        assert_eq!(table(DOCUMENT, "Exit codes", &["0", "1", "2", "3"]).len(), 1);
        assert_eq!(table(DOCUMENT, "Exit codes", &["0", "1"]).len(), 1);
        assert_eq!(table(DOCUMENT, "Nowhere", &["0"]).len(), 1);
        assert_eq!(table("# A\n| `0` | a |\n| `0` | b |\n", "A", &["0"]).len(), 1);
    }

    #[test]
    fn a_setting_is_described_by_its_names_its_default_and_what_it_does() {
        let setting = Described { name: "taskTimeout", old_env: Some("TASK_TIMEOUT"), default: "30m", about: "Why." };
        let row = "| `taskTimeout` | `MANIFESTD_TASK_TIMEOUT` | `TASK_TIMEOUT` | `30m` | Why. |";
        assert_eq!(settings_row(&setting), row);
        let setting = Described { name: "log", old_env: None, default: "", about: "Why." };
        assert_eq!(settings_row(&setting), "| `log` | `MANIFESTD_LOG` |  |  | Why. |");
    }

    #[test]
    fn yaml_examples_are_found_wherever_they_stand() {
        let document = "a\n```yaml\nb: 1\n```\n1. x\n\n   ```yaml\n   c:\n     d: 2\n\n   ```\n```\nno\n```\n";
        let examples = yaml_examples(document);
        assert_eq!(examples, [(3, "b: 1\n".to_owned()), (8, "c:\n  d: 2\n\n".to_owned())]);
    }

    #[test]
    fn exit_codes_are_read_from_the_source() {
        assert_eq!(
            exit_codes("pub enum Exit {\n    /// Ok.\n    Ok = 0,\n    No = 1,\n}\nconst A: u8 = 7;\n"),
            ["0", "1"]
        );
    }

    #[test]
    fn goals_and_questions_are_read_from_the_source() {
        assert_eq!(
            goals("    (\"a-1e6\", AtMost(1.3)),\n    (\"b\", AtLeast(0.6)),\n    (\"c\", 1),\n"),
            ["a-1e6", "b"]
        );
        let source = "(\"a\", \"(a) it: x\", a::measure),\n(\n    \"b\",\n    \"y\",\n    b::measure,\n),\n(PEERS, \"z\", peers::measure),";
        assert_eq!(questions(source), ["a", "b", "peers"]);
    }

    #[test]
    fn paths_and_targets_that_are_not_there_are_found() {
        let document = "[a](A.md) [b](B.md#x) [web](https://example.org) `src/a.rs` `src/b/` `tests/x`\n    make demo\n`make tests` to make sure\n";
        let dead = dead_paths(document, |path| ["A.md", "src/a.rs", "src/b"].contains(&path));
        assert_eq!(dead, ["B.md is not there", "tests/x is not there"]);
        let targets = targets("X := 1\ndemo: build ## Show it\nbuild:\n\tcargo build\n");
        assert_eq!(targets, [("demo".to_owned(), true), ("build".to_owned(), false)]);
        assert_eq!(unknown_targets(document, &targets), ["make tests is not there"]);
    }
}
