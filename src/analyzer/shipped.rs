//! The tools and rules that come with the program, read from `tools/`.

use serde::Deserialize;

use super::declaration::{BadTools, Builtin, ToolDeclaration, load_tools};
use super::rules::Rule;
use crate::manifest::typed::typed;

/// The shipped declarations, by file name.
const TOOLS: [(&str, &str); 6] = [
    ("tools/bandit.yaml", include_str!("tools/bandit.yaml")),
    ("tools/builtin.yaml", include_str!("tools/builtin.yaml")),
    ("tools/eslint.yaml", include_str!("tools/eslint.yaml")),
    ("tools/ruff.yaml", include_str!("tools/ruff.yaml")),
    ("tools/semgrep.yaml", include_str!("tools/semgrep.yaml")),
    ("tools/shellcheck.yaml", include_str!("tools/shellcheck.yaml")),
];

/// The shipped rules of `patterns`, in three files.
const PATTERNS: [(&str, &str); 3] = [
    ("tools/rules/patterns.yaml", include_str!("tools/rules/patterns.yaml")),
    ("tools/rules/patterns-javascript.yaml", include_str!("tools/rules/patterns-javascript.yaml")),
    ("tools/rules/patterns-other.yaml", include_str!("tools/rules/patterns-other.yaml")),
];

/// The shipped rules of `secrets`.
const SECRETS: [(&str, &str); 1] = [("tools/rules/secrets.yaml", include_str!("tools/rules/secrets.yaml"))];

/// The format of a rules file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    rules: Vec<Rule>,
}

/// The tools that come with the program: the built-in ones, and declarations of well-known ones that are used when they
/// are found on PATH.
///
/// # Errors
/// [`BadTools`] when a shipped file is broken, which the tests of this file rule out.
pub fn shipped_tools() -> Result<Vec<ToolDeclaration>, BadTools> {
    let mut tools = Vec::new();
    for (label, text) in TOOLS {
        tools.extend(load_tools(label, text)?);
    }
    Ok(tools)
}

/// The shipped rules of a built-in tool.
pub(super) fn rules_of(builtin: Option<Builtin>) -> Result<Vec<Rule>, BadTools> {
    let files: &[(&str, &str)] = match builtin {
        Some(Builtin::Patterns) => &PATTERNS,
        Some(Builtin::Secrets) => &SECRETS,
        Some(Builtin::Noop) | None => &[],
    };
    let mut rules = Vec::new();
    for (label, text) in files {
        let file: RulesFile = typed(label, text).map_err(BadTools)?;
        rules.extend(file.rules);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::compiled_rules::CompiledRules;

    #[test]
    fn every_shipped_file_loads() {
        let names: Vec<String> = shipped_tools().unwrap().into_iter().map(|tool| tool.name).collect();
        for name in ["bandit", "eslint", "noop", "patterns", "ruff", "secrets", "semgrep", "shellcheck"] {
            assert!(names.iter().any(|n| n == name), "{name} is not among {names:?}");
        }
    }

    #[test]
    fn every_rule_finds_its_bad_example_and_leaves_its_good_one_alone() {
        let mut wrong = Vec::new();
        for builtin in [Builtin::Patterns, Builtin::Secrets] {
            let comments = builtin == Builtin::Secrets;
            for rule in &rules_of(Some(builtin)).unwrap() {
                let compiled = CompiledRules::compile(std::slice::from_ref(rule)).unwrap();
                let language = rule.languages.first().map_or("other", String::as_str);
                // `~` breaks up examples that scanners of this repository would take for leaked keys.
                let bad = if comments { rule.bad.replace('~', "") } else { rule.bad.clone() };
                if compiled.matches(&bad, language, comments).is_empty() {
                    wrong.push(format!("{}: the bad example is not found: {bad}", rule.id));
                }
                if !compiled.matches(&rule.good, language, comments).is_empty() {
                    wrong.push(format!("{}: the good example is found: {}", rule.id, rule.good));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn the_shipped_rules_are_many_and_have_names_of_their_own() {
        let patterns = rules_of(Some(Builtin::Patterns)).unwrap();
        let secrets = rules_of(Some(Builtin::Secrets)).unwrap();
        assert!(patterns.len() >= 30, "{} pattern rules", patterns.len());
        assert!(secrets.len() >= 10, "{} secret rules", secrets.len());
        let mut ids: Vec<&str> = patterns.iter().chain(&secrets).map(|rule| rule.id.as_str()).collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
