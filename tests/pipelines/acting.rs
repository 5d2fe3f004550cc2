//! People act on runs of the real daemon: they edit the pipeline in the middle, approve, reject, suspend, retry, backfill. And the example
//! study from a clean state.

use std::path::Path;

use serde_json::Value;

use crate::support::daemon::{Home, document, gated, quick};

/// Copies what the example study needs into a workspace of its own.
fn study() -> Home {
    let home = Home::new("embeddedAnalyzer: true\nembeddedSources: target/study/apps\nroots: [target/study/apps]");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pipelines");
    let here = home.path("examples/pipelines");
    std::fs::create_dir_all(&here).unwrap();
    std::fs::create_dir_all(home.path("target/study/apps")).unwrap();
    for name in ["generate.py", "report.py"] {
        std::fs::copy(examples.join(name), here.join(name)).unwrap();
    }
    for name in ["analyzers.yaml", "study.yaml"] {
        home.drop_in(name, &std::fs::read_to_string(examples.join("manifests").join(name)).unwrap());
    }
    home
}

fn run_json(home: &Home, run: &str) -> Value {
    home.run(&["get", &format!("run/{run}"), "-o", "json"]).json()
}

fn phase(home: &Home, run: &str) -> (String, String) {
    let status = &run_json(home, run)["status"];
    (status["phase"].as_str().unwrap().to_owned(), status["reason"].as_str().unwrap().to_owned())
}

/// Waits until a run stands so.
fn until_run(home: &Home, run: &str, phase: &str, reason: &str) {
    home.until(&format!("run {run} to be {phase}({reason})"), |connection| {
        let query = "SELECT 1 FROM run WHERE name = ?1 AND phase = ?2 AND reason = ?3";
        connection.prepare(query).unwrap().exists([run, phase, reason]).unwrap().then_some(())
    });
}

fn words(phase: &str, reason: &str) -> (String, String) {
    (phase.to_owned(), reason.to_owned())
}

fn children(home: &Home, run: &str) -> Vec<String> {
    let connection = home.database();
    let query = "SELECT c.step || ' ' || c.item || ' ' || coalesce(c.conclusion, '-') || ' ' || t.round FROM child c
         JOIN run r ON r.uid = c.run JOIN task t ON t.uid = c.uid WHERE r.name = ?1 ORDER BY c.step, c.item";
    let mut statement = connection.prepare(query).unwrap();
    statement.query_map([run], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_example_study_is_completed_from_a_clean_state_and_only_partly_with_one_broken_app() {
    let home = study();
    let daemon = home.serve();
    let whole = home.run(&["run", "study", "--wait"]);
    assert_eq!(whole.code, 0, "{}{}\n{}", whole.out, whole.err, home.dump());
    assert_eq!(phase(&home, "study-1"), words("Completed", "AllStepsCompleted"));
    let children = |run: &str| run_json(&home, run)["status"]["children"].clone();
    assert_eq!(children("study-1"), serde_json::json!({"ended": 10, "expected": 10, "failed": 0}));

    let part = home.run(&["run", "study", "-p", "broken=2", "--wait"]);
    assert_eq!(part.code, 1, "{}{}", part.out, part.err);
    assert_eq!(phase(&home, "study-2"), words("PartialSuccess", "SomeStepsFailed"));
    // The analyses of the app that is not there were never asked for, and are told of as skipped.
    assert_eq!(children("study-2"), serde_json::json!({"ended": 10, "expected": 10, "failed": 1}));
    let tree = home.run(&["tree", "study-2"]).ok();
    for step in ["scan", "documented"] {
        let line = tree.lines().find(|line| line.contains(&format!("─ {step} "))).unwrap();
        assert!(line.contains("PartialSuccess") && line.contains("3/3") && line.contains("1 skipped"), "{tree}");
    }
    assert!(tree.lines().any(|line| line.contains("─ report ") && line.contains("Completed")), "{tree}");
    daemon.stop();
}

#[test]
fn when_the_only_app_of_a_critical_step_fails_the_run_has_failed_and_what_needs_it_is_skipped() {
    let home = Home::new("");
    let bad = document("Analyzer", "bad", "{command: {argv: [\"false\"], tool: bad}}");
    let spec = "{runPolicy: Manual, steps: [{name: make, analyzer: bad, critical: true, backoffLimit: 0, forEach: {range: {from: 1, to: 2}}},
        {name: look, analyzer: quick, needs: [make]}, {name: other, analyzer: quick}]}";
    home.drop_in("all.yaml", &format!("{bad}{}{}", quick(), document("Pipeline", "p", spec)));
    home.run(&["run", "p"]).ok();
    home.run(&["reconcile", "--once"]);
    assert_eq!(phase(&home, "p-1"), words("Failed", "CriticalStepFailed"), "{}", home.dump());
    let tree = home.run(&["tree", "p-1"]).ok();
    assert!(
        tree.lines().any(|line| line.contains("look") && line.contains("Skipped") && line.contains("DependencyFailed")),
        "{tree}"
    );
    assert_eq!(children(&home, "p-1"), ["make 0 Failed 1", "make 1 Failed 1", "other 0 Succeeded 1"]);
}

