//! Commands that read: get, describe, why, events, results, logs, status.

use manifestd::manifest::{Place, Problem, Severity};
use manifestd::plan::write::{TaskStatus, TaskWrite, Write};
use manifestd::resource::outcome::{Outcome, Verdict};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use manifestd::store::{MirrorCommit, OwnedProblem};
use serde_json::json;

use super::world::{START, World, far_ahead};

/// A line without its last word, which is an age.
fn ageless(line: &str) -> &str {
    line.rsplit_once(' ').map_or(line, |(rest, _)| rest)
}

#[test]
fn get_lists_each_kind_with_its_columns() {
    let world = World::new();
    world.finish_lint_demo();
    let lines = world.run(&["get", "tasks"]).ok().lines();
    assert_eq!(lines[0], "NAME APP ANALYZER PHASE REASON ATTEMPTS FINDINGS(H/M/L) AGE");
    assert_eq!(ageless(&lines[1]), "lint-demo demo lint PartialSuccess SomeToolsFailed 1 1/0/2");
    assert_eq!(ageless(&lines[2]), "lost dmeo lint Pending Queued 0 -");
    assert_eq!(lines.len(), 5);
    let lines = world.run(&["get", "app"]).ok().lines();
    assert_eq!(lines[0], "NAME PATH MODEL NUMBER PRESENT SOURCE AGE");
    assert_eq!(ageless(&lines[1]), "demo generated/demo gpt-4o 1 yes all.yaml:13");
    let lines = world.run(&["get", "Analyzers"]).ok().lines();
    assert_eq!(lines[0], "NAME TYPE READY CAPACITY INFLIGHT DRAINING AGE");
    assert_eq!((ageless(&lines[1]), ageless(&lines[2])), ("lint command 1/1 1 0 0", "static websocket 1/1 1 0 0"));
    let wide = world.run(&["get", "tasks", "lint-demo", "-o", "wide"]).ok().lines();
    assert!(wide[0].ends_with("AGE GENERATION PRIORITY NEXT MESSAGE FILE:LINE"), "{wide:?}");
    assert!(wide[1].ends_with("1 100 - 1 of 2 tools ran all.yaml:19"), "{wide:?}");
    let all = world.run(&["get", "all", "--no-headers"]).ok().lines();
    assert!(
        all.iter().any(|line| line.starts_with("task/lint-demo "))
            && all.iter().any(|line| line.starts_with("analyzer/lint "))
    );
}

#[test]
fn the_columns_stand_below_their_titles_and_long_rows_do_not_wrap() {
    let world = World::new();
    let out = world.run(&["get", "tasks", "-o", "wide"]).ok().out;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 5, "{out}");
    let column = lines[0].find("PHASE").unwrap();
    assert!(lines[1..].iter().all(|line| line[column..].starts_with("Pending ")), "{out}");
    assert!(lines.iter().all(|line| line.trim_end() == *line && !line.contains('\u{1b}')), "{out:?}");
}

#[test]
fn colours_come_only_when_asked_for_or_on_a_terminal() {
    let world = World::new();
    world.finish_lint_demo();
    assert!(world.run(&["get", "tasks", "--color", "always"]).ok().out.contains("\u{1b}["));
    assert!(!world.run(&["get", "tasks"]).ok().out.contains("\u{1b}["));
}

#[test]
fn json_yaml_and_names_have_their_shapes() {
    let world = World::new();
    world.finish_lint_demo();
    let item = world.run(&["get", "task/lint-demo", "-o", "json"]).ok().json();
    assert_eq!(item["apiVersion"], "manifestd.dev/v1alpha1");
    assert_eq!((&item["kind"], &item["metadata"]["labels"]), (&json!("Task"), &json!({"team": "red"})));
    assert_eq!(item["metadata"]["creationTimestamp"], "2026-11-23T10:00:00.000Z");
    assert_eq!(item["spec"]["tools"], json!(["ruff", "bandit"]));
    assert_eq!((&item["status"]["phase"], &item["status"]["attempts"]), (&json!("PartialSuccess"), &json!(1)));
    assert_eq!(item["status"]["completionTime"], "2026-11-23T10:03:00.000Z");
    assert_eq!(item["status"]["findings"], json!({"high": 1, "medium": 0, "low": 2, "unrated": 0}));
    assert_eq!((&item["provenance"]["file"], &item["provenance"]["line"]), (&json!("all.yaml"), &json!(19)));
    let list = world.run(&["get", "tasks", "-o", "json"]).ok().json();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("List"), 4));
    let yaml = world.run(&["get", "task", "lint-demo", "-o", "yaml"]).ok().out;
    let read: serde_json::Value = manifestd::manifest::typed::typed("y", &yaml).unwrap();
    assert_eq!(read, item);
    assert_eq!(world.run(&["get", "tasks,apps", "-o", "name", "-l", "team!=x"]).ok().lines().len(), 5);
    assert_eq!(world.run(&["get", "apps", "-o", "name"]).ok().out, "app/demo\n");
}

