//! Any text as a file of tool declarations: it is refused with a reason or gives tools that the analyzer takes.

use manifestd::analyzer::load_tools;

use super::corpus::{files, texts};

pub(crate) const WORDS: &[&str] = &[
    "tools:\n",
    "- name: a\n",
    "  argv: [a, \"${files}\"]\n",
    "  builtin: patterns\n",
    "  output: json\n",
    "  mapping:\n",
    "    items: /a\n",
    "    line: /l\n",
    "    rule: /r\n",
    "    message: /m\n",
    "  globs: [\"*.py\", \"!a\", \"**/b\", \"[\"]\n",
    "  rules:\n",
    "  - {id: r, pattern: \"(a+)+$\", message: m}\n",
    "  timeout: 5m\n",
    "  successExitCodes: [0, 1]\n",
    "  env: {A: b}\n",
    "  languages: [python]\n",
    "  detect: [a, --version]\n",
    "${config.key:-x}",
    "${app.path}",
    "${",
    "\\p{L}{1000}",
    "(?i)",
    "(?:",
    "x{1,100000}",
    "severity:",
    "{}",
    "[]",
    "&a ",
    "*a",
    "~",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = files("src/analyzer/tools", &["yaml"]);
    seeds.extend(texts(&[
        "tools:\n- {name: noop, builtin: noop}\n",
        "tools:\n- {name: a, argv: [a, \"${files}\"], globs: [\"*.py\"], output: json, mapping: {items: /r, line: /l, rule: /c, message: /m, severity: {at: /s, high: [E]}}}\n",
        "tools:\n- {name: p, builtin: patterns, rules: [{id: r, pattern: \"eval\\\\(\", message: m, severity: high}]}\n",
    ]));
    seeds
}

/// What must hold of any text.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match load_tools("tools.yaml", text) {
        Err(refused) => assert!(!refused.0.trim().is_empty(), "refused without a reason"),
        Ok(tools) => {
            let mut names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "a tool twice");
            for tool in &tools {
                assert!(
                    tool.builtin.is_some() == tool.argv.is_empty(),
                    "neither a program nor built in, or both: {tool:?}"
                );
                assert!(tool.argv.iter().chain(&tool.detect).all(|argument| !argument.contains('\0')), "{tool:?}");
            }
            assert_eq!(load_tools("tools.yaml", text).as_ref(), Ok(&tools), "the same text, read twice");
        }
    }
}
