//! Revisions of definitions with the real program: what makes one, what `history`, `diff`, `rollback` and `trace` say and do, and what they refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::support::daemon::{Home, document, quick};

/// A pipeline of one step with this parameter and these lines before it.
fn pipeline(head: &str, word: &str) -> String {
    format!(
        "{head}apiVersion: manifestd.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: study}}\nspec:\n  params: {{word: {word}}}\n  steps:\n    - {{name: only, analyzer: quick, config: {{word: '${{params.word}}'}}}}\n"
    )
}

/// A workspace with the analyzer, mirrored.
fn home() -> Home {
    let home = Home::new("");
    home.drop_in("quick.yaml", &quick());
    home
}

/// Drops the pipeline's file and lets a controller do what follows.
fn mirror(home: &Home, text: &str) {
    home.drop_in("study.yaml", text);
    reconcile(home);
}

fn reconcile(home: &Home) {
    assert_eq!(home.run(&["reconcile", "--once"]).code, 0, "{}", home.dump());
}

fn history(home: &Home, object: &str) -> Vec<Value> {
    home.run(&["history", object, "-o", "json"]).json().as_array().unwrap().clone()
}

/// Revision and generation of each, newest first.
fn numbers(home: &Home, object: &str) -> Vec<(i64, i64)> {
    let of = |revision: &Value, field: &str| revision[field].as_i64().unwrap();
    history(home, object).iter().map(|one| (of(one, "revision"), of(one, "generation"))).collect()
}

fn runs(home: &Home) -> i64 {
    home.database().query_row("SELECT count(*) FROM run", [], |row| row.get(0)).unwrap()
}

fn written(home: &Home) -> String {
    fs::read_to_string(home.path("manifests/study.yaml")).unwrap()
}

