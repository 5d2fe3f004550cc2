//! Bearer tokens: shown by this side, asked for by an analyzer, changed at any time, and seen nowhere.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use manifestd::analyzer::{Door, Proof};
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use crate::certificates::{Authority, Valid, write_secret};
use crate::support::daemon::{Home, document, task};
use crate::support::process::Daemon;
use crate::support::stage::Stage;
use crate::tls::{Guarded, attempt, credentials, probe, put_secret};

#[test]
fn no_library_can_log_what_it_sends() {
    // tungstenite logs whole handshakes at the level of traces.
    assert_eq!(log::STATIC_MAX_LEVEL, log::LevelFilter::Debug);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_token_opens_the_door_and_another_one_needs_no_restart() {
    let stage = Stage::new();
    let asked = stage.dir.path().join("asked");
    write_secret(&asked, "first-token");
    let running = Guarded::start(&stage, Door { tls: None, proof: Proof::File(asked.clone()) }).await;
    let url = format!("ws://127.0.0.1:{}", running.port);
    let (none, own) = (credentials(None, None), credentials(Some("own"), None));
    let refused = probe(&stage, &url, &none).await.unwrap_err();
    assert!(refused.contains("asks for a token") && refused.contains("tokenSecretName"), "{refused}");
    put_secret(&stage, "own", "wrong-token\n");
    for extended in [false, true] {
        let (outcome, _, message) = attempt(&stage, &url, &own, extended).await;
        assert_eq!(outcome, Outcome::Unavailable, "{message}");
        assert!(message.contains("refuses the token in the secret \"own\" (HTTP 401)"), "{message}");
        assert!(!message.contains("wrong-token"), "{message}");
    }
    put_secret(&stage, "own", "first-token\n");
    assert!(probe(&stage, &url, &own).await.is_ok());
    assert_eq!(attempt(&stage, &url, &own, false).await.1, Reason::AllToolsRan);
    write_secret(&asked, "second-token");
    assert!(probe(&stage, &url, &own).await.unwrap_err().contains("HTTP 401"));
    put_secret(&stage, "own", "second-token");
    assert!(probe(&stage, &url, &own).await.is_ok());
    // A token file that is suddenly open to others lets nobody in.
    std::fs::set_permissions(&asked, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(probe(&stage, &url, &own).await.unwrap_err().contains("HTTP 503"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_used_is_a_reason_to_wait_and_says_what_to_do() {
    let stage = Stage::new();
    let running = Guarded::start(&stage, Door::default()).await;
    let (url, own) = (format!("ws://127.0.0.1:{}", running.port), credentials(Some("own"), None));
    put_secret(&stage, "another", "x");
    let secret = stage.dir.path().join("secrets/own");
    let is_refused = async |words: &str| {
        let said = probe(&stage, &url, &own).await.unwrap_err();
        assert!(said.contains(words) && said.contains("\"own\""), "{said}");
        let (outcome, reason, message) = attempt(&stage, &url, &own, false).await;
        assert_eq!((outcome, reason), (Outcome::Unavailable, Reason::AnalyzerUnavailable), "{message}");
        assert!(message.contains(words), "{message}");
    };
    is_refused("own is not there; put it there with mode 600").await;
    put_secret(&stage, "own", "two words");
    is_refused("holds no token").await;
    put_secret(&stage, "own", "word");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o640)).unwrap();
    is_refused("its mode is 640); chmod 600 it").await;
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(probe(&stage, &url, &own).await.is_ok());
}

#[test]
fn the_analyzer_inside_the_daemon_lets_nobody_in_but_its_daemon() {
    let home = Home::new("embeddedAnalyzer: true");
    let look = task("look", "app1", "embedded", "tools: [patterns],");
    home.drop_in("all.yaml", &format!("{}{}{look}", home.app(1), crate::support::daemon::embedded(1)));
    let daemon = home.serve();
    home.until_phase("look", Phase::Completed);
    let status = home.run(&["status", "-o", "json"]).json();
    let address = status["controller"]["embedded"].as_str().unwrap_or_else(|| panic!("{status:#}"));
    // As any user of this machine could.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(tokio_tungstenite::connect_async(format!("ws://{address}"))).unwrap_err();
    assert!(
        matches!(&refused, tokio_tungstenite::tungstenite::Error::Http(answer) if answer.status() == 401),
        "{refused}"
    );
    daemon.stop();
}

/// Where a standalone analyzer says that it listens.
fn listening(analyzer: &Daemon) -> u16 {
    analyzer.says("analyzer is listening");
    let log = analyzer.log.text();
    let words = log.split_whitespace().find_map(|word| word.strip_prefix("address=127.0.0.1:"));
    words.unwrap_or_else(|| panic!("no address in: {log}")).parse().unwrap()
}

/// Everything below a directory that holds these bytes.
fn holders(directory: &Path, needle: &[u8], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            holders(&path, needle, found);
        } else if kind.is_file() {
            let mut bytes = Vec::new();
            std::fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
            if bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(path.display().to_string());
            }
        }
    }
}

/// A workspace with an analyzer that wants a token and shows a certificate.
struct Guard {
    home: Home,
    ours: Authority,
    url: String,
    analyzer: Daemon,
}

const FIRST: &str = "first-7f3a9c51";
const SECOND: &str = "second-b81d0e44";

