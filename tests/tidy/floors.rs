//! The floors: who may name whom, and which words stay out of the pure floors.

use crate::source::{Source, pattern, tokens};

/// The floor of every module. ARCHITECTURE.md says what each floor is for.
const FLOORS: [(&str, u8); 16] = [
    ("resource", 0),
    ("words", 0), // the macro of resource/words.rs
    ("manifest", 1),
    ("plan", 1),
    ("import", 1),
    ("verdict", 1),
    ("queue", 1),
    ("config", 1),
    ("disk", 2),
    ("store", 2),
    ("executor", 3),
    ("analyzer", 3),
    ("runtime", 4),
    ("cli", 5),
    ("server", 5),
    ("main", 5),
];

/// What the pure floors never name: the world, the clock, and chance.
const IMPURE: [&str; 8] = ["tokio", "rusqlite", "notify", "SystemTime", "Instant", "rand", "now_v7", "getrandom"];

/// Parts of `std` that the pure floors never name.
const IMPURE_STD: [&str; 5] = ["fs", "net", "process", "env", "thread"];

/// Types of crates whose `now` reads the clock.
const CLOCKS: [&str; 4] = ["Timestamp", "Zoned", "Utc", "Local"];

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// `store` for `src/store/open.rs`, with how deep below the crate the file's module lies.
fn module_of(path: &str) -> (String, usize) {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    (inner.split('/').next().unwrap_or_default().to_owned(), inner.split('/').count())
}

/// Every module of the crate that a file names: by `crate::`, by enough `super::`, and by the crate's own name.
fn named_modules(source: &Source) -> Vec<(usize, String)> {
    let tokens = tokens(&source.shipped);
    let word = |at: usize| tokens.get(at).map(|(_, word)| word.as_str());
    let (_, depth) = module_of(&source.path);
    let mut named = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let root = match token.as_str() {
            "crate" | "manifestd" if word(at + 1) == Some("::") => Some(at + 2),
            "super" if at < 2 || word(at - 2) != Some("super") => {
                let ups =
                    (0..).take_while(|up| word(at + 2 * up) == Some("super") && word(at + 2 * up + 1) == Some("::"));
                let ups = ups.count();
                (ups > 0 && ups == depth).then_some(at + 2 * ups)
            }
            _ => None,
        };
        match root.map(|root| (root, word(root))) {
            Some((root, Some("{"))) => named.extend(group(&tokens, root)),
            Some((_, Some(name))) => named.push((*line, name.to_owned())),
            Some((_, None)) | None => {}
        }
    }
    named
}

/// The first words of a `{...}` group.
fn group(tokens: &[(usize, String)], open: usize) -> Vec<(usize, String)> {
    let (mut depth, mut named) = (0, Vec::new());
    for (at, (line, token)) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            word if depth == 1 && matches!(tokens[at - 1].1.as_str(), "{" | ",") => {
                named.push((*line, word.to_owned()))
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    named
}

/// Names of floors above a file's own.
pub(crate) fn climbs(source: &Source) -> Vec<String> {
    let (own, _) = module_of(&source.path);
    if own == "lib" {
        return Vec::new();
    }
    let Some(floor) = floor_of(&own) else {
        return vec![format!("{}: module {own} has no floor; give it one in tests/tidy/floors.rs", source.path)];
    };
    let wrong = |(line, name): (usize, String)| {
        let place = format!("{}:{line}: {own} (floor {floor}) names {name}", source.path);
        match floor_of(&name) {
            None => Some(format!("{place}, which has no floor")),
            Some(other) if other > floor => Some(format!("{place} (floor {other}) above it")),
            // The two kinds of outside world: what is stored, and what runs. Only the runtime joins them; both may open files.
            Some(2) if floor == 3 && name != "disk" => {
                Some(format!("{place}; the store and floor 3 do not know each other"))
            }
            Some(_) => None,
        }
    };
    named_modules(source).into_iter().filter_map(wrong).collect()
}

/// Words of the outside world on the pure floors 0 and 1.
pub(crate) fn impurities(source: &Source) -> Vec<String> {
    if floor_of(&module_of(&source.path).0).is_none_or(|floor| floor > 1) {
        return Vec::new();
    }
    let tokens = tokens(&source.shipped);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| word.as_str());
    let mut wrong = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let mut say = |what: &str| wrong.push(format!("{}:{line}: a pure floor names {what}", source.path));
        match token.as_str() {
            token if IMPURE.contains(&token) => say(token),
            "std" if word(at + 1) == "::" => {
                let parts =
                    if word(at + 2) == "{" { group(&tokens, at + 2) } else { vec![(*line, word(at + 2).into())] };
                let bad = parts.iter().filter(|(_, part)| IMPURE_STD.contains(&part.as_str()));
                bad.for_each(|(_, part)| say(&format!("std::{part}")));
            }
            "now" if word(at + 1) == "(" && at >= 2 && CLOCKS.contains(&word(at - 2)) => say("a clock"),
            _ => {}
        }
    }
    wrong
}

