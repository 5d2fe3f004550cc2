//! Conformance of executors: one list of cases, run over every executor through the same seam, and then what is special to each.
//!
//! A bench (tests/support/bench.rs) knows how to make its executor's other side behave as a case says. A new executor needs a bench
//! and its line in `BENCHES`.

mod support;

#[path = "executors/extended.rs"]
mod extended;
#[path = "executors/real.rs"]
mod real;

use std::time::Duration;

use manifestd::executor::{leftover, results};
use manifestd::resource::analyzer::{Credentials, KeepResults, Output, Rate};
use manifestd::resource::attempt::{Assignment, AttemptId, Ending, Sign, Target};
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::{Outcome, ToolStatus};
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use serde_json::{Value, json};
use support::bench::{BENCHES, CASES, Case, SARIF};
use support::misbehaving::{Behaviour, Misbehaving, static_result};
use support::stage::{Carried, FAR, SOON, Stage, assignment, check, check_stored, sh, websocket};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn every_executor_keeps_to_the_documented_endings() {
    for bench in BENCHES {
        for case in CASES {
            let what = format!("{} {case:?}", bench.name());
            let stage = Stage::new();
            let peer = bench.peer(case, &stage).await;
            let deadline = if case == Case::Deadline { SOON } else { FAR };
            let mut carried = stage.start(assignment(peer.target, deadline));
            if matches!(case, Case::SlowButInTime | Case::Cancelled) {
                let _held = match peer.begun {
                    Some(begun) => begun.await,
                    None => {
                        carried.spawned().await;
                        None
                    }
                };
                carried.sign(|sign| *sign == Sign::Alive).await;
                match case {
                    Case::Cancelled => carried.stop.cancel(),
                    _ => tokio::task::spawn_blocking(peer.release).await.expect("released"),
                }
                let ending = carried.end().await;
                check(&what, bench.ending(case), &ending, &stage, &carried).await;
                assert_eq!(ending.may_still_run, bench.goes_on(case), "{what}: {ending:?}");
            } else {
                let ending = carried.end().await;
                check(&what, bench.ending(case), &ending, &stage, &carried).await;
                assert_eq!(ending.may_still_run, bench.goes_on(case), "{what}: {ending:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_completed_leaves_no_files_where_only_failures_are_kept_and_is_judged_as_ever() {
    for bench in BENCHES {
        for (case, keeps) in [(Case::Ok, false), (Case::ToolFailed, true)] {
            let what = format!("{} {case:?}", bench.name());
            let stage = Stage::new();
            let peer = bench.peer(case, &stage).await;
            let kept = Assignment { keep_results: KeepResults::OnFailure, ..assignment(peer.target, FAR) };
            let mut carried = stage.start(kept);
            let ending = carried.end().await;
            assert_eq!((ending.verdict.outcome, ending.verdict.reason), bench.ending(case), "{what}: {ending:?}");
            stage.assert_clean(&what, &carried).await;
            let tools: Vec<_> = ending.verdict.tools.iter().map(|tool| (tool.name.as_str(), tool.status)).collect();
            let status = if keeps { ToolStatus::Failed } else { ToolStatus::Completed };
            assert_eq!(tools, [("ruff", status)], "{what}");
            assert_eq!(ending.verdict.findings.total(), u64::from(!keeps), "{what}");
            assert_eq!(ending.result.is_some(), keeps, "{what}: {ending:?}");
            assert_eq!(stage.state().join("results").exists(), keeps, "{what}: nothing is even begun");
            if let Some(stored) = &ending.result {
                let place = stage.state().join("results").join(&stored.directory);
                check_stored(&what, &place, &stored.sha256, stored.bytes);
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_nobody_wants_in_the_end_does_not_stay_in_staging() {
    let stage = Stage::new();
    // It goes to its file after a moment, so the tool is not done before.
    let script = format!(
        "echo working >&2; until [ -e go ]; do sleep 0.01; done; cat <<'END'
{SARIF}
END"
    );
    let kept = Assignment { keep_results: KeepResults::OnFailure, ..assignment(sh(&script, Output::Sarif), FAR) };
    let log = results::Staging::of(&stage.state(), &kept.id).path().join("log.txt");
    let mut carried = stage.start(kept);
    let written = async {
        // Nothing tells when the log gets its file.
        while !log.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.expect("the log gets its file");
    std::fs::write(stage.workspace().join("go"), "").expect("a file");
    let ending = carried.end().await;
    assert_eq!((ending.verdict.outcome, ending.result), (Outcome::Completed, None));
    stage.assert_clean("a log", &carried).await;
}

async fn analyse(behaviour: Behaviour) -> (Stage, Ending, Carried) {
    let stage = Stage::new();
    let analyzer = Misbehaving::start(behaviour).await;
    let mut carried = stage.start(assignment(websocket(analyzer.url()), FAR));
    let ending = carried.end().await;
    stage.assert_clean("websocket", &carried).await;
    (stage, ending, carried)
}

fn text(frame: &Value) -> Message {
    Message::text(frame.to_string())
}

#[tokio::test]
async fn what_a_websocket_peer_may_do_has_one_meaning() {
    use Outcome::{Completed, Failed, ProtocolError};
    let ok = || static_result("ruff", 1);
    let unknown = json!({"type": "weather", "status": "sunny"});
    let cases = [
        ("result, then reset", Behaviour::AnswersThenResets(ok()), Completed, Reason::AllToolsRan),
        (
            "two results",
            Behaviour::AnswersTwice(ok(), json!({"type": "error", "message": "x"})),
            Completed,
            Reason::AllToolsRan,
        ),
        (
            "an error first",
            Behaviour::AnswersTwice(json!({"type": "error", "error": "x"}), ok()),
            Failed,
            Reason::AnalyzerError,
        ),
        ("drop in mid-frame", Behaviour::DropsMidFrame, ProtocolError, Reason::ConnectionLost),
        ("close without result", Behaviour::ClosesWithoutResult, ProtocolError, Reason::ProtocolError),
        (
            "unknown, unreadable and binary frames",
            Behaviour::Says(vec![
                text(&unknown),
                Message::text("{"),
                text(&json!([1])),
                Message::binary(ok().to_string()),
            ]),
            Completed,
            Reason::AllToolsRan,
        ),
        (
            "numbers that only Python knows",
            Behaviour::Says(vec![Message::text(
                ok().to_string().replace("\"total_issues\":1", "\"total_issues\":1,\"mean\":NaN"),
            )]),
            Completed,
            Reason::AllToolsRan,
        ),
        (
            "nothing told",
            Behaviour::Answers(json!({"type": "static_analysis_result", "status": "success"})),
            Failed,
            Reason::ToolNotRun,
        ),
    ];
    for (what, behaviour, outcome, reason) in cases {
        let (stage, ending, _) = analyse(behaviour).await;
        assert_eq!((ending.verdict.outcome, ending.verdict.reason), (outcome, reason), "{what}: {ending:?}");
        if outcome == Completed {
            let stored = ending.result.expect("a result");
            check_stored(what, &stage.state().join("results").join(&stored.directory), &stored.sha256, stored.bytes);
            let result = std::fs::read(stage.state().join("results").join(stored.directory).join("result.json"))
                .expect("it is there");
            assert!(serde_json::from_slice::<Value>(&result).is_ok(), "{what}");
        }
    }
}

#[tokio::test]
async fn progress_is_told_and_logged() {
    let progress =
        json!({"type": "progress_update", "stage": "scan", "message": "half\nway", "data": {"progress": 0.5}});
    let (stage, ending, carried) =
        analyse(Behaviour::Says(vec![text(&progress), text(&static_result("ruff", 1))])).await;
    let sign = Sign::Progress { stage: "scan".into(), message: "half way".into(), fraction: Some(0.5) };
    assert!(carried.heard.contains(&sign));
    let dir = stage.state().join("results").join(ending.result.expect("a result").directory);
    assert_eq!(dir, stage.state().join("results/one/lint/1"));
    let log = std::fs::read_to_string(dir.join("log.txt")).expect("a log");
    assert!(log.starts_with("2026-01-05T") && log.ends_with(" scan half way\n"), "{log}");
}

#[tokio::test]
async fn a_peer_that_does_not_shake_hands_or_read_cannot_hold_an_attempt() {
    let stage = Stage::new();
    let mute = Misbehaving::start(Behaviour::NeverShakesHands).await;
    let mut target = websocket(mute.url());
    if let Target::WebSocket { connect_timeout, .. } = &mut target {
        *connect_timeout = SOON;
    }
    let ending = stage.run(assignment(target, FAR)).await;
    assert_eq!(ending.verdict.reason, Reason::AnalyzerUnavailable, "{ending:?}");

    let mut deaf = Misbehaving::start(Behaviour::Deaf).await;
    let carried = &mut stage.start(assignment(websocket(deaf.url()), FAR));
    deaf.request().await;
    carried.stop.cancel();
    assert_eq!(carried.end().await.verdict.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn an_address_that_can_never_work_is_said_to_be_wrong() {
    let stage = Stage::new();
    for (url, reason) in [
        ("https://127.0.0.1:1", Reason::InvalidConfiguration),
        ("not an address", Reason::InvalidConfiguration),
        ("embedded:", Reason::AnalyzerUnavailable),
    ] {
        let ending = stage.run(assignment(websocket(url.into()), FAR)).await;
        assert_eq!(ending.verdict.reason, reason, "{url}: {ending:?}");
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_stored_is_none_and_nothing_is_overwritten() {
    let stage = Stage::new();
    let place = stage.state().join("results/one/lint/1");
    std::fs::create_dir_all(&place).expect("a directory in the way");
    let mut carried = stage.start(assignment(sh(&format!("echo '{SARIF}'"), Output::Sarif), FAR));
    let ending = carried.end().await;
    assert_eq!(
        (ending.verdict.outcome, ending.verdict.reason),
        (Outcome::Failed, Reason::ResultNotStored),
        "{ending:?}"
    );
    assert!(ending.verdict.message.contains("already there") && ending.result.is_none());
    assert_eq!(std::fs::read_dir(&place).expect("still there").count(), 0);
    stage.assert_clean("not stored", &carried).await;
}

#[tokio::test]
async fn a_program_sees_its_own_environment_and_no_shell() {
    let stage = Stage::new();
    let mut target = sh("", Output::ExitCode);
    if let Target::Command(spec) = &mut target {
        spec.argv = ["sh", "-c", "env; pwd; printf '%s|' \"$@\"; cat; sleep 600 >/dev/null 2>&1 &", "sh"]
            .map(str::to_owned)
            .to_vec();
        spec.argv.extend(["${app.path}", "x;${app.name}", "$(id)", "${tools}"].map(str::to_owned));
        spec.env.insert("OWN".into(), "yes".into());
        spec.in_app_directory = true;
    }
    let mut carried = stage.start(assignment(target, FAR));
    let ending = carried.end().await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    stage.assert_clean("environment", &carried).await;
    let dir = stage.state().join("results").join(ending.result.expect("a log").directory);
    let log = std::fs::read_to_string(dir.join("log.txt")).expect("a log");
    let app = stage.workspace().join("apps/one").canonicalize().expect("it is there");
    assert!(log.contains("\nOWN=yes\n") || log.starts_with("OWN=yes\n"), "{log}");
    assert!(log.contains("TZ=Asia/Tokyo\n") && !log.contains("SECRET"), "{log}");
    assert!(log.contains(&format!("MANIFESTD_ATTEMPT={}\n", carried.token)), "{log}");
    assert!(log.contains(&format!("{0}\n{0}|x;one|$(id)|ruff|", app.display())), "{log}");
}

#[tokio::test]
async fn an_app_must_be_there_and_inside_the_workspace() {
    let stage = Stage::new();
    std::os::unix::fs::symlink("/", stage.workspace().join("apps/link")).expect("a link");
    for (path, reason) in [
        ("apps/none", Reason::AppMissing),
        ("apps/link", Reason::InvalidConfiguration),
        ("../state", Reason::InvalidConfiguration),
        ("/", Reason::InvalidConfiguration),
    ] {
        let mut assignment = assignment(sh("exit 0", Output::ExitCode), FAR);
        assignment.app.path = path.into();
        let ending = stage.run(assignment).await;
        assert_eq!((ending.verdict.outcome, ending.verdict.reason), (Outcome::Failed, reason), "{path}: {ending:?}");
    }
}

#[tokio::test]
async fn a_daemon_that_leaves_the_group_and_holds_the_pipe_is_ended_too() {
    let stage = Stage::new();
    let mut carried = stage.start(assignment(sh(&format!("setsid sleep 600 & echo '{SARIF}'"), Output::Sarif), FAR));
    let ending = carried.end().await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    stage.assert_clean("daemon", &carried).await;
}

#[tokio::test]
async fn leftovers_are_known_by_token_or_by_pid_with_start_time() {
    let stage = Stage::new();
    let token = stage.executors.surroundings().token(&AttemptId { task: Uid("u".into()), number: 3 });
    let spawn = |value: &str| {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", "trap '' TERM; echo up; sleep 600; :"]).env("MANIFESTD_ATTEMPT", value).process_group(0);
        command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().expect("sh runs")
    };
    let mut ours = spawn(&token);
    let mut longer = spawn(&format!("{token}0"));
    for child in [&mut ours, &mut longer] {
        use tokio::io::AsyncReadExt as _;
        let mut up = [0; 3];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut up).await.expect("it is up");
    }
    let pid = i32::try_from(longer.id().expect("a pid")).expect("a pid");

    let reaped = leftover::reap(&token, Some((pid, 1))).await;
    assert!(reaped.ended >= 1 && reaped.remaining == 0, "{reaped:?}");
    assert!(!ours.wait().await.expect("it ended").success());
    assert_eq!(
        longer.try_wait().expect("it is there"),
        None,
        "a reused pid, and a token that only begins the same, are left alone"
    );

    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let start =
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).and_then(|field| field.parse().ok());
    leftover::reap("another token", Some((pid, start.expect("a start time")))).await;
    assert!(!longer.wait().await.expect("it ended").success());
}

#[tokio::test]
async fn what_a_killed_controller_left_is_found_by_its_sign() {
    let stage = Stage::new();
    let mut carried = stage.start(assignment(sh("sleep 600 & sleep 600", Output::ExitCode), FAR));
    let process = carried.spawned().await;
    let reaped = leftover::reap("another token", Some(process)).await;
    assert!(reaped.ended >= 1 && reaped.remaining == 0, "{reaped:?}");
    assert_eq!(carried.end().await.verdict.reason, Reason::ExitCode);
}

#[tokio::test]
async fn staging_of_an_earlier_process_is_cleared() {
    let stage = Stage::new();
    std::fs::create_dir_all(stage.state().join("staging/old-1")).expect("a directory");
    assert_eq!(results::clear_staging(&stage.state()).expect("it works"), 1);
}

#[tokio::test(start_paused = true)]
async fn starts_are_paced_by_the_rate() {
    let stage = Stage::new();
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        stage.executors.pace("a", Rate { limit: 1, per: Span::minutes(1) }).await;
    }
    assert!(start.elapsed() >= Duration::from_secs(120));
}

#[tokio::test]
async fn a_probe_tells_the_healthy_from_the_rest() {
    use manifestd::resource::health::Health;
    let stage = Stage::new();
    let healthy = json!({"type": "health_response", "status": "healthy", "service": "static-analyzer", "version": "1.0.0",
        "protocols": ["manifestd/v1"], "available_tools": ["ruff"]});
    let known = Health {
        version: "static-analyzer 1.0.0".into(),
        protocols: vec!["manifestd/v1".into()],
        tools: vec!["ruff".into()],
    };
    let cases = [
        (Behaviour::Says(vec![text(&json!({"type": "pong"})), text(&healthy)]), Ok(known)),
        (Behaviour::Answers(json!({"type": "error", "message": "Unknown message type"})), Ok(Health::default())),
        (Behaviour::Says(vec![text(&json!({"type": "health_response", "status": "ill"}))]), Err("says \"ill\"")),
        (Behaviour::Garbage, Err("not JSON")),
        (Behaviour::Resets, Err("the connection was lost")),
        (Behaviour::ClosesWithoutResult, Err("closed the connection")),
        (Behaviour::Big(2 << 20), Err("over the limit")),
        (Behaviour::Silent, Err("did not answer a health check within 300 ms")),
        (Behaviour::Deaf, Err("did not answer a health check within 300 ms")),
        (Behaviour::NeverShakesHands, Err("no answer within 300 ms")),
        (Behaviour::Refuses, Err("no connection to")),
    ];
    for (behaviour, wanted) in cases {
        let mut analyzer = Misbehaving::start(behaviour).await;
        let times_out = wanted.as_ref().is_err_and(|words| words.contains("300 ms"));
        let patience = if times_out { SOON } else { FAR }.std();
        // Who shakes hands is waited for as long as it takes.
        let connecting =
            if wanted.as_ref().is_err_and(|words| words.starts_with("no answer")) { SOON } else { FAR }.std();
        let answer = stage.executors.probe(&analyzer.url(), &Credentials::default(), connecting, patience).await;
        match (&answer, &wanted) {
            (Ok(health), Ok(known)) => {
                assert_eq!(health, known);
                assert_eq!(analyzer.request().await, json!({"type": "health_check"}));
            }
            (Err(said), Err(words)) => assert!(said.contains(words), "{said:?} should say {words:?}"),
            _ => panic!("{answer:?} instead of {wanted:?}"),
        }
    }
    let nobody = stage.executors.probe("embedded:", &Credentials::default(), SOON.std(), SOON.std()).await;
    assert_eq!(nobody, Err("the analyzer inside the daemon does not run".into()));
}

#[tokio::test]
async fn a_result_without_room_is_tried_again_and_is_no_failure_of_the_tools() {
    // Whatever is written to /dev/full finds the disk full.
    for (what, script, file) in
        [("a success", "echo '[]'", "result.json"), ("a failure", "echo too much >&2; exit 3", "log.txt")]
    {
        let stage = Stage::new();
        let assignment = assignment(sh(script, Output::Json), FAR);
        let staging = results::Staging::of(&stage.state(), &assignment.id);
        std::fs::create_dir_all(staging.path()).unwrap();
        std::os::unix::fs::symlink("/dev/full", staging.path().join(file)).unwrap();
        let ending = stage.run(assignment).await;
        assert_eq!(
            (ending.verdict.outcome, ending.verdict.reason),
            (Outcome::Failed, Reason::DiskFull),
            "{what}: {ending:?}"
        );
        assert!(ending.result.is_none() && !staging.path().exists(), "{what}");
    }
}

#[tokio::test]
async fn nothing_is_begun_where_a_result_would_find_no_room() {
    let stage = Stage::with(|limits| limits.room_bytes_min = u64::MAX);
    let ending = stage.run(assignment(sh("touch began", Output::ExitCode), FAR)).await;
    assert_eq!((ending.verdict.outcome, ending.verdict.reason), (Outcome::Failed, Reason::DiskFull));
    assert!(ending.verdict.message.contains("make room"), "{}", ending.verdict.message);
    assert!(ending.verdict.tools.is_empty() && ending.result.is_none());
}
