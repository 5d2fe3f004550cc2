//! The replicas of an analyzer as people see them: those that the settings give, each with its health and its breaker.

use std::io;

use serde_json::{Value, json};

use super::item::analyzer_spec;
use super::out::Out;
use super::table::{self, Columns};
use crate::config::Settings;
use crate::plan::replica::{ReplicaFacts, Standing, of, standing};
use crate::resource::time::Timestamp;
use crate::store::view::ObjectView;

/// One replica as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    /// Its address; empty for a command.
    pub(crate) url: String,
    /// Whether anything may be sent there.
    pub(crate) standing: Standing,
    /// What is stored of it; nothing when it was never asked.
    pub(crate) facts: Option<ReplicaFacts>,
}

/// The replicas of an analyzer at `now`. A command has one, which can always be used.
pub(crate) fn replicas(
    object: &ObjectView,
    known: &[ReplicaFacts],
    settings: &Settings,
    now: Timestamp,
) -> Vec<Replica> {
    let Some(spec) = analyzer_spec(object, settings) else { return Vec::new() };
    if spec.websocket.is_none() {
        return vec![Replica { url: String::new(), standing: Standing::Usable, facts: None }];
    }
    let mut replicas: Vec<Replica> = Vec::new();
    for url in spec.replicas() {
        if replicas.iter().all(|replica| replica.url != url) {
            let facts = of(known, &url);
            replicas.push(Replica { standing: standing(facts, spec.breaker, now), facts: facts.cloned(), url });
        }
    }
    replicas
}

/// How many can be used.
pub(crate) fn usable(replicas: &[Replica]) -> usize {
    replicas.iter().filter(|replica| replica.standing.is_usable()).count()
}

impl Replica {
    /// One word for how it is.
    pub(crate) const fn state(&self) -> &'static str {
        match (self.standing, &self.facts) {
            (Standing::Unknown, _) => "NotAskedYet",
            (Standing::Unhealthy, _) => "Unhealthy",
            _ => "Healthy",
        }
    }

    /// One word for its breaker.
    pub(crate) const fn breaker(&self) -> &'static str {
        match self.standing {
            Standing::Unknown | Standing::Unhealthy => "-",
            Standing::Open { .. } => "Open",
            Standing::Trial => "HalfOpen",
            Standing::Usable => "Closed",
        }
    }

    /// Why nothing is sent there, as a sentence; nothing when it can be used.
    pub(crate) fn sentence(&self, now: Timestamp) -> Option<String> {
        let health = self.facts.as_ref().map(|facts| &facts.health);
        match self.standing {
            Standing::Usable | Standing::Trial => None,
            Standing::Unknown => Some(format!("replica {} was not asked yet", self.url)),
            Standing::Unhealthy => {
                let since = health.map_or(now, |health| health.changed_at);
                let message = health.map_or("", |health| health.message.as_str());
                Some(format!(
                    "replica {} does not answer as it should since {since} ({} ago): {message}",
                    self.url,
                    table::age(now, since)
                ))
            }
            Standing::Open { until } => Some(format!(
                "replica {} answers, but broke too many requests in a row, so nothing is sent there until {until} (in {}), and then one as a trial",
                self.url,
                table::length(until.since(now))
            )),
        }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        let health = self.facts.as_ref().map(|facts| &facts.health);
        let until = match self.standing {
            Standing::Open { until } => Some(until.rfc3339()),
            _ => None,
        };
        json!({
            "url": self.url,
            "state": self.state(),
            "sinceTime": health.map(|health| health.changed_at.rfc3339()),
            "message": health.map_or("", |health| &health.message),
            "failures": health.map_or(0, |health| health.failures),
            "version": health.map_or("", |health| &health.said.version),
            "protocols": health.map_or(&[][..], |health| &health.said.protocols),
            "tools": health.map_or(&[][..], |health| &health.said.tools),
            "breaker": self.breaker(),
            "breakerOpenUntil": until,
        })
    }
}

/// The replicas as a table, for `describe`.
pub(crate) fn table_of(replicas: &[Replica], now: Timestamp, out: &mut Out) -> io::Result<()> {
    let nothing = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let rows: Vec<Vec<String>> = replicas
        .iter()
        .map(|replica| {
            let health = replica.facts.as_ref().map(|facts| &facts.health);
            let breaker = match replica.standing {
                Standing::Open { until } => format!("Open for {}", table::length(until.since(now))),
                _ => replica.breaker().to_owned(),
            };
            vec![
                replica.url.clone(),
                replica.state().to_owned(),
                health.map_or_else(|| "-".to_owned(), |health| table::age(now, health.changed_at)),
                breaker,
                nothing(health.map_or("", |health| &health.said.version)),
                nothing(&health.map_or_else(String::new, |health| health.said.protocols.join(","))),
                nothing(health.map_or("", |health| &health.message)),
            ]
        })
        .collect();
    let header = ["REPLICA", "STATE", "FOR", "BREAKER", "VERSION", "PROTOCOLS", "MESSAGE"];
    Columns::new(&header).indented().write(out, &rows, false)
}