#[test]
fn selectors_and_sorting_choose_and_order() {
    let world = World::new();
    let names = |arguments: &[&str]| {
        let all = [&["get", "tasks", "-o", "name"], arguments].concat();
        world.run(&all).ok().out.replace("task/", "").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&["-l", "team=blue"]), ["lost", "static-demo"]);
    assert_eq!(names(&["-l", "team=blue,team!=red"]), ["lost", "static-demo"]);
    assert_eq!(names(&["-l", "!team"]), ["static-low"]);
    assert_eq!(names(&["--sort-by", "priority"])[0], "static-low");
    assert_eq!(names(&["--sort-by", ".spec.priority"])[3], "static-demo");
    world.run(&["get", "tasks", "-l", "a in (b)"]).with(2).says(&["label selector"]);
    world.run(&["get", "tasks", "--sort-by", ".spec.colour"]).with(2).says(&["no object has this field"]);
}

#[test]
fn nothing_found_and_unknown_names_are_told_apart() {
    let world = World::new();
    world.run(&["get", "appsets"]).ok().says(&["No appsets found in"]);
    assert_eq!(world.run(&["get", "appsets", "-o", "json"]).ok().json()["items"], json!([]));
    world
        .run(&["get", "task", "lint-dmeo"])
        .with(1)
        .says(&["error: no task is called \"lint-dmeo\"; did you mean `lint-demo`?"]);
    world.run(&["get", "tsks"]).with(2).says(&["did you mean `tasks`?"]);
    World::empty().run(&["get", "tasks"]).with(2).says(&["there is no database at", "manifestd serve"]);
}

#[test]
fn problems_of_the_manifests_are_listed() {
    let world = World::new();
    world.run(&["get", "problems"]).ok().says(&["No problems found"]);
    let problem = Problem {
        file: "a\u{1b}[31m.yaml".into(),
        place: Place { line: 3, column: 5, source_line: "tool: x".into(), source_column: 1, ..Place::default() },
        severity: Severity::Error,
        code: "unknown-field".into(),
        message: "`tool` is not a field".into(),
        help: Some("did you mean `tools`?".into()),
    };
    let owner = problem.file.clone();
    let batch = MirrorCommit {
        judged: vec![owner.clone()],
        problems: vec![OwnedProblem { owner, problem }],
        ..MirrorCommit::default()
    };
    world.store(async |store| store.commit_mirror(batch, START).await.unwrap());
    let ran = world.run(&["get", "problems"]).ok();
    assert_eq!(
        ran.lines(),
        ["FILE:LINE:COL CODE MESSAGE", "a\u{fffd}[31m.yaml:3:5 unknown-field `tool` is not a field"]
    );
    assert_eq!(world.run(&["get", "problems", "-o", "json"]).ok().json()["items"][0]["line"], 3);
}

#[test]
fn describe_shows_attempts_tools_the_result_and_events() {
    let world = World::new();
    world.finish_lint_demo();
    let ran = world.run(&["describe", "task", "lint-demo"]).ok().says(&[
        "team=red",
        "all.yaml:19",
        "bandit is not installed",
    ]);
    let lines = ran.lines();
    assert!(lines.contains(&"Phase: PartialSuccess".to_owned()), "{lines:?}");
    assert!(
        lines.iter().any(
            |line| line.starts_with("1 1 1 local 2026-11-23T10:00:00.000Z 3m PartialSuccess SomeToolsFailed 1/0/2")
        ),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line == "bandit NotRun 0/0/0 1 - bandit is not installed"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.contains(".manifestd/results/demo/lint-demo/1") && line.contains(&"e".repeat(64))),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.contains("Normal Created task/lint-demo all.yaml:19")), "{lines:?}");
    world.run(&["describe", "app/demo", "analyzer/static"]).ok().says(&[
        "Present:",
        "1 of 1 can be used",
        "ws://127.0.0.1:2001",
        "static-analyzer 1.0.0",
        "2 Pending, 1 PartialSuccess",
    ]);
    world.run(&["describe", "task", "nobody"]).with(1);
}