#[test]
fn a_rollback_restores_the_old_text_byte_for_byte_and_a_new_generation_and_run_follow() {
    let home = home();
    let (first, second) = (pipeline("# one\n", "a"), pipeline("", "b"));
    mirror(&home, &first);
    mirror(&home, &second);
    mirror(&home, &pipeline("", "c"));
    assert_eq!(numbers(&home, "pipeline/study"), [(3, 3), (2, 2), (1, 1)]);
    let old = history(&home, "pipeline/study")[2]["digest"].clone();
    let diff = home.run(&["diff", "pipeline/study", "--from", "1", "--to", "2"]);
    assert_eq!(diff.code, 1);
    assert!(diff.out.contains("\n-# one\n") && diff.out.contains("\n+  params: {word: b}\n"), "{}", diff.out);
    let latest = home.run(&["diff", "pipeline/study"]);
    assert!(latest.out.contains("\n-  params: {word: b}\n+  params: {word: c}\n"), "{}", latest.out);

    let file = home.path("manifests/study.yaml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let plan = home.run(&["rollback", "pipeline/study", "--to", "1"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    assert!(plan.out.contains("\n+# one\n") && plan.err.contains("--write"), "{}{}", plan.out, plan.err);
    assert_eq!(written(&home), pipeline("", "c"), "it only shows");
    home.run(&["rollback", "pipeline/study", "--to", "1", "--write"]).ok();
    assert_eq!(written(&home), first);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(numbers(&home, "pipeline/study").len(), 3, "only the mirror changes the state");
    assert_eq!(runs(&home), 3);
    reconcile(&home);
    assert_eq!(numbers(&home, "pipeline/study")[0], (4, 4));
    assert_eq!(history(&home, "pipeline/study")[0]["digest"], old);
    assert_eq!(runs(&home), 4);
    assert!(home.run(&["describe", "run", "study-g4"]).ok().contains("generation 4, revision 4"));
    let again = home.run(&["rollback", "pipeline/study", "--to", "1", "--write"]);
    assert!(again.code == 0 && again.err.contains("nothing to do"), "{}", again.err);
}

#[test]
fn a_comment_is_a_revision_and_no_generation_and_starts_nothing() {
    let home = home();
    mirror(&home, &pipeline("", "a"));
    mirror(&home, &pipeline("# said\n", "a"));
    assert_eq!(numbers(&home, "pipeline/study"), [(2, 1), (1, 1)]);
    assert_eq!(runs(&home), 1);
    reconcile(&home);
    assert_eq!(numbers(&home, "pipeline/study").len(), 2, "nothing changed, nothing is revised");
}

#[test]
fn only_one_document_of_a_file_is_put_back_and_the_others_have_no_new_revision() {
    let home = home();
    let pool = |slots: u32| document("Pool", "gpu", &format!("{{slots: {slots}}} # of {slots}"));
    let file = |slots: u32, priority: &str| {
        format!(
            "# head\n{}# about the study\n---\n{}{}",
            pool(slots),
            pipeline("", priority),
            document("Pool", "last", "{slots: 1}")
        )
    };
    mirror(&home, &file(1, "a"));
    mirror(&home, &file(2, "a"));
    mirror(&home, &file(2, "b"));
    assert_eq!(numbers(&home, "pool/gpu"), [(2, 2), (1, 1)]);
    assert_eq!(numbers(&home, "pool/last"), [(1, 1)]);
    home.run(&["rollback", "pool/gpu", "--to", "1", "--write"]).ok();
    assert_eq!(written(&home), file(1, "b"));
    reconcile(&home);
    assert_eq!((numbers(&home, "pool/gpu")[0], numbers(&home, "pipeline/study").len()), ((3, 3), 2));
}

#[test]
fn a_file_that_was_not_mirrored_as_it_is_and_revisions_that_are_not_there_are_refused() {
    let home = home();
    mirror(&home, &pipeline("", "a"));
    mirror(&home, &pipeline("", "b"));
    let edited = pipeline("", "mine");
    home.drop_in("study.yaml", &edited);
    let refused = home.run(&["rollback", "pipeline/study", "--to", "1", "--write"]);
    assert!(refused.code == 1 && refused.err.contains("not as it was mirrored"), "{}", refused.err);
    assert_eq!(written(&home), edited);
    let absent = home.run(&["diff", "pipeline/study", "--from", "7"]);
    assert!(absent.code == 1 && absent.err.contains("revision 7"), "{}", absent.err);
    let run = home.run(&["history", "run/study-g1"]);
    assert!(run.code == 1 && run.err.contains("trace"), "{}", run.err);
    assert_eq!(home.run(&["history", "pipeline/none"]).code, 1);
}

#[test]
fn what_was_removed_can_be_put_back_and_its_return_is_a_revision() {
    let home = home();
    let text = pipeline("# mine\n", "a");
    mirror(&home, &text);
    home.take_away("study.yaml");
    reconcile(&home);
    assert!(home.run(&["history", "pipeline/study"]).err.contains("removed"));
    home.run(&["rollback", "pipeline/study", "--to", "1", "--write"]).ok();
    assert_eq!(written(&home), text);
    reconcile(&home);
    assert_eq!(numbers(&home, "pipeline/study"), [(2, 1), (1, 1)]);
}

#[test]
fn a_document_that_was_cut_out_of_its_file_comes_back_behind_the_others() {
    let home = home();
    let (pool, text) = (document("Pool", "gpu", "{slots: 1}"), pipeline("", "a"));
    mirror(&home, &format!("{text}{pool}"));
    let cut = text.trim_end().to_owned();
    mirror(&home, &cut);
    home.run(&["rollback", "pool/gpu", "--to", "1", "--write"]).ok();
    assert_eq!(written(&home), format!("{text}{pool}"));
}

#[test]
fn a_running_controller_takes_a_rollback_over_at_once() {
    let home = home();
    home.drop_in("study.yaml", &pipeline("", "a"));
    let daemon = home.serve();
    let made = |name: &'static str| {
        home.until(name, |connection| {
            let query = "SELECT revision FROM run WHERE name = ?1 AND finished_at IS NOT NULL";
            connection.query_row(query, [name], |row| row.get::<_, i64>(0)).ok()
        })
    };
    assert_eq!(made("study-g1"), 1);
    home.drop_in("study.yaml", &pipeline("", "b"));
    assert_eq!(made("study-g2"), 2);
    let said = home.run(&["rollback", "pipeline/study", "--to", "1", "--write"]);
    assert!(said.code == 0 && !said.err.contains("no controller"), "{}", said.err);
    assert_eq!(made("study-g3"), 3);
    assert_eq!(history(&home, "pipeline/study")[0]["digest"], history(&home, "pipeline/study")[2]["digest"]);
    daemon.stop();
}

