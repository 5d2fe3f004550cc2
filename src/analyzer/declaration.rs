//! What a tool is: its declaration in YAML, and the checks that make a declaration safe to run.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::rules::Rule;
use super::{argv, shipped};
use crate::manifest::typed::typed;
use crate::resource::name::check_name;
use crate::resource::time::Span;

/// The most tools one analyzer has.
const TOOLS_MAX: usize = 256;

/// Why tools could not be loaded: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTools(pub String);

/// One tool: a program outside, or one of the built-in ones.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolDeclaration {
    /// The name clients ask for.
    pub name: String,
    /// The languages it is for. Its entry stands under the only one, or under `general` when there are none or several.
    #[serde(default)]
    pub languages: Vec<String>,
    /// Which files it is for, as gitignore patterns such as `*.py`. Without any: every file.
    #[serde(default)]
    pub globs: Vec<String>,
    /// A tool inside this program; then `argv`, `detect` and `output` stay empty.
    #[serde(default)]
    pub builtin: Option<Builtin>,
    /// A command that exits with 0 when the tool is installed. Its first number with dots is taken for the version.
    #[serde(default)]
    pub detect: Vec<String>,
    /// The command: never through a shell. `${app.path}`, `${app.model}`, `${app.number}` and `${config.KEY:-default}` (from the
    /// request's `config.<tool>`) are replaced; an argument that is exactly `${files}` becomes one argument for each matching file.
    #[serde(default)]
    pub argv: Vec<String>,
    /// What the command writes to standard output.
    #[serde(default)]
    pub output: Output,
    /// How JSON output becomes SARIF. Without it, JSON is kept as it is and counted when it is a list.
    #[serde(default)]
    pub mapping: Option<Mapping>,
    /// Exit codes that mean the tool did its work. Linters often use 1 for "findings".
    #[serde(default = "only_zero")]
    pub success_exit_codes: Vec<i32>,
    /// How long one run may take. Without it: the analyzer's own limit.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// More environment for the command.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Runs only when a request names it, never as one of "all tools".
    #[serde(default)]
    pub only_by_name: bool,
    /// The rules of `patterns` and `secrets`. Without any: the shipped ones.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// A tool inside this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Builtin {
    /// Regular expressions over the source text, comments left out.
    Patterns,
    /// The same for secrets: comments count, and what was found is masked.
    Secrets,
    /// Looks at nothing and succeeds: at once, or after the request's `config.<tool>.delayMs`, from 0 to 600,000; stopped, it ends at
    /// once. For trials and benchmarks.
    Noop,
}

/// What a command writes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Output {
    /// One SARIF 2.1.0 document.
    Sarif,
    /// One JSON document.
    Json,
    /// Nothing to read: the exit code alone says whether it worked.
    #[default]
    ExitCode,
}

/// How a JSON document becomes SARIF results. Every path is a JSON Pointer (RFC 6901) into one item, except the
/// first three.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mapping {
    /// For tools that group their items by file: where the list of groups is, from the document. `items` then starts at a group.
    #[serde(default)]
    pub groups: Option<String>,
    /// Where the file of a group is, from the group.
    #[serde(default)]
    pub group_file: Option<String>,
    /// Where the list of items is, from the document or the group.
    pub items: String,
    /// The file's path, absolute or relative to the app.
    #[serde(default)]
    pub file: Option<String>,
    /// The line, from 1.
    pub line: String,
    /// The last line.
    #[serde(default)]
    pub end_line: Option<String>,
    /// The column.
    #[serde(default)]
    pub column: Option<String>,
    /// The column after the last character.
    #[serde(default)]
    pub end_column: Option<String>,
    /// The number of the tool's first column; SARIF's is 1.
    #[serde(default = "one")]
    pub column_base: u64,
    /// The rule: a text or a number.
    pub rule: String,
    /// Put in front of the rule, for tools that give a bare number.
    #[serde(default)]
    pub rule_prefix: String,
    /// A web page about the rule.
    #[serde(default)]
    pub help_uri: Option<String>,
    /// The number of the weakness (CWE).
    #[serde(default)]
    pub cwe: Option<String>,
    /// What is wrong.
    pub message: String,
    /// How bad it is.
    #[serde(default)]
    pub severity: Option<SeverityWords>,
    /// What the tool could not do, such as read a file with broken syntax.
    #[serde(default)]
    pub problems: Option<Problems>,
}

/// Where a tool says how bad an item is, and in which words. Any other word is medium.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeverityWords {
    /// Where the word or number is.
    pub path: String,
    /// Words for high.
    #[serde(default)]
    pub high: Vec<String>,
    /// Words for low.
    #[serde(default)]
    pub low: Vec<String>,
}

/// Where a tool lists what it could not do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Problems {
    /// Where the list is, from the document.
    pub items: String,
    /// The file, from one problem.
    pub file: String,
    /// What went wrong, from one problem.
    pub message: String,
}

/// The file format: a list of tools.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolsFile {
    tools: Vec<ToolDeclaration>,
}