#[test]
fn why_says_what_a_task_waits_for_and_that_nobody_acts() {
    let world = World::new();
    world.start("static-demo", "static", "ws://127.0.0.1:2001", far_ahead());
    world.run(&["why", "static-low"]).ok().says(&[
        "task/static-low is Pending (Queued)",
        "waits for a free slot of analyzer \"static\"",
        "nothing is before it",
        "1 of 1 slots are in use",
        "task/static-demo runs at ws://127.0.0.1:2001",
        "nothing will happen until a controller runs: manifestd serve",
    ]);
    world.run(&["why", "static-demo"]).ok().says(&[
        "attempt 1 runs on analyzer \"static\"",
        "2100-01-01",
        "manifestd logs -f static-demo",
    ]);
    world.finish_lint_demo();
    let ran = world.run(&["why", "task/lint-demo"]).ok();
    assert!(!ran.out.contains("controller"), "{}", ran.out);
    ran.says(&[
        "tool bandit is NotRun in attempt 1: bandit is not installed",
        "manifestd results lint-demo",
        "manifestd retry lint-demo",
    ]);
}

#[test]
fn an_analyzer_that_does_not_answer_is_shown_as_such_everywhere() {
    let world = World::new();
    world.probed("ws://127.0.0.1:2001", Err("connection refused"));
    let lines = world.run(&["get", "analyzers"]).ok().lines();
    assert_eq!(ageless(&lines[2]), "static websocket 0/1 1 0 0");
    let said = world.run(&["describe", "analyzer", "static"]).ok();
    said.says(&["0 of 1 can be used", "ws://127.0.0.1:2001", "Unhealthy", "connection refused"]);
    let item = world.run(&["get", "analyzer", "static", "-o", "json"]).ok().json();
    assert_eq!((&item["status"]["readyReplicas"], &item["status"]["replicas"]), (&json!(0), &json!(1)));
    let replica = &item["status"]["replicaStatuses"][0];
    assert_eq!((&replica["state"], &replica["message"]), (&json!("Unhealthy"), &json!("connection refused")));
    let said = world.run(&["why", "static-low"]).ok();
    said.says(&["no replica of analyzer \"static\" can be used", "connection refused", "when a replica can be used"]);
}

#[test]
fn why_names_delays_and_missing_references() {
    let world = World::new();
    world.start("static-demo", "static", "", far_ahead());
    let verdict = Verdict::without_tools(Outcome::Failed, Reason::AnalyzerError, "no space left");
    world.end("static-demo", Phase::Pending, Reason::BackOff, verdict, None);
    let why = world.run(&["why", "static-demo", "-o", "json"]).ok().json();
    assert_eq!((&why["reason"], &why["nextTime"]), (&json!("BackOff"), &json!("2100-01-01T00:00:00.000Z")));
    assert!(
        why["why"].to_string().contains("its attempt 1 ended") && why["why"].to_string().contains("no space left"),
        "{why}"
    );
    let held = |reason| {
        let version = if reason == Reason::AppNotFound { 1 } else { 2 };
        let status = TaskStatus::fresh(1, 1, 0).waiting(reason, "", None);
        world.commit(vec![Write::Task(Box::new(TaskWrite { uid: world.uid("lost"), version, status }))], START);
        world.run(&["why", "lost"]).ok()
    };
    held(Reason::AppNotFound).says(&["no App is called \"dmeo\", which all.yaml:", "did you mean `demo`?"]);
    held(Reason::Suspended).says(&["spec.suspend is true, in all.yaml:"]);
}

