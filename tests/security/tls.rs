//! `wss://`: who is believed at the other end, and what is said about those who are not.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use manifestd::analyzer::{Door, Options, Proof, serve, shipped_tools};
use manifestd::resource::analyzer::Credentials;
use manifestd::resource::attempt::Target;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use manifestd::runtime::clock::system_time;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::certificates::{Authority, Valid, write_secret};
use crate::support::stage::{FAR, Stage, assignment};

/// Far more than a local handshake takes.
const LONG: Duration = Duration::from_secs(60);

/// What an embedded analyzer is told that has nothing to get ready.
fn options(stage: &Stage, door: Door) -> Options {
    let mut tools = shipped_tools().unwrap();
    tools.retain(|tool| tool.name == "noop");
    Options { door, ..Options::new(stage.workspace().join("sources"), tools, system_time) }
}

/// An embedded analyzer behind a door.
pub(crate) struct Guarded {
    pub(crate) port: u16,
    _running: JoinSet<()>,
}

impl Guarded {
    pub(crate) async fn start(stage: &Stage, door: Door) -> Self {
        let options = options(stage, door);
        std::fs::create_dir_all(options.sources.join("acme_alpha-1/app1")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut running = JoinSet::new();
        running.spawn(async move { serve(listener, options, CancellationToken::new()).await.unwrap() });
        Self { port, _running: running }
    }
}

/// Puts a secret where the stage's executors look for it.
pub(crate) fn put_secret(stage: &Stage, name: &str, contents: &str) {
    let directory = stage.dir.path().join("secrets");
    write_secret(&directory.join(name), contents);
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
}

pub(crate) fn credentials(token: Option<&str>, ca: Option<&str>) -> Credentials {
    Credentials { token: token.map(str::to_owned), ca: ca.map(str::to_owned) }
}

pub(crate) async fn probe(stage: &Stage, url: &str, credentials: &Credentials) -> Result<String, String> {
    stage.executors.probe(url, credentials, LONG, LONG).await.map(|health| health.version)
}

/// Runs an attempt, and gives how it ended.
pub(crate) async fn attempt(
    stage: &Stage,
    url: &str,
    credentials: &Credentials,
    extended: bool,
) -> (Outcome, Reason, String) {
    let (url, request, connect_timeout) = (url.to_owned(), "static_analyze".into(), Span::seconds(60));
    let target = Target::WebSocket { url, request, connect_timeout, credentials: credentials.clone(), extended };
    let mut assignment = assignment(target, FAR);
    assignment.tools = vec!["noop".into()];
    let ending = stage.run(assignment).await;
    assert!(!ending.may_still_run || ending.verdict.outcome != Outcome::Unavailable, "{ending:?}");
    (ending.verdict.outcome, ending.verdict.reason, ending.verdict.message)
}

fn tls(files: (std::path::PathBuf, std::path::PathBuf)) -> Door {
    Door { tls: Some(files), proof: Proof::Nothing }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analyzer_whose_certificate_is_for_its_name_is_used_and_probed_over_tls() {
    let authority = Authority::new("ours");
    for host in ["localhost", "127.0.0.1"] {
        for extended in [false, true] {
            let stage = Stage::new();
            put_secret(&stage, "ca", &authority.pem);
            let running = Guarded::start(&stage, tls(authority.sign(stage.dir.path(), host, Valid::Now))).await;
            let (url, ca) = (format!("wss://{host}:{}", running.port), credentials(None, Some("ca")));
            assert!(probe(&stage, &url, &ca).await.unwrap().starts_with("embedded-analyzer"), "{host}");
            let (outcome, reason, message) = attempt(&stage, &url, &ca, extended).await;
            assert_eq!((outcome, reason), (Outcome::Completed, Reason::AllToolsRan), "{host}: {message}");
        }
    }
}

/// What a probe and an attempt say of an analyzer that is not believed: the same, and nothing was sent.
async fn is_not_believed(stage: &Stage, url: &str, credentials: &Credentials, words: &str) {
    let said = probe(stage, url, credentials).await.unwrap_err();
    assert!(said.contains(words), "{url}: {said}");
    for extended in [false, true] {
        let (outcome, reason, message) = attempt(stage, url, credentials, extended).await;
        assert_eq!((outcome, reason), (Outcome::Unavailable, Reason::AnalyzerUnavailable), "{message}");
        assert!(message.contains(words), "{url}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_makes_the_analyzer_unavailable_and_the_reason_says_what_is_wrong() {
    let stage = Stage::new();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    put_secret(&stage, "ca", &ours.pem);
    let ca = credentials(None, Some("ca"));
    let cases = [
        (&ours, "localhost", Valid::NoMore, &ca, "has expired, at 2001-02-03"),
        (&ours, "localhost", Valid::NotYet, &ca, "not valid before 2999-01-01"),
        (&ours, "other.example", Valid::Now, &ca, "for another name than localhost"),
        (&theirs, "localhost", Valid::Now, &ca, "signed by none of the authorities in the secret \"ca\""),
        (&ours, "localhost", Valid::Now, &credentials(None, None), "signed by nobody whom this system trusts"),
    ];
    for (authority, host, valid, credentials, words) in cases {
        let place = tempfile::tempdir().unwrap();
        let running = Guarded::start(&stage, tls(authority.sign(place.path(), host, valid))).await;
        is_not_believed(&stage, &format!("wss://localhost:{}", running.port), credentials, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_no_tls_do_not_understand_each_other_and_say_so() {
    let (stage, ours) = (Stage::new(), Authority::new("ours"));
    put_secret(&stage, "ca", &ours.pem);
    let plain = Guarded::start(&stage, Door::default()).await;
    let ca = credentials(None, Some("ca"));
    is_not_believed(&stage, &format!("wss://127.0.0.1:{}", plain.port), &ca, "perhaps it does not speak TLS").await;
    let secure = Guarded::start(&stage, tls(ours.sign(stage.dir.path(), "localhost", Valid::Now))).await;
    is_not_believed(&stage, &format!("ws://127.0.0.1:{}", secure.port), &ca, "no connection to ws://").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_are_read_when_connecting_and_what_is_wrong_with_them_is_said() {
    let (stage, ours, theirs) = (Stage::new(), Authority::new("ours"), Authority::new("theirs"));
    let running = Guarded::start(&stage, tls(ours.sign(stage.dir.path(), "localhost", Valid::Now))).await;
    let (url, ca) = (format!("wss://localhost:{}", running.port), credentials(None, Some("ca")));
    is_not_believed(&stage, &url, &ca, "secrets is not there; make it with mode 700").await;
    for (contents, words) in [
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 in the secret \"ca\""),
        (theirs.pem.as_str(), "signed by none"),
    ] {
        put_secret(&stage, "ca", contents);
        is_not_believed(&stage, &url, &ca, words).await;
    }
    put_secret(&stage, "ca", &format!("{}{}", theirs.pem, ours.pem));
    assert!(probe(&stage, &url, &ca).await.is_ok());
    put_secret(&stage, "ca", &theirs.pem);
    is_not_believed(&stage, &url, &ca, "signed by none").await;
}

#[tokio::test]
async fn an_analyzer_does_not_start_behind_a_door_that_cannot_be_locked() {
    let (stage, ours) = (Stage::new(), Authority::new("ours"));
    let (chain, key) = ours.sign(stage.dir.path(), "localhost", Valid::Now);
    let other = ours.sign(stage.dir.path(), "other", Valid::Now).1;
    let open = stage.dir.path().join("open.key");
    std::fs::write(&open, std::fs::read(&key).unwrap()).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let cases = [
        (Door { tls: Some((chain.clone(), open)), proof: Proof::Nothing }, "chmod 600"),
        (Door { tls: Some((key.clone(), key.clone())), proof: Proof::Nothing }, "holds no certificate"),
        (Door { tls: Some((chain.clone(), chain.clone())), proof: Proof::Nothing }, "chmod 600"),
        (Door { tls: Some((chain.clone(), other)), proof: Proof::Nothing }, "localhost"),
        (Door { tls: None, proof: Proof::File(stage.dir.path().join("none")) }, "is not there"),
    ];
    for (door, words) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = serve(listener, options(&stage, door), CancellationToken::new()).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}
