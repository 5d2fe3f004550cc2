//! The built-in tools `patterns` and `secrets`: rules over the text of an app's files.

use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::compiled_rules::{CompiledRules, Find};
use super::declaration::Builtin;
use super::sarif;
use super::tree::SourceFile;
use crate::disk::Directory;

/// Files above this size are data, not source.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The most results of one tool in one analysis.
const RESULTS_MAX: usize = 10_000;

/// The longest line that is shown as it is.
const SNIPPET_CHARS_MAX: usize = 200;

/// How much of a file is looked at to see whether it is text.
const PEEK_BYTES: usize = 8000;

/// Runs rules over files and gives one SARIF document. Blocking. Stops early when `stop` says so.
pub(super) fn scan(
    tool: &str,
    builtin: Builtin,
    rules: &CompiledRules,
    app: &Directory,
    files: &[SourceFile],
    stop: impl Fn() -> bool,
) -> Value {
    let secrets = builtin == Builtin::Secrets;
    let mut results = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        if stop() {
            break;
        }
        if results.len() >= RESULTS_MAX {
            problems.push(format!("only the first {RESULTS_MAX} results are listed"));
            break;
        }
        if file.bytes > FILE_BYTES_MAX || !rules.has_rules_for(file.language) {
            continue;
        }
        let text = match read_text(app, &file.path) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(error) => {
                problems.push(format!("{}: {error}", file.path.display()));
                continue;
            }
        };
        let uri = sarif::uri_of(&file.path);
        let mut finds = rules.matches(&text, file.language, secrets);
        finds.sort_by_key(|find| (find.line, find.column, find.rule));
        results.extend(finds.iter().map(|find| result_of(rules, find, &uri, secrets)));
    }
    results.truncate(RESULTS_MAX);
    problems.truncate(100);
    let used: Vec<Value> = rules.rules().iter().map(|compiled| rule_of(&compiled.rule)).collect();
    sarif::document(tool, Some(env!("CARGO_PKG_VERSION")), used, results, &problems)
}

/// The text of a file, or nothing when it is not text. Odd bytes in a text become replacement characters.
fn read_text(app: &Directory, path: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    // The file may have grown since the walk, so the limit is kept here too; and what has become a link is not followed.
    app.open_file(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let peek = &bytes[..bytes.len().min(PEEK_BYTES)];
    if bytes.len() as u64 > FILE_BYTES_MAX || peek.contains(&0) {
        return Ok(None);
    }
    Ok(Some(String::from_utf8(bytes).unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned())))
}

fn rule_of(rule: &super::rules::Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.message },
        "defaultConfiguration": { "level": sarif::level_of(rule.severity) },
        "helpUri": format!("https://cwe.mitre.org/data/definitions/{}.html", rule.cwe),
        "properties": { "tags": ["security", format!("external/cwe/cwe-{}", rule.cwe)] },
    })
}

fn result_of(rules: &CompiledRules, find: &Find<'_>, uri: &str, secrets: bool) -> Value {
    let rule = &rules.rules()[find.rule].rule;
    let mut region = json!({ "startLine": find.line, "startColumn": find.column });
    let message = if secrets {
        format!("{} Found: {}.", rule.message, mask(find.secret))
    } else {
        let shown: String = find.line_text.trim().chars().take(SNIPPET_CHARS_MAX).collect();
        region["snippet"] = json!({ "text": shown });
        rule.message.clone()
    };
    json!({
        "ruleId": rule.id,
        "ruleIndex": find.rule,
        "level": sarif::level_of(rule.severity),
        "message": { "text": message },
        "locations": [{ "physicalLocation": { "artifactLocation": { "uri": uri }, "region": region } }],
    })
}

