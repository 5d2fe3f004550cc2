//! Objects as JSON: metadata, spec, status and where they come from, in the shape of the Kubernetes API.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::merged::{self, RoundResult};
use super::replicas::{Replica, replicas, usable};
use super::run_rows::{self, RunFacts};
use crate::config::Settings;
use crate::plan::replica::ReplicaFacts;
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::kind::{API_VERSION, Kind};
use crate::resource::object::Spec;
use crate::resource::time::Timestamp;
use crate::store::pool::{PoolUse, pool_use};
use crate::store::view::{self, Filter, ObjectView, TaskView};
use crate::store::{StoreError, glance};

/// What rows and items need besides the object itself.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    /// The time.
    pub(crate) now: Timestamp,
    /// Open attempts and draining slots of each analyzer.
    pub(crate) slots: BTreeMap<String, (u64, u64)>,
    /// How each pool is used.
    pub(crate) pools: BTreeMap<String, PoolUse>,
    /// How many apps each AppSet found.
    pub(crate) found: BTreeMap<String, u64>,
    /// What is known of the replicas of each analyzer.
    pub(crate) known: BTreeMap<String, Vec<ReplicaFacts>>,
    /// How runs and pipelines stand; empty until [`Beside::with_runs`].
    pub(crate) runs: RunFacts,
    /// Replicas that the settings give instead of the manifests, by request type.
    pub(crate) settings: Settings,
}

impl Beside {
    /// Reads what objects of these kinds need.
    pub(crate) fn read(
        connection: &rusqlite::Connection,
        kinds: &[Kind],
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut beside = Self {
            now,
            slots: BTreeMap::new(),
            pools: BTreeMap::new(),
            found: BTreeMap::new(),
            known: BTreeMap::new(),
            runs: RunFacts::default(),
            settings: settings.clone(),
        };
        if kinds.contains(&Kind::Analyzer) {
            beside.slots = view::slots_in_use(connection, now)?;
            for name in crate::store::glance::names(connection, Kind::Analyzer)? {
                let replicas = crate::store::replica::replicas(connection, &name)?;
                beside.known.insert(name, replicas);
            }
        }
        if kinds.contains(&Kind::Pool) {
            for name in glance::names(connection, Kind::Pool)? {
                let found = pool_use(connection, &name, now)?;
                beside.pools.extend(found.map(|found| (name, found)));
            }
        }
        if kinds.contains(&Kind::AppSet) {
            let apps = view::objects(connection, Kind::App, &Filter::default())?;
            for set in apps.into_iter().filter_map(|app| app.app?.app_set) {
                *beside.found.entry(set).or_default() += 1;
            }
        }
        Ok(beside)
    }
}

impl Beside {
    /// With how those of the objects stand that are runs or pipelines.
    pub(crate) fn with_runs(
        mut self,
        connection: &rusqlite::Connection,
        objects: &[ObjectView],
    ) -> anyhow::Result<Self> {
        self.runs = RunFacts::read(connection, objects, self.now)?;
        Ok(self)
    }

    /// The replicas of an analyzer as they are known.
    pub(crate) fn replicas(&self, object: &ObjectView) -> Vec<Replica> {
        let known = self.known.get(&object.name).map(Vec::as_slice).unwrap_or_default();
        replicas(object, known, &self.settings, self.now)
    }
}

/// Type, replicas and capacity of an Analyzer, as the daemon would run it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AnalyzerFacts {
    /// `websocket` or `command`.
    pub(crate) sort: &'static str,
    /// Addresses; none for a command.
    pub(crate) urls: Vec<String>,
    /// How many replicas.
    pub(crate) replicas: u64,
    /// Attempts in flight at most, over all replicas.
    pub(crate) capacity: u64,
}

/// The spec of an Analyzer, with the replicas that the settings give.
pub(crate) fn analyzer_spec(object: &ObjectView, settings: &Settings) -> Option<AnalyzerSpec> {
    let Ok(Spec::Analyzer(mut spec)) = Spec::from_value(object.kind, object.spec.clone()) else { return None };
    if let Some(websocket) = &mut spec.websocket {
        match settings.replicas_of(&websocket.request) {
            [] => {}
            given => websocket.urls = given.to_vec(),
        }
    }
    Some(*spec)
}

/// What an Analyzer comes to.
pub(crate) fn analyzer(object: &ObjectView, settings: &Settings) -> AnalyzerFacts {
    let Some(spec) = analyzer_spec(object, settings) else {
        return AnalyzerFacts { sort: "unknown", ..AnalyzerFacts::default() };
    };
    let (sort, urls) = match spec.websocket {
        Some(websocket) => ("websocket", websocket.urls),
        None => ("command", Vec::new()),
    };
    let replicas = urls.len().max(1) as u64;
    AnalyzerFacts { sort, urls, replicas, capacity: replicas * u64::from(spec.capacity) }
}