#[test]
fn a_directory_that_the_controller_keeps_itself_is_not_written() {
    let home = Home::new("");
    let kept = home.path(".manifestd/checkout");
    fs::create_dir_all(&kept).unwrap();
    fs::remove_dir(home.path("manifests")).unwrap();
    std::os::unix::fs::symlink(&kept, home.path("manifests")).unwrap();
    for word in ["a", "b"] {
        fs::write(kept.join("pool.yaml"), document("Pool", "gpu", &format!("{{slots: 1}} # {word}"))).unwrap();
        reconcile(&home);
    }
    let before = fs::read(kept.join("pool.yaml")).unwrap();
    let refused = home.run(&["rollback", "pool/gpu", "--to", "1", "--write"]);
    assert!(refused.code == 1 && refused.err.contains("in git"), "{}", refused.err);
    assert_eq!(fs::read(kept.join("pool.yaml")).unwrap(), before);
}

#[test]
fn history_and_trace_name_commit_and_author_and_what_is_in_no_commit() {
    let home = home();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]).args(arguments);
        git.current_dir(home.path("manifests")).env("HOME", home.path("home"));
        let output = git.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    home.drop_in("study.yaml", &pipeline("", "a"));
    git(&["add", "."]);
    git(&["commit", "-qm", "The study"]);
    let hash = git(&["rev-parse", "HEAD"]);
    reconcile(&home);
    home.drop_in("other.yaml", &document("Pool", "gpu", "{slots: 1}"));
    git(&["add", "."]);
    git(&["commit", "-qm", "Another thing"]);
    reconcile(&home);
    mirror(&home, &pipeline("", "b"));
    let all = history(&home, "pipeline/study");
    assert_eq!((&all[0]["committed"], &all[0]["author"]), (&Value::Bool(false), &Value::Null));
    assert_eq!(
        (&all[1]["commit"], &all[1]["subject"]),
        (&hash.clone().into(), &"The study".into()),
        "not of what came later"
    );
    assert_eq!(all[1]["author"], "Ada <ada@example.org>");
    assert!(home.run(&["history", "pipeline/study"]).ok().contains("(not committed)"));

    let task: String = home
        .database()
        .query_row("SELECT t.name FROM task t JOIN run r ON r.uid = t.run WHERE r.name = 'study-g1'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let chain = home.run(&["trace", &format!("task/{task}"), "-o", "json"]).json();
    let names: Vec<&str> = chain.as_array().unwrap().iter().map(|link| link["object"].as_str().unwrap()).collect();
    assert_eq!(names, [format!("task/{task}").as_str(), "run/study-g1", "pipeline/study"]);
    assert_eq!(
        (&chain[0]["step"], &chain[1]["cause"], &chain[1]["revision"]),
        (&"only".into(), &"Apply".into(), &1.into())
    );
    assert_eq!((&chain[2]["commit"], &chain[2]["currentRevision"]), (&hash.into(), &2.into()));
    let text = home.run(&["trace", "pipeline/study"]).ok();
    assert!(text.contains("study.yaml:1") && text.contains("not committed"), "{text}");
}