/// What may be said of a secret: at most a quarter of it, never more than its first four characters, and its length.
fn mask(secret: &str) -> String {
    let count = secret.chars().count();
    let first: String = secret.lines().next().unwrap_or_default().chars().take((count / 4).min(4)).collect();
    format!("{first}*** ({count} characters)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::shipped::rules_of;

    fn run(builtin: Builtin, files: &[(&str, &'static str, &[u8])]) -> Value {
        let directory = tempfile::tempdir().unwrap();
        let mut listed = Vec::new();
        for (path, language, bytes) in files {
            std::fs::write(directory.path().join(path), bytes).unwrap();
            listed.push(SourceFile { path: path.into(), language, bytes: bytes.len() as u64 });
        }
        let rules = CompiledRules::compile(&rules_of(Some(builtin)).unwrap()).unwrap();
        scan("it", builtin, &rules, &Directory::open(directory.path()).unwrap(), &listed, || false)
    }

    fn results(document: &Value) -> &Vec<Value> {
        document["runs"][0]["results"].as_array().unwrap()
    }

    #[test]
    fn a_smell_is_found_at_its_place_with_the_line() {
        let document = run(Builtin::Patterns, &[("a b.py", "python", b"x = 1\n    y = eval(x)\n")]);
        let result = &results(&document)[0];
        assert_eq!(result["ruleId"], "py-eval");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.py");
        assert_eq!((&place["region"]["startLine"], &place["region"]["startColumn"]), (&json!(2), &json!(9)));
        assert_eq!(place["region"]["snippet"]["text"], "y = eval(x)");
    }

    #[test]
    fn a_secret_is_never_copied_into_the_result() {
        // Put together here, so that no scanner of this repository takes it for a leaked key.
        let secret = format!("{}{}", "AKIA", "QYLPMN5HHHFPZAM2");
        let text = format!("# {secret}\nPASSWORD = 'correct-horse-battery'\n");
        let document = run(Builtin::Secrets, &[("a.py", "python", text.as_bytes())]);
        assert!(results(&document).len() >= 2, "{document:#}");
        let written = document.to_string();
        assert!(!written.contains(&secret) && !written.contains("battery"), "{written}");
        assert!(written.contains("AKIA*** (20 characters)"), "{written}");
    }

    #[test]
    fn a_file_that_has_become_a_link_since_the_walk_is_not_read() {
        let (app, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(app.path().join("s")).unwrap();
        std::fs::write(outside.path().join("a.py"), "eval(x)\n").unwrap();
        let held = Directory::open(app.path()).unwrap();
        for path in ["a.py", "s/a.py"] {
            std::fs::write(app.path().join(path), "eval(x)\n").unwrap();
        }
        let files: Vec<SourceFile> = crate::analyzer::tree::Tree::walk(&held, || false).files;
        let rules = CompiledRules::compile(&rules_of(Some(Builtin::Patterns)).unwrap()).unwrap();
        let look = || scan("it", Builtin::Patterns, &rules, &held, &files, || false);
        assert_eq!(results(&look()).len(), 2);
        std::fs::remove_file(app.path().join("a.py")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("a.py"), app.path().join("a.py")).unwrap();
        std::fs::remove_dir_all(app.path().join("s")).unwrap();
        std::os::unix::fs::symlink(outside.path(), app.path().join("s")).unwrap();
        let document = look();
        assert!(results(&document).is_empty(), "{document:#}");
        assert!(document.to_string().contains("s/a.py"), "what could not be read is said: {document:#}");
    }

    #[test]
    fn binary_and_huge_files_are_left_alone() {
        let huge = [b"eval(x)\n".repeat(200_000)].concat();
        let document = run(Builtin::Patterns, &[("a.py", "python", b"eval(x)\0"), ("b.py", "python", &huge)]);
        assert!(results(&document).is_empty());
    }

    #[test]
    fn a_short_secret_shows_next_to_nothing() {
        assert_eq!(mask("abc"), "*** (3 characters)");
        assert_eq!(mask("abcdefgh"), "ab*** (8 characters)");
        assert_eq!(mask(&"x".repeat(99)), "xxxx*** (99 characters)");
    }
}
