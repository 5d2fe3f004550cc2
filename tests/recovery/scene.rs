//! A workspace with finished tasks, and commands that are killed at a step.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::support::daemon::{Home, quick, task};

/// Tasks of a scene.
pub(crate) const TASKS: u32 = 6;

/// Finished tasks with results.
pub(crate) fn scene() -> Home {
    let home = Home::new("");
    let tasks: String = (1..=TASKS).map(|n| task(&format!("t{n}"), "app1", "quick", "")).collect();
    let echo = quick().replace("[\"true\"]", "[echo, done]");
    home.drop_in("all.yaml", &format!("{}{echo}{tasks}", home.app(1)));
    home.run(&["reconcile", "--once"]).ok();
    home
}

/// What people see of the tasks: phase, attempts, and what each result says.
pub(crate) fn seen(home: &Home) -> BTreeMap<String, String> {
    let list = home.run(&["get", "tasks", "-o", "json"]).json();
    let items = list["items"].as_array().unwrap().clone();
    let of = |task: &serde_json::Value| {
        let name = task["metadata"]["name"].as_str().unwrap().to_owned();
        let results: Vec<String> = home
            .attempts(&name)
            .into_iter()
            .map(|attempt| {
                let directory = attempt.result_dir.unwrap_or_default();
                let text = std::fs::read(home.state().join("results").join(&directory).join("manifest.json")).unwrap();
                format!("{} {directory} {} bytes", attempt.number, text.len())
            })
            .collect();
        let status = home.task(&name).status;
        (name, format!("{} {} {} {results:?}", status.phase, status.reason, status.finished_at.is_some()))
    };
    items.iter().map(of).collect()
}

/// Small steps that look random: splitmix64, so that a seed gives the same moments everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From the seed that the environment gives.
    pub(crate) fn new() -> Self {
        let given = std::env::var_os("MANIFESTD_TEST_SEED").and_then(|text| text.to_str()?.parse().ok());
        Self(given.unwrap_or(20_261_124))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Runs a command and kills it when it has told so many steps. Gives how many it told; it may have ended before.
pub(crate) fn kill_at(home: &Home, arguments: &[&str], step: u64) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_manifestd"))
        .args(arguments)
        .args(["--log", "manifestd=debug"])
        .current_dir(home.dir.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut told, stderr) = (0, child.stderr.take().unwrap());
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        told += u64::from(line.contains("DEBUG"));
        if told >= step {
            // It may have ended by itself in this very moment.
            let _ = child.kill();
            break;
        }
    }
    child.wait().unwrap();
    told
}

/// How many steps a command tells when nobody kills it.
pub(crate) fn steps(home: &Home, arguments: &[&str]) -> u64 {
    let told = kill_at(home, arguments, u64::MAX);
    assert!(told > 2, "{arguments:?} tells only {told} steps");
    told
}
