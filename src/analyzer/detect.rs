//! Which tools are there: asked once, all at the same time, when the analyzer starts.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::join_all;
use regex::Regex;
use tokio_util::sync::CancellationToken;

use super::compiled_rules::CompiledRules;
use super::declaration::{Builtin, ToolDeclaration};
use super::options::Options;
use super::process::{Ending, Job, run};
use crate::disk::Directory;

/// How long a tool may take to say its version.
const DETECT_LIMIT: Duration = Duration::from_secs(15);

#[expect(clippy::unwrap_used, reason = "the expression is fixed, and the tests of this file compile it")]
static VERSION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+\.\d+(\.\d+)?([-+.][0-9A-Za-z]+)*").unwrap());

/// A tool that can be run.
#[derive(Debug)]
pub(super) struct Tool {
    /// As declared.
    pub declaration: ToolDeclaration,
    /// Whether it is there, and in which version; else why not.
    pub presence: Result<Option<String>, String>,
    /// The compiled rules of a built-in.
    pub rules: Option<Arc<CompiledRules>>,
}

/// All tools, in the order they were declared.
#[derive(Debug)]
pub(super) struct Catalog(pub Vec<Arc<Tool>>);

impl Catalog {
    /// Looks for every declared tool.
    pub(super) async fn detect(options: &Options) -> Self {
        let tools = options.tools.iter().map(|declaration| async {
            Arc::new(match declaration.builtin {
                Some(builtin) => built_in(declaration, builtin).await,
                None => Tool {
                    declaration: declaration.clone(),
                    presence: look_for(declaration, options).await,
                    rules: None,
                },
            })
        });
        Self(join_all(tools).await)
    }

    /// The names of the tools that are there.
    pub(super) fn available(&self) -> Vec<&str> {
        self.0.iter().filter(|tool| tool.presence.is_ok()).map(|tool| tool.declaration.name.as_str()).collect()
    }

    /// One tool by its name, there or not.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Tool>> {
        self.0.iter().find(|tool| tool.declaration.name == name)
    }
}

async fn built_in(declaration: &ToolDeclaration, builtin: Builtin) -> Tool {
    let compiled = match builtin {
        Builtin::Noop => Ok(None),
        Builtin::Patterns | Builtin::Secrets => {
            let rules = declaration.rules.clone();
            // Many expressions take their time, and a daemon's loops run on the same threads as this.
            tokio::task::spawn_blocking(move || CompiledRules::compile(&rules).map(|rules| Some(Arc::new(rules))))
                .await
                .unwrap_or_else(|error| Err(format!("the rules could not be compiled: {error}")))
        }
    };
    let version = Some(env!("CARGO_PKG_VERSION").to_owned());
    match compiled {
        Ok(rules) => Tool { declaration: declaration.clone(), presence: Ok(version), rules },
        Err(problem) => Tool { declaration: declaration.clone(), presence: Err(problem), rules: None },
    }
}

async fn look_for(declaration: &ToolDeclaration, options: &Options) -> Result<Option<String>, String> {
    let top = Directory::open(Path::new("/")).map_err(|error| format!("/: {error}"))?;
    let job = Job {
        argv: &declaration.detect,
        directory: &top,
        environment: &options.environment,
        env: &declaration.env,
        limit: DETECT_LIMIT,
    };
    let program = declaration.detect.first().map_or("", String::as_str);
    let found = run(job, &CancellationToken::new()).await;
    match found.ending {
        Ending::Exited(status) if status.success() => {
            let said = String::from_utf8_lossy(&found.stdout[..found.stdout.len().min(4096)]).into_owned();
            Ok(VERSION.find(&said).map(|version| version.as_str().to_owned()))
        }
        Ending::Exited(status) => Err(format!("{program} is there but does not work ({status})")),
        Ending::NotStarted(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("{program} is not installed: it was not found on PATH"))
        }
        Ending::NotStarted(error) => Err(format!("{program} cannot be started: {error}")),
        other => Err(format!("{program} did not say its version: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::load_tools;
    use crate::resource::time::Timestamp;

    #[test]
    fn versions_are_read_out_of_what_tools_say() {
        for (said, version) in [
            ("ruff 0.17.6", "0.17.6"),
            ("v9.12.0\n", "9.12.0"),
            ("bandit 1.9.4\n  python version = 3.11.7", "1.9.4"),
            ("ShellCheck - x\nversion: 0.11.0\n", "0.11.0"),
        ] {
            assert_eq!(VERSION.find(said).map(|found| found.as_str()), Some(version));
        }
    }

    #[tokio::test]
    async fn tools_are_there_or_say_why_not() {
        let text = "tools:\n\
            - {name: here, detect: [echo, '1.2.3'], argv: [echo]}\n\
            - {name: broken, detect: ['false'], argv: ['false']}\n\
            - {name: gone, detect: [no-such-tool], argv: [no-such-tool]}\n\
            - {name: noop, builtin: noop}\n";
        let mut options = Options::new("/".into(), load_tools("t", text).unwrap(), || Timestamp(0));
        options.environment.insert("PATH".into(), "/usr/bin:/bin".into());
        let catalog = Catalog::detect(&options).await;
        assert_eq!(catalog.available(), ["here", "noop"]);
        assert_eq!(catalog.find("here").unwrap().presence, Ok(Some("1.2.3".into())));
        assert!(catalog.find("gone").unwrap().presence.as_ref().unwrap_err().contains("not found on PATH"));
        assert!(catalog.find("broken").unwrap().presence.as_ref().unwrap_err().contains("does not work"));
    }
}