#[test]
fn an_edit_in_the_middle_leaves_the_run_on_its_spec_and_makes_another_after_it() {
    let home = Home::new("");
    home.gate("gate");
    let pipeline = |last: &str| {
        let spec = format!(
            "{{steps: [{{name: first, analyzer: gated, config: {{gate: gate}}}}, {{name: {last}, analyzer: quick, needs: [first]}}]}}"
        );
        format!("{}{}{}", gated(1), quick(), document("Pipeline", "p", &spec))
    };
    home.drop_in("all.yaml", &pipeline("old"));
    let daemon = home.serve();
    let names = |home: &Home| -> Vec<String> {
        let connection = home.database();
        let mut statement = connection.prepare("SELECT name FROM run ORDER BY created_at, uid").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    home.until("the first run to be under way", |connection| {
        connection.prepare("SELECT 1 FROM task WHERE phase = 'Running'").unwrap().exists([]).unwrap().then_some(())
    });
    let first = names(&home).remove(0);
    home.drop_in("all.yaml", &pipeline("new"));
    home.until("the second run", |connection| {
        let query = "SELECT 1 FROM run WHERE generation = 2 AND phase = 'Pending' AND reason = 'ConcurrencyLimit'";
        connection.prepare(query).unwrap().exists([]).unwrap().then_some(())
    });
    let second = names(&home).into_iter().find(|name| *name != first).unwrap();
    assert_eq!(phase(&home, &first), words("Running", "StepsRunning"));
    home.open_gate("gate");
    until_run(&home, &first, "Completed", "AllStepsCompleted");
    assert_eq!(children(&home, &first), ["first 0 Succeeded 1", "old 0 Succeeded 1"]);
    home.open_gate("gate");
    until_run(&home, &second, "Completed", "AllStepsCompleted");
    assert_eq!(children(&home, &second), ["first 0 Succeeded 1", "new 0 Succeeded 1"]);
    assert_eq!((run_json(&home, &first)["spec"]["generation"].clone(), names(&home).len()), (1.into(), 2));
    daemon.stop();
}

#[test]
fn people_approve_reject_suspend_and_resume_from_another_shell() {
    let home = Home::new("");
    let spec = "{runPolicy: Manual, maxConcurrentRuns: 4, steps: [{name: ask, approval: {message: may it go on?}},
        {name: after, analyzer: quick, needs: [ask]}]}";
    home.drop_in("all.yaml", &format!("{}{}", quick(), document("Pipeline", "p", spec)));
    let daemon = home.serve();
    home.run(&["run", "p"]).ok();
    home.run(&["run", "p"]).ok();
    for run in ["p-1", "p-2"] {
        until_run(&home, run, "Running", "WaitingForApproval");
    }
    home.run(&["suspend", "run/p-1", "--reason", "not today"]).ok();
    home.run(&["approve", "p-1", "ask", "--comment", "fine"]).ok();
    home.run(&["reject", "p-2", "ask", "--comment", "no"]).ok();
    until_run(&home, "p-2", "Failed", "NoStepSucceeded");
    until_run(&home, "p-1", "Running", "Suspended");
    assert_eq!(children(&home, "p-1"), Vec::<String>::new(), "a suspended run began something");
    home.run(&["resume", "run/p-1"]).ok();
    until_run(&home, "p-1", "Completed", "AllStepsCompleted");
    // An approval has no children: nothing of it is skipped, and only the task is counted.
    assert_eq!(
        run_json(&home, "p-1")["status"]["children"],
        serde_json::json!({"ended": 1, "expected": 1, "failed": 0})
    );
    let tree = home.run(&["tree", "p-1"]).ok();
    assert!(!tree.contains("skipped"), "{tree}");
    daemon.stop();
}

