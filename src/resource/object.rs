//! An object: metadata and the typed spec of its kind, as a manifest declares it.

use serde::Serialize;
use serde_json::Value;

use super::analyzer::AnalyzerSpec;
use super::app::AppSpec;
use super::app_set::AppSetSpec;
use super::kind::{API_VERSION, Kind};
use super::metadata::Metadata;
use super::pipeline::PipelineSpec;
use super::pool::PoolSpec;
use super::task::TaskSpec;

/// The spec of one object, by kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Spec {
    /// See [`AnalyzerSpec`].
    Analyzer(Box<AnalyzerSpec>),
    /// See [`AppSpec`].
    App(AppSpec),
    /// See [`AppSetSpec`].
    AppSet(AppSetSpec),
    /// See [`PipelineSpec`].
    Pipeline(Box<PipelineSpec>),
    /// See [`PoolSpec`].
    Pool(PoolSpec),
    /// See [`TaskSpec`].
    Task(Box<TaskSpec>),
}

impl Spec {
    /// The kind this spec belongs to.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Analyzer(_) => Kind::Analyzer,
            Self::App(_) => Kind::App,
            Self::AppSet(_) => Kind::AppSet,
            Self::Pipeline(_) => Kind::Pipeline,
            Self::Pool(_) => Kind::Pool,
            Self::Task(_) => Kind::Task,
        }
    }

    /// Reads a spec of a known kind from JSON, such as a stored one.
    ///
    /// # Errors
    /// What serde says when the value does not fit the kind.
    pub fn from_value(kind: Kind, value: Value) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            Kind::Analyzer => Self::Analyzer(Box::new(serde_json::from_value(value)?)),
            Kind::App => Self::App(serde_json::from_value(value)?),
            Kind::AppSet => Self::AppSet(serde_json::from_value(value)?),
            Kind::Pipeline => Self::Pipeline(Box::new(serde_json::from_value(value)?)),
            Kind::Run => return Err(serde::de::Error::custom("a Run is declared nowhere")),
            Kind::Pool => Self::Pool(serde_json::from_value(value)?),
            Kind::Task => Self::Task(Box::new(serde_json::from_value(value)?)),
        })
    }

    /// The canonical JSON of this spec: what is stored, compared and digested.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

/// One declared object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Name, labels and annotations.
    pub metadata: Metadata,
    /// What is desired.
    pub spec: Spec,
}

impl Object {
    /// The object's kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.spec.kind()
    }

    /// The object as a manifest's value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::json!({
            "apiVersion": API_VERSION,
            "kind": self.kind().as_str(),
            "metadata": self.metadata,
            "spec": self.spec.to_value(),
        })
    }
}