impl Guard {
    fn new(valid: Valid) -> Self {
        let mut home = Home::new("");
        home.more_environment.push(("MANIFESTD_LOG", "trace".into()));
        let (ours, outside) = (Authority::new("ours"), home.path("outside"));
        write_secret(&outside.join("token"), FIRST);
        let (chain, key) = ours.sign(&outside, "localhost", valid);
        let sources = home.path("generated/apps");
        std::fs::create_dir_all(&sources).unwrap();
        let text = |path: &Path| path.display().to_string();
        let (chain, key, token, sources) = (text(&chain), text(&key), text(&outside.join("token")), text(&sources));
        let analyzer = home.spawn(&[
            "analyzer",
            "--listen",
            "127.0.0.1:0",
            "--sources",
            &sources,
            "--tls-cert",
            &chain,
            "--tls-key",
            &key,
            "--token-file",
            &token,
        ]);
        let url = format!("wss://localhost:{}", listening(&analyzer));
        let secrets = home.state().join("secrets");
        write_secret(&secrets.join("far-token"), FIRST);
        write_secret(&secrets.join("far-ca"), &ours.pem);
        std::fs::set_permissions(secrets, std::fs::Permissions::from_mode(0o700)).unwrap();
        let spec = format!(
            "{{websocket: {{urls: [\"{url}\"], request: static_analyze, tokenSecretName: far-token, caSecretName: far-ca}}, probe: {{interval: 200ms, timeout: 200ms}}}}"
        );
        let command = "{command: {argv: [cat, \"${config.gate}\"], tool: gate}, capacity: 1}";
        let base = [home.app(1), document("Analyzer", "far", &spec), document("Analyzer", "gated", command)];
        home.drop_in("base.yaml", &base.concat());
        Self { home, ours, url, analyzer }
    }
}

#[test]
fn a_task_runs_over_tls_with_a_token_that_is_changed_without_a_restart_and_is_seen_nowhere() {
    let Guard { home, url, analyzer, .. } = Guard::new(Valid::Now);
    let daemon = home.serve();
    home.drop_in("one.yaml", &task("one", "app1", "far", "tools: [patterns],"));
    home.until_phase("one", Phase::Completed);
    write_secret(&home.path("outside/token"), SECOND);
    write_secret(&home.state().join("secrets/far-token"), SECOND);
    home.drop_in("two.yaml", &task("two", "app1", "far", "tools: [patterns],"));
    home.until_phase("two", Phase::Completed);
    // A program that runs meanwhile knows nothing of it either.
    home.gate("gate");
    home.drop_in("held.yaml", &task("held", "app1", "gated", "config: {gate: gate},"));
    let child = home.until_spawned("held");
    let of_child = ["environ", "cmdline"].map(|file| std::fs::read(format!("/proc/{child}/{file}")).unwrap()).concat();
    home.run(&["backup", "backup.tar", "--results"]).ok();
    let mut told = String::from_utf8_lossy(&of_child).into_owned();
    for asked in [
        &["get", "analyzers", "-o", "yaml"][..],
        &["get", "all", "-o", "json"],
        &["describe", "analyzer", "far"],
        &["describe", "task", "one"],
        &["events", "-o", "json"],
        &["why", "two"],
        &["config"],
        &["status", "-o", "json"],
        &["history", "analyzer/far"],
    ] {
        told.push_str(&home.run(asked).ok());
    }
    assert!(told.contains("far-token") && told.contains(&url), "what is told of the analyzer: {told}");
    home.open_gate("gate");
    home.until_phase("held", Phase::Completed);
    daemon.stop();
    analyzer.terminate();
    told.push_str(&home.log.text());
    for token in [FIRST, SECOND] {
        assert!(!told.contains(token), "{token} was told:\n{told}");
        let mut found = Vec::new();
        holders(home.dir.path(), token.as_bytes(), &mut found);
        found.retain(|path| !path.ends_with("/outside/token") && !path.ends_with("/secrets/far-token"));
        assert_eq!(found, [""; 0], "{token} was written");
    }
}

#[test]
fn a_task_waits_for_an_analyzer_whose_certificate_has_expired_and_why_says_so() {
    let Guard { home, ours, analyzer, .. } = Guard::new(Valid::NoMore);
    let daemon = home.serve();
    home.drop_in("one.yaml", &task("one", "app1", "far", "tools: [patterns],"));
    home.until_reason("one", Phase::Pending, Reason::AnalyzerUnavailable);
    let why = home.run(&["why", "one"]).ok();
    assert!(why.contains("certificate has expired, at 2001-02-03"), "{why}");
    assert!(home.attempts("one").is_empty(), "nothing was sent, so there is no attempt: {}", home.dump());
    // The analyzer comes back with a good one, at another address.
    drop(analyzer);
    let outside = home.path("outside");
    let (chain, key) = ours.sign(&outside, "localhost", Valid::Now);
    let text = |path: &Path| path.display().to_string();
    let (chain, key, token, sources) =
        (text(&chain), text(&key), text(&outside.join("token")), text(&home.path("generated/apps")));
    let analyzer = home.spawn(&[
        "analyzer",
        "--listen",
        "127.0.0.1:0",
        "--sources",
        &sources,
        "--tls-cert",
        &chain,
        "--tls-key",
        &key,
        "--token-file",
        &token,
    ]);
    let base = std::fs::read_to_string(home.path("manifests/base.yaml")).unwrap();
    let old = base.split('"').find(|part| part.starts_with("wss://")).unwrap().to_owned();
    home.drop_in("base.yaml", &base.replace(&old, &format!("wss://localhost:{}", listening(&analyzer))));
    home.until_phase("one", Phase::Completed);
    daemon.stop();
}
