//! What people write in a simulated world: a few analyzers, apps, pools, tasks and pipelines, and how their specs are edited.

use manifestd::resource::kind::Kind;
use serde_json::{Map, Value, json};

use super::dice::Dice;

/// The tools of every analyzer here.
pub(crate) const TOOLS: [&str; 3] = ["alpha", "beta", "gamma"];

/// The analyzers: a program, services that speak the base protocol, and services that speak the extension.
pub(crate) const ANALYZERS: [&str; 3] = ["cmd", "web", "ext"];

/// Apps that people write by hand, each with a directory.
pub(crate) const APPS: [&str; 3] = ["a0", "a1", "a2"];

/// Where the AppSet looks.
pub(crate) const ROOT: &str = "gen";

/// Apps that an AppSet finds: name, directory.
pub(crate) const FOUND: [(&str, &str); 9] = [
    ("m-app1", "gen/m/app1"),
    ("m-app2", "gen/m/app2"),
    ("m-app3", "gen/m/app3"),
    ("m-app4", "gen/m/app4"),
    ("n-app1", "gen/n/app1"),
    ("n-app2", "gen/n/app2"),
    ("m-app5", "gen/m/app5"),
    ("m-app6", "gen/m/app6"),
    ("m-app7", "gen/m/app7"),
];

/// One document of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) spec: Value,
}

impl Document {
    pub(crate) fn new(kind: Kind, name: &str, spec: Value) -> Self {
        Self { kind, name: name.to_owned(), spec }
    }

    /// As it stands in a file: JSON is YAML too.
    pub(crate) fn text(&self) -> String {
        let metadata = json!({"name": self.name, "labels": {"sim": "yes"}});
        let whole = json!({"apiVersion": "manifestd.dev/v1alpha1", "kind": self.kind.as_str(), "metadata": metadata, "spec": self.spec});
        format!("{whole}\n")
    }
}

/// The addresses of the replicas that an analyzer may have.
pub(crate) fn urls(analyzer: &str) -> Vec<String> {
    (1..=2).map(|number| format!("ws://{analyzer}-{number}.example:2000")).collect()
}

/// An analyzer's spec.
pub(crate) fn analyzer(name: &str, dice: &mut Dice) -> Document {
    let mut spec = Map::new();
    if name == "cmd" {
        spec.insert("command".into(), json!({"argv": ["tool", "${task.name}"], "terminationGrace": "2s"}));
    } else {
        let urls: Vec<String> = urls(name).into_iter().take(dice.within(1, 2) as usize).collect();
        let connect = if dice.chance(30) { "1s" } else { "5s" };
        spec.insert("websocket".into(), json!({"urls": urls, "request": "simulate", "connectTimeout": connect}));
        let interval = *dice.pick(&["30s", "45s", "2m"]);
        let threshold = dice.within(1, 3);
        spec.insert("probe".into(), json!({"interval": interval, "timeout": "5s", "failureThreshold": threshold}));
        spec.insert("breaker".into(), json!({"openAfterFailures": dice.within(2, 4), "halfOpenAfter": "90s"}));
    }
    spec.insert("capacity".into(), dice.within(1, 2).into());
    if dice.chance(15) {
        spec.insert("rate".into(), json!({"limit": dice.within(1, 3), "per": *dice.pick(&["20s", "1m"])}));
    }
    if dice.chance(20) {
        spec.insert("pool".into(), "shared".into());
    }
    if dice.chance(20) {
        spec.insert("version".into(), dice.roll(3).to_string().into());
    }
    Document::new(Kind::Analyzer, name, spec.into())
}

/// A pool's spec.
pub(crate) fn pool(dice: &mut Dice) -> Document {
    let mut spec = json!({"slots": dice.within(1, 2)});
    if dice.chance(25) {
        spec["rate"] = json!({"limit": dice.within(1, 3), "per": "30s"});
    }
    Document::new(Kind::Pool, "shared", spec)
}

/// An App written by hand.
pub(crate) fn app(name: &str, dice: &mut Dice) -> Document {
    let number = name.trim_start_matches('a').parse::<u64>().unwrap_or(0);
    let mut spec = json!({"path": format!("apps/{name}"), "model": "m", "number": number});
    if dice.chance(20) {
        spec["targetUrls"] = json!([format!("http://127.0.0.1:{}", 8000 + dice.roll(3))]);
    }
    Document::new(Kind::App, name, spec)
}

/// The AppSet, with a fuse that sometimes allows nothing.
pub(crate) fn app_set(dice: &mut Dice) -> Document {
    let fuse = json!({"percent": *dice.pick(&[0, 20, 60]), "count": *dice.pick(&[1, 50])});
    let spec = json!({"root": ROOT, "pattern": "{model}/app{number}", "maxDisappear": fuse});
    Document::new(Kind::AppSet, "found", spec)
}