/// Crates that only one folder may name.
pub(crate) fn strays(source: &Source) -> Vec<String> {
    let (own, _) = module_of(&source.path);
    let tokens = tokens(&source.shipped);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| word.as_str());
    let mut wrong = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let home = match token.as_str() {
            "serde_yaml" => "manifest",
            // A read-only connection may be handed on as it is; what is asked of it is the store's to say.
            "rusqlite" if word(at + 1) == "::" && word(at + 2) == "Connection" && floor_of(&own) >= Some(4) => continue,
            "rusqlite" | "rusqlite_migration" => "store",
            "axum" | "hyper" | "hyper_util" => "server",
            "clap" | "comfy_table" | "indicatif" | "anyhow" => "cli",
            _ => continue,
        };
        if own != home && !(home == "cli" && own == "main") {
            wrong.push(format!("{}:{line}: {token} is named outside of {home}/", source.path));
        }
    }
    wrong
}

/// SQL outside of the store.
pub(crate) fn sql(source: &Source) -> Vec<String> {
    if module_of(&source.path).0 == "store" {
        return Vec::new();
    }
    let words = pattern(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|PRAGMA|VACUUM|CREATE (TABLE|INDEX))\b");
    let wrong = source.literals.iter().filter(|(_, literal)| words.is_match(literal));
    wrong.map(|(line, literal)| format!("{}:{line}: SQL outside of store/: {literal}", source.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(check: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn a_file_that_names_a_higher_floor_is_found_however_it_names_it() {
        for (path, text, wrong) in [
            ("src/resource/a.rs", "use crate::plan::Plan;", 1),
            ("src/plan/a.rs", "use crate::{resource::time, store::Store, runtime};", 2),
            ("src/plan/a.rs", "use super::super::store::Store;", 1),
            ("src/plan/mod.rs", "fn f() { super::store::open() }", 1),
            ("src/manifest/check/a.rs", "use super::super::parse::Place;", 0),
            ("src/queue.rs", "use super::runtime::core::Core;", 1),
            ("src/store/a.rs", "fn f() -> crate::executor::Limits {}", 1),
            ("src/executor/a.rs", "use crate::store::Store;", 1),
            ("src/executor/a.rs", "use crate::disk::Directory;", 0),
            ("src/plan/a.rs", "use crate::disk::Directory;", 1),
            ("src/executor/a.rs", "use crate::{plan::Plan, verdict::frame};", 0),
            ("src/runtime/a.rs", "use crate::{\n    store,\n    executor::{Limits},\n    cli,\n};", 1),
            ("src/main.rs", "use manifestd::cli;", 0),
            ("src/cli/a.rs", "use crate::nowhere::X;", 1),
            ("src/nowhere/a.rs", "", 1),
            ("src/resource/a.rs", "// crate::store\n#[cfg(test)]\nmod tests { use crate::store::Store; }", 0),
            ("src/resource/a.rs", "crate::words! { pub enum A { B } }", 0),
            ("src/plan/a.rs", "pub(super) fn f() {} use super::write::Write;", 0),
        ] {
            assert_eq!(count(climbs, path, text), wrong, "{path}: {text}");
        }
    }

    #[test]
    fn words_of_the_outside_world_are_found_on_pure_floors_only() {
        for (path, text, wrong) in [
            ("src/plan/a.rs", "use tokio::time;", 1),
            ("src/config.rs", "use std::env;", 1),
            ("src/verdict/a.rs", "use std::{collections::HashMap, fs, net::{IpAddr}};", 2),
            ("src/resource/a.rs", "let now = jiff::Timestamp::now();", 1),
            ("src/queue.rs", "fn f(now: std::time::Instant) {}", 1),
            ("src/plan/a.rs", "let id = uuid::Uuid::now_v7();", 1),
            ("src/plan/a.rs", "let a = \"std::fs\"; // tokio\nlet b = env!(\"X\"); let c = core.now();", 0),
            ("src/store/a.rs", "use std::fs;", 0),
        ] {
            assert_eq!(count(impurities, path, text), wrong, "{path}: {text}");
        }
    }

    #[test]
    fn crates_and_sql_outside_of_their_folder_are_found() {
        assert_eq!(count(strays, "src/plan/a.rs", "use serde_yaml::Value;"), 1);
        assert_eq!(count(strays, "src/manifest/a.rs", "use serde_yaml::Value;"), 0);
        assert_eq!(count(strays, "src/cli/a.rs", "use rusqlite::params;"), 1);
        assert_eq!(count(strays, "src/cli/a.rs", "fn f(c: &rusqlite::Connection) {}"), 0);
        assert_eq!(count(strays, "src/executor/a.rs", "fn f(c: &rusqlite::Connection) {}"), 1);
        assert_eq!(count(strays, "src/runtime/a.rs", "use anyhow::bail; use axum::Router;"), 2);
        assert_eq!(count(sql, "src/cli/a.rs", "c.execute(\"SELECT 1\", [])"), 1);
        assert_eq!(count(sql, "src/cli/a.rs", "c.execute(r#\"vacuum; PRAGMA x\"#, [])"), 1);
        assert_eq!(count(sql, "src/cli/a.rs", "note(\"Select an update\") // SELECT"), 0);
        assert_eq!(count(sql, "src/store/a.rs", "c.execute(\"SELECT 1\", [])"), 0);
    }
}
