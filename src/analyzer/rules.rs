//! A rule of the built-in tools, as it is written in YAML.

use serde::Deserialize;

use crate::resource::findings::Severity;

/// One thing to look for in source text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// The rule's name in results, such as `py-eval`.
    pub id: String,
    /// What is wrong and what to do, in one sentence or two.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
    /// The weakness, as its number in the CWE list (<https://cwe.mitre.org>).
    pub cwe: u32,
    /// The languages it is for. Without any: every text file.
    #[serde(default)]
    pub languages: Vec<String>,
    /// What to look for: a regular expression in the syntax of the crate `regex`, over the whole file, with `^` and `$` at lines.
    /// The group `at`, if there is one, is the place of the find. For secrets, the group `secret` names the part that must not be shown.
    pub pattern: String,
    /// A find is dropped when this matches the lines it stands on.
    #[serde(default)]
    pub unless: Option<String>,
    /// Text that the rule must find.
    pub bad: String,
    /// Text that the rule must leave alone.
    pub good: String,
}
