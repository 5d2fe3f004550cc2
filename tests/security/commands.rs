//! What a program is given: its arguments as they were meant, its own few variables, and no open file of ours.

use std::fs;
use std::os::unix::fs::symlink;

use manifestd::resource::analyzer::{CommandSpec, Output};
use manifestd::resource::attempt::{Assignment, Target};
use manifestd::resource::outcome::Outcome;
use manifestd::resource::reason::Reason;
use serde_json::json;

use crate::support::stage::{FAR, Stage, assignment};

fn command(argv: &[&str]) -> Assignment {
    let mut spec: CommandSpec = serde_json::from_value(json!({ "argv": argv })).unwrap();
    (spec.output, spec.tool) = (Output::ExitCode, Some("ruff".into()));
    assignment(Target::Command(Box::new(spec)), FAR)
}

/// Runs a program to its good end, and gives what it wrote.
async fn wrote(stage: &Stage, assignment: Assignment) -> String {
    let ending = stage.run(assignment).await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    let log = stage.state().join("results").join(ending.result.unwrap().directory).join("log.txt");
    fs::read_to_string(log).unwrap()
}

#[tokio::test]
async fn a_value_is_one_argument_whatever_is_in_it_and_no_shell_sees_it() {
    let value = "a b\n; touch evil $(touch evil) `touch evil` ${app.path} | & > evil * \"' \\";
    let stage = Stage::new();
    let mut asked = command(&["printf", "[%s]", "--", "${config.x}", "${tools}"]);
    asked.config = json!({ "x": value }).as_object().cloned().unwrap();
    assert_eq!(wrote(&stage, asked).await, format!("[--][{value}][ruff]"));
    assert!(!stage.workspace().join("evil").exists() && !stage.workspace().join("apps/one/evil").exists());
}

#[tokio::test]
async fn no_task_makes_an_option_of_a_value() {
    for (argument, value) in [("${config.x}", "-rf"), ("${config.x}", "--config=evil"), ("${tools}", "--fix")] {
        let stage = Stage::new();
        let mut asked = command(&["touch", argument]);
        asked.config = json!({ "x": value }).as_object().cloned().unwrap();
        asked.tools = vec![value.into()];
        let ending = stage.run(asked).await;
        assert_eq!(ending.verdict.reason, Reason::InvalidConfiguration, "{value}: {ending:?}");
        assert_eq!(fs::read_dir(stage.workspace()).unwrap().count(), 1, "it ran");
    }
}

#[tokio::test]
async fn a_program_knows_the_variables_that_are_named_and_no_others() {
    let stage = Stage::among(|surroundings| {
        let all = [
            "PATH",
            "HOME",
            "LANG",
            "LC_ALL",
            "TZ",
            "TMPDIR",
            "SECRET",
            "LD_PRELOAD",
            "NOTIFY_SOCKET",
            "SSH_AUTH_SOCK",
        ];
        surroundings.environment = all.map(|name| (name.to_owned(), "/bin:/usr/bin".to_owned())).into();
        surroundings.environment.insert("LD_PRELOAD".into(), String::new());
        surroundings.environment.insert("MANIFESTD_LOG".into(), "trace".into());
    });
    let mut asked = command(&["cat", "/proc/self/environ"]);
    if let Target::Command(spec) = &mut asked.target {
        spec.env.insert("OWN".into(), "x".into());
    }
    let said = wrote(&stage, asked).await;
    let mut names: Vec<&str> =
        said.split('\0').filter_map(|entry| entry.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LANG", "LC_ALL", "MANIFESTD_ATTEMPT", "OWN", "PATH", "TMPDIR", "TZ"]);
}

#[tokio::test]
async fn a_program_has_no_open_file_of_ours() {
    let stage = Stage::new();
    // By a number that no program begins with.
    let held = rustix::io::fcntl_dupfd_cloexec(fs::File::open("/proc/self/status").unwrap(), 600).unwrap();
    // Whoever started the tests may have left files open in every process below; those are not ours.
    let usual = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap().stdout;
    let said = wrote(&stage, command(&["ls", "/proc/self/fd"])).await;
    assert_eq!(said, String::from_utf8(usual).unwrap());
    let held = std::os::fd::AsRawFd::as_raw_fd(&held).to_string();
    assert!(said.lines().count() >= 4 && !said.lines().any(|number| number == held), "{said}");
}

#[tokio::test]
async fn a_program_starts_in_the_apps_own_directory_or_not_at_all() {
    let stage = Stage::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x"), "of somebody else").unwrap();
    let mut inside = command(&["cat", "x"]);
    if let Target::Command(spec) = &mut inside.target {
        spec.in_app_directory = true;
    }
    fs::write(stage.workspace().join("apps/one/x"), "of the app").unwrap();
    assert_eq!(wrote(&stage, inside.clone()).await, "of the app");
    let stage = Stage::new();
    for path in ["apps/link", "apps/../../state", "/etc", "apps/link/deeper"] {
        let _ = symlink(outside.path(), stage.workspace().join("apps/link"));
        let mut asked = inside.clone();
        asked.app.path = path.into();
        let ending = stage.run(asked).await;
        assert_eq!(ending.verdict.outcome, Outcome::Failed, "{path}: {ending:?}");
        let reasons = [Reason::InvalidConfiguration, Reason::AppMissing];
        assert!(reasons.contains(&ending.verdict.reason), "{path}: {ending:?}");
    }
}
