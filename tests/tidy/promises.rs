//! Promises that name their proof: the table of what can no longer happen and the claims of SECURITY.md, with the tests that they name, and
//! settings that are read somewhere.

use crate::documents::section;
use crate::source::{Source, pattern};

/// The heading of the table.
pub(crate) const HEADING: &str = "What can no longer happen";

/// The rows of the table: each with its number and its last cell, the proof.
fn rows(document: &str) -> Vec<(usize, &str)> {
    let rows = section(document, HEADING).lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        Some((cells.first()?.parse().ok()?, *cells.last()?))
    });
    rows.collect()
}

/// Rows that are missing, stand twice or are too many.
pub(crate) fn numbering(document: &str, last: usize) -> Vec<String> {
    let rows = rows(document);
    let of = |wanted: usize| rows.iter().filter(|(number, _)| *number == wanted).count();
    let wrong = (1..=last).filter(|number| of(*number) != 1);
    let mut wrong: Vec<String> =
        wrong.map(|number| format!("{HEADING}: {} rows for {number}, not one", of(number))).collect();
    let more = rows.iter().filter(|(number, _)| !(1..=last).contains(number));
    wrong.extend(more.map(|(number, _)| format!("{HEADING}: a row {number}, but there are {last}")));
    wrong
}

/// Rows that prove nothing: neither a test nor a word on why it is impossible, or a test that is not there. A test is named by its suite, its
/// module and its name, or by its file under src/ and its name.
pub(crate) fn unproven(document: &str, sources: &[&Source]) -> Vec<String> {
    let rows = rows(document).into_iter();
    rows.flat_map(|(number, proof)| of_row(&format!("{HEADING}: row {number}"), proof, sources)).collect()
}

/// The same for the tables below a heading whose rows are claims, each with its proof in its last cell; and headings without any.
pub(crate) fn unproven_claims(document: &str, heading: &str, sources: &[&Source]) -> Vec<String> {
    let rows = section(document, heading).lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::trim).collect();
        (cells != ["claim", "proof"]).then(|| (cells[0].to_owned(), *cells.last().unwrap_or(&"")))
    });
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return vec![format!("{heading}: nothing is claimed")];
    }
    rows.flat_map(|(claim, proof)| of_row(&format!("{heading}: {claim:?}"), proof, sources)).collect()
}

fn of_row(row: &str, proof: &str, sources: &[&Source]) -> Vec<String> {
    let named = pattern(r"`((?:\w+|src/[\w/]+\.rs)(?:::\w+)+)`");
    let mut wrong = Vec::new();
    let mut tests = named.captures_iter(proof).map(|found| found[1].to_owned()).peekable();
    if tests.peek().is_none() && !proof.starts_with("impossible: ") {
        wrong.push(format!("{row} names no test and does not say `impossible: ...`"));
    }
    let missing = tests.filter(|test| !sources.iter().any(|source| has_test(source, test)));
    wrong.extend(missing.map(|test| format!("{row} names {test}, which is no test")));
    wrong
}

/// Whether a file has the test that is called so. The whole text is looked at, since tests of a property stand within a macro.
fn has_test(source: &Source, test: &str) -> bool {
    let Some((place, name)) = test.rsplit_once("::") else { return false };
    let path =
        if place.starts_with("src/") { place.to_owned() } else { format!("tests/{}.rs", place.replace("::", "/")) };
    let attributes = r"#\[(?:tokio::)?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*";
    source.path == path && pattern(&format!(r"{attributes}(?:async\s+)?fn\s+{name}\s*\(")).is_match(&source.code)
}

/// Settings whose value nobody reads but the check for contradictions, so that they would do nothing. The fields are those of the table in
/// src/config.rs.
pub(crate) fn unread_settings(config: &str, sources: &[&Source]) -> Vec<String> {
    let field = pattern(r#"(?m)^    (\w+): [\w<>]+, "\w+", "#);
    let is_read = |field: &str| {
        let read = pattern(&format!(r"\b(?:settings(?:\(\))?|self)\s*\.\s*{field}\b"));
        sources.iter().any(|source| source.path != "src/config/contradictions.rs" && read.is_match(&source.shipped))
    };
    let fields: Vec<String> = field.captures_iter(config).map(|found| found[1].to_owned()).collect();
    if fields.is_empty() {
        return vec!["src/config.rs: the table of settings is not there".to_owned()];
    }
    let unread = fields.into_iter().filter(|field| !is_read(field));
    unread.map(|field| format!("src/config.rs: the setting {field} is read nowhere, so it does nothing")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_missing_or_stand_twice_are_found() {
        let table =
            format!("## {HEADING}\n| # | a | proof |\n|---|---|---|\n| 1 | a | x |\n| 3 | b | x |\n| 3 | c | x |\n");
        assert_eq!(numbering(&table, 3).len(), 2, "{:?}", numbering(&table, 3));
        assert_eq!(numbering(&table, 2).len(), 3, "two rows too many, one missing");
        assert_eq!(numbering("no such heading", 1).len(), 1);
    }

    #[test]
    fn a_row_without_a_test_that_is_there_is_found() {
        let suite = Source::new("tests/a/b.rs", "#[test]\nfn it_holds() {}\nfn no_test() {}\n// #[test] fn told() {}");
        let unit = Source::new("src/a/c.rs", "#[tokio::test(start_paused = true)]\n#[cfg(unix)]\nasync fn waits() {}");
        let check = |proof: &str| unproven(&format!("## {HEADING}\n| 1 | a | {proof} |\n"), &[&suite, &unit]).len();
        for good in ["`a::b::it_holds`", "`src/a/c.rs::waits`, `a::b::it_holds`", "impossible: a closed type"] {
            assert_eq!(check(good), 0, "{good}");
        }
        for bad in ["", "trust us", "`a::b::no_test`", "`a::b::told`", "`a::it_holds`", "`src/a/c.rs::waits_not`"] {
            assert_eq!(check(bad), 1, "{bad}");
        }
        assert_eq!(check("impossible: see `a::b::gone`"), 1, "what is named must be there");
    }

    #[test]
    fn a_claim_without_a_test_that_is_there_is_found() {
        let suite = Source::new("tests/a.rs", "#[test]\nfn it_holds() {}");
        let check = |rows: &str| {
            unproven_claims(
                &format!("## It\n### One\n| claim | proof |\n|---|---|\n{rows}## Next\n| x | y |\n"),
                "It",
                &[&suite],
            )
            .len()
        };
        assert_eq!(check("| fine | `a::it_holds` |\n"), 0);
        assert_eq!(
            check(
                "| fine | `a::it_holds` |\n### Two\n| claim | proof |\n|---|---|\n| not | `a::gone` |\n| nor this | words |\n"
            ),
            2
        );
        assert_eq!((check(""), unproven_claims("", "It", &[]).len()), (1, 1));
    }

    #[test]
    fn a_setting_that_nobody_reads_is_found() {
        let table = "    one_two: u32, \"oneTwo\", None, \"1\", \"What.\";\n";
        let check = |path, text| unread_settings(table, &[&Source::new(path, text)]).len();
        assert_eq!(check("src/a.rs", "fn f() { g(core.settings.one_two) }"), 0);
        assert_eq!(check("src/a.rs", "fn f() { other.one_two; } // settings.one_two"), 1);
        assert_eq!(check("src/config/contradictions.rs", "fn f() { settings.one_two }"), 1);
        assert_eq!(unread_settings("", &[]).len(), 1);
    }
}