const fn one() -> u64 {
    1
}

fn only_zero() -> Vec<i32> {
    vec![0]
}

/// Reads the tools of one YAML text: `tools: [...]`. `label` names the text in messages.
///
/// # Errors
/// [`BadTools`] says `label:line:column` and what is wrong, or which tool is not safe to run and why.
pub fn load_tools(label: &str, text: &str) -> Result<Vec<ToolDeclaration>, BadTools> {
    let ToolsFile { mut tools } = typed(label, text).map_err(BadTools)?;
    for tool in &mut tools {
        if tool.rules.is_empty() {
            tool.rules = shipped::rules_of(tool.builtin)?;
        }
    }
    check_tools(&tools).map_err(|BadTools(problem)| BadTools(format!("{label}: {problem}")))?;
    Ok(tools)
}

/// Checks tools that will be served together.
pub(super) fn check_tools(tools: &[ToolDeclaration]) -> Result<(), BadTools> {
    if tools.len() > TOOLS_MAX {
        return Err(BadTools(format!("{} tools are more than the {TOOLS_MAX} one analyzer has", tools.len())));
    }
    let mut names = BTreeSet::new();
    for tool in tools {
        let name = &tool.name;
        check_tool(tool).map_err(|problem| BadTools(format!("tool {name:?}: {problem}")))?;
        if !names.insert(name) {
            return Err(BadTools(format!("tool {name:?} is declared twice: give each tool its own name")));
        }
    }
    Ok(())
}

fn check_tool(tool: &ToolDeclaration) -> Result<(), String> {
    check_name(&tool.name).map_err(|bad| bad.to_string())?;
    for language in &tool.languages {
        // An entry stands under its language, and keys with `_` in front are not tools.
        if language.is_empty() || !language.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            return Err(format!("{language:?} is not a language: lower-case letters, digits and '_'"));
        }
        if language.starts_with('_') {
            return Err(format!("language {language:?} must not start with '_'"));
        }
    }
    if tool.builtin.is_some() {
        if !tool.argv.is_empty() || !tool.detect.is_empty() || tool.mapping.is_some() {
            return Err("a built-in tool has no argv, detect or mapping".into());
        }
        return super::compiled_rules::CompiledRules::compile(&tool.rules).map(drop);
    }
    if tool.argv.is_empty() || tool.detect.is_empty() {
        return Err("argv and detect are needed, such as detect: [ruff, --version]".into());
    }
    if !tool.rules.is_empty() {
        return Err("rules are for the built-in tools patterns and secrets".into());
    }
    if tool.mapping.is_some() && tool.output != Output::Json {
        return Err("a mapping is for output: json".into());
    }
    if tool.mapping.as_ref().is_some_and(|m| m.file.is_none() && m.group_file.is_none()) {
        return Err("the mapping needs file or groupFile".into());
    }
    argv::check(&tool.argv)
}

impl ToolDeclaration {
    /// Where this tool's entry stands in a result.
    #[must_use]
    pub fn section(&self) -> &str {
        match self.languages.as_slice() {
            [only] => only,
            _ => GENERAL,
        }
    }
}

/// The section of tools for no language in particular, and of tools nobody knows.
pub(super) const GENERAL: &str = "general";

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        load_tools("tools.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_tool_in_yaml_becomes_a_declaration_with_defaults() {
        let text = "tools:\n- name: ruff\n  languages: [python]\n  globs: ['*.py']\n  detect: [ruff, --version]\n  argv: [ruff, '${app.path}']\n  output: sarif\n  successExitCodes: [0, 1]\n  timeout: 5m\n";
        let tools = load_tools("tools.yaml", text).unwrap();
        assert_eq!(tools[0].timeout, Some(Span::minutes(5)));
        assert_eq!(tools[0].success_exit_codes, [0, 1]);
        assert_eq!(tools[0].section(), "python");
    }

    #[test]
    fn a_broken_declaration_says_where_and_what() {
        assert!(problem("tools:\n- name: x\n  colour: red\n").starts_with("tools.yaml:3:"));
        assert!(problem("tools:\n- name: x\n").contains("argv and detect are needed"));
        assert!(problem("tools:\n- {name: X y, builtin: noop}\n").contains("is not a name"));
        assert!(problem("tools:\n- {name: x, builtin: noop}\n- {name: x, builtin: noop}\n").contains("declared twice"));
        assert!(problem("tools:\n- {name: x, detect: [x], argv: [x, '${home}']}\n").contains("${home}"));
        assert!(problem("tools:\n- {name: x, builtin: noop, languages: [_x]}\n").contains("must not start with '_'"));
        assert!(problem("tools:\n- {name: x, builtin: noop, argv: [x]}\n").contains("has no argv"));
    }

    #[test]
    fn a_built_in_without_rules_takes_the_shipped_ones() {
        let tools = load_tools("tools.yaml", "tools:\n- {name: mine, builtin: patterns}\n").unwrap();
        assert!(tools[0].rules.len() >= 30);
        assert_eq!(tools[0].section(), GENERAL);
    }
}