#[test]
fn a_retry_does_what_its_dry_run_says_and_a_rerun_is_another_run() {
    let home = Home::new("");
    let picky =
        document("Analyzer", "picky", "{command: {argv: [test, \"${config.word}\", \"!=\", bad], tool: picky}}");
    let spec = "{runPolicy: Manual, steps: [{name: a, analyzer: picky, backoffLimit: 0, forEach: {items: [x, bad, y]}, config: {word: \"${item}\"}},
        {name: b, analyzer: quick, needs: [a]}, {name: c, analyzer: quick}]}";
    home.drop_in("all.yaml", &format!("{picky}{}{}", quick(), document("Pipeline", "p", spec)));
    home.run(&["run", "p"]).ok();
    home.run(&["reconcile", "--once"]);
    let mut rounds = vec![1, 1, 1, 1, 1];
    for (arguments, again) in
        [(&["--failed"][..], [0, 1, 0, 0, 0]), (&["--from", "a"], [1, 1, 1, 1, 0]), (&["--only", "c"], [0, 0, 0, 0, 1])]
    {
        let all = [&["retry", "run/p-1"], arguments].concat();
        let before = children(&home, "p-1");
        let said = home.run(&[all.as_slice(), &["--dry-run"]].concat()).ok();
        assert_eq!(children(&home, "p-1"), before, "a dry run did something: {said}");
        let told: i64 = said
            .lines()
            .filter_map(|line| {
                line.split(" of its ")
                    .next()?
                    .split_whitespace()
                    .last()?
                    .parse::<i64>()
                    .ok()
                    .filter(|_| line.contains(" of its "))
            })
            .sum();
        assert_eq!(told, again.iter().sum::<i64>(), "{said}");
        home.run(&all).ok();
        home.run(&["reconcile", "--once"]);
        rounds.iter_mut().zip(again).for_each(|(round, more)| *round += more);
        let words = ["a 0 Succeeded", "a 1 Failed", "a 2 Succeeded", "b 0 Succeeded", "c 0 Succeeded"];
        let expected: Vec<String> = words.iter().zip(&rounds).map(|(word, round)| format!("{word} {round}")).collect();
        assert_eq!(children(&home, "p-1"), expected, "{arguments:?}\n{}", home.dump());
        assert_eq!(phase(&home, "p-1").0, "PartialSuccess");
    }
    home.run(&["rerun", "p-1"]).ok();
    home.run(&["reconcile", "--once"]);
    assert_eq!(phase(&home, "p-2").0, "PartialSuccess");
    assert_eq!(run_json(&home, "p-2")["status"]["cause"], "Rerun");
}