#[test]
fn events_are_listed_oldest_first_for_one_object_or_all() {
    let world = World::new();
    let lines = world.run(&["events"]).ok().lines();
    assert_eq!((lines[0].as_str(), lines.len()), ("LAST SEEN TYPE REASON OBJECT MESSAGE", 8));
    assert!(lines[1].ends_with("Normal Created analyzer/lint all.yaml:1"), "{lines:?}");
    for one in [&["events", "lost"][..], &["events", "task", "lost"], &["events", "task/lost"]] {
        assert_eq!(world.run(one).ok().lines().len(), 2, "{one:?}");
    }
    assert_eq!(world.run(&["events", "--limit", "3"]).ok().lines().len(), 4);
    let line = world.run(&["events", "lost", "-o", "json"]).ok().json();
    assert_eq!((&line["kind"], &line["type"]), (&json!("Task"), &json!("Normal")));
    world.run(&["events", "task", "nobody"]).with(1);
}

#[test]
fn results_come_as_table_sarif_and_stored_json() {
    let world = World::new();
    world.finish_lint_demo();
    let lines = world.run(&["results", "lint-demo"]).ok().lines();
    assert_eq!(lines[0], "TASK ATTEMPT TOOL STATUS HIGH MEDIUM LOW UNRATED MESSAGE");
    assert_eq!(
        lines[1..],
        ["lint-demo 1 ruff Completed 1 0 2 0", "lint-demo 1 bandit NotRun 0 0 0 0 bandit is not installed"]
    );
    assert_eq!(world.run(&["results", "all"]).ok().lines(), lines);
    assert_eq!(world.run(&["results", "lint-demo", "-o", "json"]).ok().out, "{\"as\": \"it is\"}");
    let sarif = world.run(&["results", "all", "-o", "sarif"]).ok().json();
    assert_eq!((&sarif["version"], sarif["runs"].as_array().unwrap().len()), (&json!("2.1.0"), 2));
    assert_eq!(sarif["runs"][0]["automationDetails"]["id"], "lint-demo/1");
    assert_eq!(sarif["runs"][1]["automationDetails"]["id"], "own");
    assert_eq!(world.run(&["results", "all", "-o", "json"]).ok().json()["items"][0]["result"]["as"], "it is");
    // A program that answers with an exit code only leaves no JSON; the results of the others are not lost by that.
    std::fs::remove_file(world.path(".manifestd/results/demo/lint-demo/1/result.json")).unwrap();
    assert_eq!(world.run(&["results", "all", "-o", "json"]).ok().json()["items"][0]["result"], json!(null));
    world.run(&["results", "lint-demo", "-o", "json"]).with(1).says(&["attempt 1 of task/lint-demo", "exit code only"]);
    world.run(&["results", "lost"]).with(1).says(&["has no result", "manifestd why lost"]);
    world.run(&["results", "lint-demo", "--attempt", "7"]).with(1).says(&["no attempt 7"]);
}

#[test]
fn a_result_of_two_attempts_shows_each_tool_with_the_attempt_and_the_directory_it_comes_from() {
    let world = World::new();
    world.finish_lint_demo_in_two_attempts();
    let lines = world.run(&["results", "lint-demo"]).ok().lines();
    assert_eq!(lines[1..], ["lint-demo 1 ruff Completed 1 0 2 0", "lint-demo 2 bandit Completed 0 3 0 0"]);
    let alone = world.run(&["results", "lint-demo", "--attempt", "1"]).ok().lines();
    assert_eq!(alone[2], "lint-demo 1 bandit NotRun 0 0 0 0 bandit crashed");
    // Of the first attempt only what counts: not what the second has done again.
    let sarif = world.run(&["results", "lint-demo", "-o", "sarif"]).ok().json();
    let ids: Vec<_> =
        sarif["runs"].as_array().unwrap().iter().map(|run| run["automationDetails"]["id"].clone()).collect();
    assert_eq!(ids, ["lint-demo/1", "lint-demo/2"], "{sarif}");
    let json = world.run(&["results", "lint-demo", "-o", "json"]).ok().json();
    assert_eq!(
        (&json["items"][0]["result"], &json["items"][1]["result"]),
        (&json!({"attempt": 1}), &json!({"attempt": 2}))
    );
    assert_eq!(world.run(&["results", "lint-demo", "--attempt", "2", "-o", "json"]).ok().json(), json!({"attempt": 2}));
    let item = world.run(&["get", "task", "lint-demo", "-o", "json"]).ok().json();
    let tools = item["status"]["tools"].as_array().unwrap();
    assert_eq!(
        (&tools[1]["name"], &tools[1]["attempt"], &tools[1]["directory"]),
        (&json!("bandit"), &json!(2), &json!("demo/lint-demo/2"))
    );
    assert_eq!(item["status"]["findings"]["medium"], 3);
    let described = world.run(&["describe", "task", "lint-demo"]).ok().lines();
    assert!(described.iter().any(|line| line == "bandit Completed 0/3/0 2 -"), "{described:?}");
    world.run(&["why", "lint-demo"]).ok().says(&["task/lint-demo is Completed"]);
}