/// An object as JSON.
pub(crate) fn item(object: &ObjectView, beside: &Beside) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".into(), json!(object.name));
    metadata.insert("uid".into(), json!(object.uid));
    metadata.insert("generation".into(), json!(object.generation));
    metadata.insert("labels".into(), json!(object.labels));
    metadata.insert("annotations".into(), json!(object.annotations));
    metadata.insert("creationTimestamp".into(), json!(object.created_at.rfc3339()));
    if let Some(removed) = object.removed_at {
        metadata.insert("deletionTimestamp".into(), json!(removed.rfc3339()));
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": object.kind.as_str(),
        "metadata": metadata,
        "spec": object.spec,
        "status": status(object, beside),
        "provenance": object.provenance,
    })
}

fn status(object: &ObjectView, beside: &Beside) -> Value {
    let mut status = match object.kind {
        Kind::Task => object.task.as_ref().map_or_else(Map::new, |task| task_status(object, task)),
        Kind::App => {
            let app = object.app.as_ref();
            let mut status = Map::new();
            status.insert("present".into(), json!(app.is_some_and(|app| app.missing_since.is_none())));
            put_time(&mut status, "missingTime", app.and_then(|app| app.missing_since));
            if let Some(tree) = app.and_then(|app| app.tree.as_ref()) {
                status.insert("treeDigest".into(), json!(tree.digest));
                status.insert("treeSeenTime".into(), json!(tree.at.rfc3339()));
            }
            if let Some(set) = app.and_then(|app| app.app_set.as_ref()) {
                status.insert("appSet".into(), json!(set));
            }
            status
        }
        Kind::Analyzer => {
            let facts = analyzer(object, &beside.settings);
            let (in_flight, draining) = beside.slots.get(&object.name).copied().unwrap_or_default();
            let mut status = Map::new();
            let replicas = beside.replicas(object);
            status.insert("replicas".into(), json!(facts.replicas));
            status.insert("readyReplicas".into(), json!(usable(&replicas)));
            if !facts.urls.is_empty() {
                let each: Vec<Value> = replicas.iter().map(Replica::json).collect();
                status.insert("replicaStatuses".into(), json!(each));
            }
            status.insert("capacity".into(), json!(facts.capacity));
            status.insert("inFlight".into(), json!(in_flight));
            status.insert("draining".into(), json!(draining));
            status
        }
        Kind::Pool => {
            let found = beside.pools.get(&object.name);
            let mut status = Map::new();
            status.insert("used".into(), json!(found.map(|found| found.used)));
            status.insert("draining".into(), json!(found.map(|found| found.draining)));
            status.insert("waiting".into(), json!(found.map(|found| found.waiting)));
            put_time(&mut status, "freeTime", found.and_then(|found| found.free_at));
            status
        }
        Kind::Pipeline => run_rows::pipeline_status(object, beside),
        Kind::Run => run_rows::run_status(object, beside),
        Kind::AppSet => {
            let mut status = Map::new();
            status.insert("apps".into(), json!(beside.found.get(&object.name).copied().unwrap_or(0)));
            status.insert("suspect".into(), json!(suspect(object).is_some()));
            status
        }
    };
    status.insert("conditions".into(), json!(object.conditions));
    Value::Object(status)
}

fn task_status(object: &ObjectView, task: &TaskView) -> Map<String, Value> {
    let status = &task.status;
    let mut map = Map::new();
    map.insert("phase".into(), json!(status.phase));
    map.insert("reason".into(), json!(status.reason));
    map.insert("message".into(), json!(status.message));
    map.insert("observedGeneration".into(), json!(status.observed_generation));
    map.insert("round".into(), json!(status.round));
    map.insert("attempts".into(), json!(status.attempt));
    put_time(&mut map, "phaseTime", Some(task.since));
    put_time(&mut map, "nextTime", status.next_at);
    put_time(&mut map, "startTime", status.started_at);
    put_time(&mut map, "completionTime", status.finished_at);
    map.insert("findings".into(), json!(status.findings));
    if let Some(digest) = &status.app_digest {
        map.insert("appDigest".into(), json!(digest));
    }
    map.insert("owner".into(), json!(task.owner));
    map.insert("pool".into(), json!(task.pool));
    map.insert("tools".into(), json!(merged::latest(object, &task.attempts).map_or_else(Vec::new, |of| tools(&of))));
    map
}

/// The tools of a round, each with the attempt and the directory that it comes from.
fn tools(of: &RoundResult) -> Vec<Value> {
    let tools = of.merged.tools.iter().map(|tool| {
        let mut item = json!(tool.report);
        item["attempt"] = json!(tool.attempt);
        item["directory"] = json!(of.attempt(tool.attempt).and_then(|attempt| attempt.result_dir.as_ref()));
        item
    });
    tools.collect()
}

pub(crate) fn put_time(map: &mut Map<String, Value>, key: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        map.insert(key.into(), json!(time.rfc3339()));
    }
}

/// The message of the condition that says an AppSet's scan is not to be believed, when it holds.
pub(crate) fn suspect(object: &ObjectView) -> Option<&str> {
    let holds = |condition: &&view::ConditionView| {
        condition.condition == crate::plan::apps::SOURCE_SUSPECT && condition.status == "True"
    };
    object.conditions.iter().find(holds).map(|condition| condition.message.as_str())
}

/// Several items as one object.
pub(crate) fn list(items: Vec<Value>) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": "List", "items": items })
}