#[test]
fn a_backfill_makes_the_runs_that_its_dry_run_lists_and_none_twice() {
    let home = Home::new("");
    let spec = "{schedule: {cron: \"0 3 * * *\"}, suspend: true, steps: [{name: a, analyzer: quick}]}";
    home.drop_in("all.yaml", &format!("{}{}", quick(), document("Pipeline", "p", spec)));
    let daemon = home.serve();
    let runs = |home: &Home| {
        home.run(&["get", "runs", "-o", "name"])
            .out
            .lines()
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let ask = ["backfill", "p", "--from", "2026-11-01", "--to", "2026-11-03"];
    home.run(&[&ask[..], &["--dry-run"]].concat()).ok();
    assert!(runs(&home).is_empty());
    home.run(&ask).ok();
    let made = runs(&home);
    assert_eq!(made.len(), 3, "{made:?}");
    home.run(&ask);
    assert_eq!(runs(&home), made);
    home.until("all of them to be done", |connection| {
        let query = "SELECT count(*) = 3 FROM run WHERE phase = 'Completed'";
        connection.query_row(query, [], |row| row.get::<_, bool>(0)).unwrap().then_some(())
    });
    daemon.stop();
}

#[test]
fn a_night_on_which_there_is_nothing_to_do_is_completed_and_one_on_which_everything_fails_is_not() {
    let home = Home::new("");
    let never = document("Analyzer", "never", "{command: {argv: [\"false\"], tool: never}}");
    let nobody = "forEach: {apps: {matchLabels: {team: nobody}}, allowEmpty: true}";
    let quiet = format!(
        "{{runPolicy: Manual, steps: [{{name: all, analyzer: quick, {nobody}}},
           {{name: repair, analyzer: quick, needs: [all], when: [{{step: all, phases: [Failed]}}]}}]}}"
    );
    let loud = "{runPolicy: Manual, steps: [{name: all, analyzer: never, backoffLimit: 0, forEach: {range: {from: 1, to: 3}}}]}";
    let both = [document("Pipeline", "quiet", &quiet), document("Pipeline", "loud", loud)].concat();
    home.drop_in("all.yaml", &format!("{}{never}{both}", quick()));
    let said = home.run(&["run", "quiet", "--wait"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(phase(&home, "quiet-1"), words("Completed", "AllStepsCompleted"));
    assert_eq!(home.run(&["run", "loud", "--wait"]).code, 1);
    assert_eq!(phase(&home, "loud-1"), words("Failed", "NoStepSucceeded"));
}

#[test]
fn a_run_that_was_cancelled_in_the_middle_of_a_stream_goes_on_when_one_other_step_is_retried_and_loses_nothing() {
    let home = Home::new("");
    let maker =
        document("Analyzer", "maker", "{command: {argv: [mkdir, -p, \"${config.out}\"], tool: maker}, capacity: 1}");
    let spec = "{runPolicy: Manual, parallelism: 1, steps: [
           {name: make, analyzer: maker, forEach: {range: {from: 1, to: 6}}, config: {out: \"${produces.path}\"},
             produces: {app: \"made-${item}\", path: \"generated/made-${item}\"}},
           {name: check, analyzer: gated, forEach: {appsFrom: make}, config: {gate: gate}},
           {name: other, analyzer: quick}]}";
    home.drop_in("all.yaml", &format!("{}{}{maker}{}", quick(), gated(1), document("Pipeline", "stream", spec)));
    home.gate("gate");
    let daemon = home.serve();
    home.run(&["run", "stream"]).ok();
    // One app is made and its check stands at the gate; with one child at a time nothing else goes on.
    home.until("a check to run", |connection| {
        let query = "SELECT 1 FROM child c JOIN task t USING (uid) WHERE c.step = 'check' AND t.phase = 'Running'";
        connection.prepare(query).unwrap().exists([]).unwrap().then_some(())
    });
    home.run(&["cancel", "run/stream-1"]).ok();
    until_run(&home, "stream-1", "Cancelled", "RunCancelled");
    // What has ended in it stays, and it goes on with what it had not begun.
    let opens = |from: usize, to: usize| {
        for done in from..to {
            home.open_gate("gate");
            home.until("a check to be concluded", |connection| {
                let query = "SELECT count(*) FROM child WHERE step = 'check' AND conclusion = 'Succeeded'";
                let count: usize = connection.query_row(query, [], |row| row.get(0)).unwrap();
                (count > done).then_some(())
            });
        }
    };
    home.run(&["retry", "run/stream-1", "--only", "other"]).ok();
    opens(0, 5);
    until_run(&home, "stream-1", "PartialSuccess", "SomeStepsFailed");
    let after = children(&home, "stream-1");
    assert_eq!(after.len(), 13, "{after:?}");
    assert!(
        after.contains(&"check 0 Cancelled 1".to_owned()) && after.contains(&"other 0 Succeeded 2".to_owned()),
        "{after:?}"
    );
    // And a retry of what is not well takes the one up that was cancelled.
    home.run(&["retry", "run/stream-1", "--failed"]).ok();
    opens(5, 6);
    until_run(&home, "stream-1", "Completed", "AllStepsCompleted");
    daemon.stop();
}

#[test]
fn a_retry_of_what_failed_runs_only_that_again_in_the_run_of_a_step_too() {
    let home = Home::new("");
    let odd = document(
        "Analyzer",
        "odd",
        "{command: {argv: [sh, -c, \"test $1 != 2 -o -e mended\", odd, \"${config.item}\"], tool: odd}, capacity: 2}",
    );
    let inner = "{runPolicy: Manual, steps: [{name: all, analyzer: odd, backoffLimit: 0, forEach: {range: {from: 1, to: 4}}, config: {item: \"${item}\"}}]}";
    let outer = "{runPolicy: Manual, steps: [{name: first, analyzer: quick}, {name: inside, pipeline: inner}]}";
    home.drop_in(
        "all.yaml",
        &format!("{}{odd}{}{}", quick(), document("Pipeline", "inner", inner), document("Pipeline", "outer", outer)),
    );
    home.run(&["run", "outer", "--wait"]);
    assert_eq!(phase(&home, "outer-1").0, "PartialSuccess");
    std::fs::write(home.path("mended"), "").unwrap();
    home.run(&["retry", "run/outer-1", "--failed"]).ok();
    home.run(&["reconcile", "--once"]).ok();
    assert_eq!(phase(&home, "outer-1"), words("Completed", "AllStepsCompleted"));
    let connection = home.database();
    let mut statement = connection.prepare("SELECT attempt FROM task ORDER BY name").unwrap();
    let attempts: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(attempts.iter().sum::<i64>(), 6, "five tasks, and one of them twice: {attempts:?}");
}