#[test]
fn logs_are_found_in_the_result_and_while_the_attempt_runs() {
    let world = World::new();
    world.run(&["logs", "lint-demo"]).with(1).says(&["has not been tried yet"]);
    world.finish_lint_demo();
    assert_eq!(world.run(&["logs", "lint-demo"]).ok().out, "ruff says hello\n");
    assert_eq!(world.run(&["logs", "lint-demo", "-f"]).ok().out, "ruff says hello\n");
    world.run(&["logs", "lint-demo", "--attempt", "9"]).with(1).says(&["no attempt 9; the latest is 1"]);
    world.start("static-demo", "static", "ws://127.0.0.1:2001", START.plus(Span::minutes(1)));
    world.run(&["logs", "static-demo"]).with(1).says(&["has written no log so far"]);
    world.write(&format!(".manifestd/staging/{}-1/log.txt", world.uid("static-demo")), "so far\n");
    assert_eq!(world.run(&["logs", "static-demo"]).ok().out, "so far\n");
}

#[test]
fn status_says_that_nobody_runs_and_how_things_stand() {
    let world = World::new();
    world.run(&["status"]).with(1).says(&["Controller:  not running", "Tasks:       4: 4 Pending", "Problems:    0"]);
    let status = world.run(&["status", "-o", "json"]).with(1).json();
    assert_eq!((&status["running"], &status["phases"]["Pending"]), (&json!(false), &json!(4)));
    assert_eq!((&status["pending"]["Queued"], &status["analyzers"][0]["capacity"]), (&json!(4), &json!(1)));
    assert!(status["disk"]["databaseBytes"].as_u64() > Some(0) && status["disk"]["freeBytes"].as_u64() > Some(0));
    assert!(status["oldestQueued"]["since"].as_str().unwrap().starts_with("2026-11-23"), "{status}");
    let ran =
        world.run(&["status"]).with(1).says(&["Pending:     4 Queued", "Queue:       the oldest is", "Database:"]);
    assert!(ran.lines().iter().any(|line| line == "lint 1/1 0 0 1"), "{}", ran.out);
    World::empty().run(&["status"]).with(1).says(&["no database yet"]);
}

#[test]
fn stuck_tasks_are_listed_with_what_to_do() {
    let world = World::new();
    world.start("static-demo", "static", "ws://127.0.0.1:2001", far_ahead());
    let status = TaskStatus::fresh(1, 1, 0).waiting(Reason::AppNotFound, "", None);
    world.commit(vec![Write::Task(Box::new(TaskWrite { uid: world.uid("lost"), version: 1, status }))], START);
    let lines = world.run(&["get", "tasks", "--stuck", "-l", "team=blue"]).ok().lines();
    assert_eq!(lines[0], "NAME PHASE REASON SINCE NEXT HINT");
    assert!(
        lines[1].starts_with("lost Pending AppNotFound ") && lines[1].ends_with("declare the App, or correct spec.app")
    );
    let one = world.run(&["get", "tasks", "static-demo", "--stuck", "-o", "json"]).ok().json();
    assert_eq!(
        (&one["items"][0]["stuck"]["hint"], one["items"].as_array().unwrap().len()),
        (&json!("no controller runs: manifestd serve"), 1)
    );
    world.finish_lint_demo();
    let none = world.run(&["get", "tasks", "lint-demo", "--stuck"]).ok();
    assert!(none.out.is_empty() && none.err.contains("No task is stuck"), "{}", none.err);
    world.run(&["get", "apps", "--stuck"]).with(2).says(&["--stuck is about tasks"]);
}
