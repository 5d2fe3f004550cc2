//! Rules made ready: one set of regular expressions for each language says in one pass which rules are worth a look.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::rules::Rule;
use super::tree::LANGUAGES;

/// The memory one compiled expression may take; a guard against `a{1000}{1000}` in a user's rules.
const REGEX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The memory a set of expressions may take.
const SET_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most rules one tool has.
const RULES_MAX: usize = 1000;

/// The most finds of one rule in one file: a data file full of one smell says nothing new after that.
const FINDS_IN_FILE_MAX: usize = 100;

/// Rules with their expressions compiled.
#[derive(Debug)]
pub(super) struct CompiledRules {
    rules: Vec<CompiledRule>,
    /// For each language, and `other`: the rules that apply.
    by_language: BTreeMap<&'static str, Chosen>,
}

/// The rules for one language.
#[derive(Debug)]
struct Chosen {
    /// As indices into the rules.
    rules: Vec<usize>,
    /// Their expressions as one set in the same order, compiled when the language is first met. Without one (the set would take
    /// too much memory), every rule is tried by itself.
    set: OnceLock<Option<RegexSet>>,
}

/// One rule with its expressions.
#[derive(Debug)]
pub(super) struct CompiledRule {
    /// The rule as written.
    pub rule: Rule,
    pattern: Regex,
    unless: Option<Regex>,
}

/// One find in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Find<'t> {
    /// Which rule, as an index into [`CompiledRules::rules`].
    pub rule: usize,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line the find starts on.
    pub line_text: &'t str,
    /// The part that a secrets rule must not show; the whole find when the rule names no part.
    pub secret: &'t str,
}

impl CompiledRules {
    /// Compiles rules.
    ///
    /// # Errors
    /// Names the rule and what is wrong with it.
    pub(super) fn compile(rules: &[Rule]) -> Result<Self, String> {
        if rules.len() > RULES_MAX {
            return Err(format!("{} rules are more than the {RULES_MAX} one tool has", rules.len()));
        }
        let rules = rules.iter().map(compile_rule).collect::<Result<Vec<_>, _>>()?;
        let mut by_language = BTreeMap::new();
        for language in LANGUAGES.into_iter().chain(["other"]) {
            let applies =
                |r: &CompiledRule| r.rule.languages.is_empty() || r.rule.languages.iter().any(|l| l == language);
            let chosen = (0..rules.len()).filter(|i| applies(&rules[*i])).collect();
            by_language.insert(language, Chosen { rules: chosen, set: OnceLock::new() });
        }
        Ok(Self { rules, by_language })
    }

    /// The rules, in the order they were given.
    pub(super) fn rules(&self) -> &[CompiledRule] {
        &self.rules
    }

    /// Whether any rule is for this language.
    pub(super) fn has_rules_for(&self, language: &str) -> bool {
        self.by_language.get(language).is_some_and(|chosen| !chosen.rules.is_empty())
    }

    /// Finds in one text, by rule and then by place. With `comments`, finds in comment lines count too.
    pub(super) fn matches<'t>(&self, text: &'t str, language: &str, comments: bool) -> Vec<Find<'t>> {
        let Some(chosen) = self.by_language.get(language) else { return Vec::new() };
        let mut finds = Vec::new();
        for index in self.worth_a_look(chosen, text) {
            let rule = &self.rules[index];
            let mut lines = LineCounter::new(text);
            let captures = rule.pattern.captures_iter(text).take(FINDS_IN_FILE_MAX * 4);
            let mut count = 0;
            for found in captures {
                let Some(whole) = found.get(0) else { continue };
                let start = place_of(&found, whole.start(), whole.as_str());
                let around = lines_around(text, start, whole.end());
                let line_text = around.lines().next().unwrap_or_default();
                let excused = rule.unless.as_ref().is_some_and(|unless| unless.is_match(around));
                if excused || (!comments && is_comment(line_text, language)) {
                    continue;
                }
                let (line, column) = lines.place(start);
                let secret = found.name("secret").map_or(whole.as_str(), |part| part.as_str());
                finds.push(Find { rule: index, line, column, line_text, secret });
                count += 1;
                if count == FINDS_IN_FILE_MAX {
                    break;
                }
            }
        }
        finds
    }

    /// Which rules match somewhere in the text.
    fn worth_a_look(&self, chosen: &Chosen, text: &str) -> Vec<usize> {
        let build = || {
            let patterns = chosen.rules.iter().map(|i| self.rules[*i].pattern.as_str());
            RegexSetBuilder::new(patterns).multi_line(true).size_limit(SET_BYTES_MAX).build().ok()
        };
        match chosen.set.get_or_init(build) {
            Some(set) => set.matches(text).into_iter().map(|hit| chosen.rules[hit]).collect(),
            None => chosen.rules.clone(),
        }
    }
}

