//! A workspace with finished tasks, and what people see of it.

use std::collections::BTreeMap;

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