/// A task's spec, for one of some analyzers and one of some apps.
pub(crate) fn task(name: &str, analyzers: &[&str], apps: &[&str], dice: &mut Dice) -> Document {
    let mut spec = Map::new();
    let analyzer = *dice.pick(analyzers);
    spec.insert("analyzer".into(), analyzer.into());
    if analyzer != "cmd" || dice.chance(70) {
        spec.insert("app".into(), (*dice.pick(apps)).into());
    }
    let tools = match dice.roll(4) {
        0 => vec![],
        1 => vec![TOOLS[0]],
        2 => vec![TOOLS[0], TOOLS[1]],
        _ => TOOLS.to_vec(),
    };
    spec.insert("tools".into(), json!(tools));
    spec.insert("backoffLimit".into(), dice.roll(4).into());
    let base = *dice.pick(&["1s", "5s", "20s"]);
    spec.insert("retry".into(), json!({"base": base, "factor": 2, "max": "40s"}));
    spec.insert("priority".into(), (100 + dice.roll(3) * 10).into());
    if dice.chance(40) {
        spec.insert("activeDeadlineSeconds".into(), dice.within(30, 240).into());
    }
    if dice.chance(25) {
        spec.insert("pool".into(), "shared".into());
    }
    if dice.chance(5) {
        spec.insert("suspend".into(), true.into());
    }
    let policy = dice.weighed(&[(16, "OnSpecChange"), (2, "Once"), (3, "OnAppChange")]);
    spec.insert("runPolicy".into(), policy.into());
    if dice.chance(10) {
        spec.insert("cache".into(), "Content".into());
    }
    spec.insert("config".into(), json!({"edit": dice.roll(1000)}));
    Document::new(Kind::Task, name, spec.into())
}

/// The pipeline that another one runs: two items, each of which gives an output.
pub(crate) fn inner_pipeline(analyzer: &str, dice: &mut Dice) -> Document {
    let mut step = json!({"name": "sub", "analyzer": analyzer, "forEach": {"range": {"from": 1, "to": dice.within(1, 2)}},
        "backoffLimit": dice.roll(2), "retry": {"base": "2s", "factor": 2, "max": "9s"}, "tools": [TOOLS[0]]});
    if analyzer != "cmd" {
        step["app"] = "a0".into();
    }
    Document::new(Kind::Pipeline, "inner", json!({"runPolicy": "Manual", "steps": [step]}))
}

/// The pipeline with everything: items that make apps, a stream over them, an approval, a pipeline within, a step that is critical now
/// and then, and something at the end.
pub(crate) fn pipeline(analyzer: &str, dice: &mut Dice) -> Document {
    let retry = json!({"base": "2s", "factor": 2, "max": "9s"});
    let makes = dice.chance(60);
    let mut first = json!({"name": "make", "analyzer": analyzer, "forEach": {"range": {"from": 1, "to": dice.within(1, 3)}},
        "backoffLimit": dice.roll(2), "retry": retry, "tools": [TOOLS[0]], "critical": dice.chance(30)});
    if makes {
        first["produces"] =
            json!({"app": "made-${item}", "path": "made/m/app${item}", "model": "m", "number": "${item}"});
        first["config"] = json!({"makes": "${produces.path}"});
    }
    if dice.chance(30) {
        first["outputs"] = json!(["score"]);
    }
    if analyzer != "cmd" {
        first["app"] = "a0".into();
    }
    let mut steps = vec![first];
    if makes {
        steps.push(json!({"name": "look", "analyzer": analyzer, "forEach": {"appsFrom": "make"}, "backoffLimit": 0, "tools": [TOOLS[0]]}));
    }
    if dice.chance(30) {
        let timeout = *dice.pick(&["20s", "3m"]);
        let on_timeout = *dice.pick(&["Reject", "Approve"]);
        steps.push(
            json!({"name": "agree", "needs": ["make"], "approval": {"timeout": timeout, "onTimeout": on_timeout}}),
        );
    }
    if dice.chance(50) {
        let needs = if steps.len() > 2 { "agree" } else { "make" };
        let needs = if steps.iter().any(|step| step["name"] == needs) { needs } else { "make" };
        steps.push(json!({"name": "within", "needs": [needs], "pipeline": "inner"}));
    }
    let mut last = json!({"name": "last", "analyzer": analyzer, "backoffLimit": 0, "tools": [TOOLS[0]]});
    if analyzer != "cmd" {
        last["app"] = "a0".into();
    }
    let mut spec = json!({"steps": steps, "finally": [last], "parallelism": dice.within(1, 3),
        "deletionPolicy": *dice.pick(&["Cancel", "Finish", "Orphan"])});
    if dice.chance(25) {
        spec["activeDeadlineSeconds"] = dice.within(60, 400).into();
    }
    if dice.chance(20) {
        spec["schedule"] = json!({"cron": "*/10 * * * *", "concurrencyPolicy": *dice.pick(&["Allow", "Forbid", "Replace"]),
            "catchUp": *dice.pick(&["None", "Latest", "All"])});
        spec["runPolicy"] = "OnSpecChange".into();
    }
    if dice.chance(20) {
        spec["maxConcurrentRuns"] = 2.into();
    }
    Document::new(Kind::Pipeline, "study", spec)
}