fn compile_rule(rule: &Rule) -> Result<CompiledRule, String> {
    let id = &rule.id;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if id.is_empty() || !id.chars().all(fits) {
        return Err(format!("rule {id:?}: an id is letters, digits, '-', '_' and '.'"));
    }
    if let Some(unknown) = rule.languages.iter().find(|l| !LANGUAGES.contains(&l.as_str())) {
        return Err(format!("rule {id}: language {unknown:?} is not one of {}", LANGUAGES.join(", ")));
    }
    let compile = |field: &str, text: &str| {
        RegexBuilder::new(text)
            .multi_line(true)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| format!("rule {id}: {field} is not a regular expression: {error}"))
    };
    let pattern = compile("pattern", &rule.pattern)?;
    if pattern.is_match("") {
        return Err(format!("rule {id}: the pattern matches the empty text, so it would match everywhere"));
    }
    let unless = rule.unless.as_deref().map(|text| compile("unless", text)).transpose()?;
    Ok(CompiledRule { rule: rule.clone(), pattern, unless })
}

/// Where a find begins: at its group `at` or `secret`, else at its first character that is not a space.
fn place_of(found: &Captures<'_>, start: usize, whole: &str) -> usize {
    let named = found.name("at").or_else(|| found.name("secret"));
    named.map_or(start + whole.len() - whole.trim_start().len(), |group| group.start())
}

/// The whole lines that a find stands on.
fn lines_around(text: &str, start: usize, end: usize) -> &str {
    let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let to = text[end..].find('\n').map_or(text.len(), |at| end + at);
    &text[from..to]
}

/// Whether a line is a comment from its first character on.
fn is_comment(line: &str, language: &str) -> bool {
    let line = line.trim_start();
    match language {
        "python" | "shell" | "yaml" | "dockerfile" | "docker_compose" => line.starts_with('#'),
        "javascript" | "typescript" | "css" => ["//", "/*", "* "].iter().any(|mark| line.starts_with(mark)),
        "html" => line.starts_with("<!--"),
        _ => false,
    }
}

/// Turns byte offsets that only grow into line and column, reading the text once.
struct LineCounter<'t> {
    text: &'t str,
    offset: usize,
    line: usize,
    line_start: usize,
}

impl<'t> LineCounter<'t> {
    const fn new(text: &'t str) -> Self {
        Self { text, offset: 0, line: 1, line_start: 0 }
    }

    fn place(&mut self, offset: usize) -> (usize, usize) {
        for (at, byte) in self.text.as_bytes()[self.offset..offset].iter().enumerate() {
            if *byte == b'\n' {
                self.line += 1;
                self.line_start = self.offset + at + 1;
            }
        }
        self.offset = offset;
        (self.line, self.text[self.line_start..offset].chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::findings::Severity;

    fn rule(pattern: &str) -> Rule {
        Rule {
            id: "x".into(),
            message: "m".into(),
            severity: Severity::High,
            cwe: 1,
            languages: vec!["python".into()],
            pattern: pattern.into(),
            unless: Some("harmless".into()),
            bad: String::new(),
            good: String::new(),
        }
    }

    #[test]
    fn a_find_has_its_line_and_column_in_characters() {
        let rules = CompiledRules::compile(&[rule(r"eval\(")]).unwrap();
        let finds = rules.matches("a\nä = eval(x)\nb eval(y)\n", "python", false);
        let places: Vec<(usize, usize)> = finds.iter().map(|f| (f.line, f.column)).collect();
        assert_eq!(places, [(2, 5), (3, 3)]);
    }

    #[test]
    fn comments_excuses_and_other_languages_are_left_out() {
        let rules = CompiledRules::compile(&[rule(r"eval\(")]).unwrap();
        let text = "  # eval(x)\neval(1) # harmless\neval(2)\n";
        assert_eq!(rules.matches(text, "python", false).len(), 1);
        assert_eq!(rules.matches(text, "python", true).len(), 2);
        assert!(rules.matches(text, "css", true).is_empty());
        assert!(!rules.has_rules_for("css") && rules.has_rules_for("python"));
    }

    #[test]
    fn finds_in_one_file_are_bounded() {
        let rules = CompiledRules::compile(&[rule("a")]).unwrap();
        assert_eq!(rules.matches(&"a\n".repeat(5000), "python", false).len(), FINDS_IN_FILE_MAX);
    }

    #[test]
    fn a_broken_rule_is_named() {
        for (pattern, part) in
            [("(", "not a regular expression"), ("a*", "matches the empty text"), ("a{900}{900}{900}", "not a")]
        {
            let message = CompiledRules::compile(&[rule(pattern)]).unwrap_err();
            assert!(message.starts_with("rule x") && message.contains(part), "{message}");
        }
        let klingon = Rule { languages: vec!["klingon".into()], ..rule("a") };
        assert!(CompiledRules::compile(&[klingon]).unwrap_err().contains("klingon"));
    }
}
