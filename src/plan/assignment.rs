//! Puts together what an executor is handed: the same for an attempt that is opened and for one that is taken up again.

use super::admission::AppFacts;
use crate::resource::analyzer::{AnalyzerSpec, WebSocketSpec};
use crate::resource::attempt::{AppTarget, Assignment, AttemptId, Origin, Stamp, Target};
use crate::resource::digest::sha256;
use crate::resource::object::Spec;
use crate::resource::task::TaskSpec;
use crate::resource::time::{Span, Timestamp};

/// Time to connect when the analyzer's spec is not known any more; the default of that spec.
const CONNECT_TIMEOUT: Span = Span::seconds(5);

/// The digest by which a result is known to be about a spec: sha256, in hex, of the JSON that is stored of it.
#[must_use]
pub fn spec_digest(spec: &TaskSpec) -> String {
    text_digest(&Spec::Task(Box::new(spec.clone())).to_value().to_string())
}

/// The same of the stored JSON itself.
#[must_use]
pub fn text_digest(text: &str) -> String {
    sha256(text)
}

/// What an assignment is made of.
pub(super) struct Order<'a> {
    /// Which attempt.
    pub(super) id: AttemptId,
    /// Name of the task.
    pub(super) task: &'a str,
    /// What the task wants.
    pub(super) spec: &'a TaskSpec,
    /// The tools to ask for.
    pub(super) tools: Vec<String>,
    /// The app, if it is known.
    pub(super) app: Option<&'a AppFacts>,
    /// Name of the analyzer.
    pub(super) analyzer: &'a str,
    /// What the analyzer is, if it is known.
    pub(super) analyzer_spec: Option<&'a AnalyzerSpec>,
    /// Address of the replica; empty for a command.
    pub(super) replica: &'a str,
    /// Whether the replica speaks `manifestd/v1`.
    pub(super) extended: bool,
    /// When the attempt was opened.
    pub(super) opened_at: Timestamp,
    /// When it ends at the latest.
    pub(super) deadline_at: Timestamp,
    /// What it belongs to.
    pub(super) origin: Origin,
    /// What makes its result fit for other attempts.
    pub(super) stamp: Option<Stamp>,
    /// Whether a controller that is gone has begun it.
    pub(super) resumed: bool,
}

impl Order<'_> {
    /// The assignment. Without the app or the analyzer it is good for nothing but stopping.
    pub(super) fn assignment(self) -> Box<Assignment> {
        let target = self.target();
        Box::new(Assignment {
            id: self.id,
            task: self.task.to_owned(),
            analyzer: self.analyzer.to_owned(),
            app: AppTarget {
                name: self.spec.app.clone(),
                path: self.app.map_or_else(String::new, |app| app.path.clone()),
                model: self.app.and_then(|app| app.model.clone()),
                number: self.app.and_then(|app| app.number),
                target_urls: self.app.map_or_else(Vec::new, |app| app.target_urls.clone()),
            },
            target,
            rate: self.analyzer_spec.and_then(|spec| spec.rate),
            tools: self.tools,
            config: self.spec.config.clone(),
            keep_results: self.analyzer_spec.map(|spec| spec.keep_results).unwrap_or_default(),
            origin: self.origin,
            stamp: self.stamp,
            opened_at: self.opened_at,
            deadline_at: self.deadline_at,
            resumed: self.resumed,
        })
    }

    fn target(&self) -> Target {
        // What was opened on a replica stays there, whatever its analyzer has become.
        if self.replica.is_empty()
            && let Some(command) = self.analyzer_spec.and_then(|spec| spec.command.as_ref())
        {
            return Target::Command(Box::new(command.clone()));
        }
        let websocket = self.analyzer_spec.and_then(|spec| spec.websocket.as_ref());
        // A secret is for the addresses that stand beside it, and not for one that an earlier spec had.
        let is_named = |websocket: &&WebSocketSpec| websocket.urls.iter().any(|url| url == self.replica);
        let credentials = websocket.filter(is_named).map(WebSocketSpec::credentials).unwrap_or_default();
        Target::WebSocket {
            url: self.replica.to_owned(),
            request: websocket.map(|websocket| websocket.request.clone()).unwrap_or_default(),
            connect_timeout: websocket.map_or(CONNECT_TIMEOUT, |websocket| websocket.connect_timeout),
            credentials,
            extended: self.extended,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::analyzer::Credentials;
    use crate::resource::name::Uid;

    #[test]
    fn a_secret_goes_only_to_the_addresses_that_stand_beside_it() {
        let websocket =
            json!({"urls": ["wss://new"], "request": "r", "tokenSecretName": "token", "caSecretName": "ca"});
        let analyzer: AnalyzerSpec = serde_json::from_value(json!({ "websocket": websocket })).unwrap();
        let spec: TaskSpec = serde_json::from_value(json!({"app": "a", "analyzer": "x"})).unwrap();
        let credentials = |replica: &str| {
            let order = Order {
                id: AttemptId { task: Uid("t".into()), number: 1 },
                task: "t",
                spec: &spec,
                tools: Vec::new(),
                app: None,
                analyzer: "x",
                analyzer_spec: Some(&analyzer),
                replica,
                extended: true,
                opened_at: Timestamp(0),
                deadline_at: Timestamp(1),
                origin: Origin::default(),
                stamp: None,
                resumed: true,
            };
            match order.assignment().target {
                Target::WebSocket { credentials, .. } => credentials,
                Target::Command(_) => unreachable!("it is a service"),
            }
        };
        let both = Credentials { token: Some("token".into()), ca: Some("ca".into()) };
        assert_eq!(credentials("wss://new"), both);
        assert_eq!(credentials("wss://old"), Credentials::default(), "what an earlier spec named");
    }
}
