//! What every command is given: the settings, resolved from file, environment and flags, and the paths that follow from them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::exit::refused;
use super::plain::PlainLog;
use crate::config::{self, Effective, Layer, LogFormat, Origin, Settings};
use crate::disk::TrustedPrograms;
use crate::manifest::typed::typed;
use crate::manifest::{Bounds, Programs};
use crate::store::{database_path, open_read_only};

/// The library that upgrades the database tells each step as news; the store says what a person needs to know of it.
const MIGRATIONS_LOG: &str = "rusqlite_migration=warn";

/// The largest settings file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The directory that app paths, manifests and state are relative to
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub workspace: Option<String>,
    /// The directory of the database and the results [default: .manifestd]
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub state: Option<String>,
    /// The directory of manifests [default: manifests]
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub manifests: Option<String>,
    /// The settings file [default: manifestd.yaml in the workspace, when there is one]
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// What is logged on stderr: error, warn, info, debug, trace, or a tracing filter
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// How it is logged
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub log_format: Option<String>,
    /// Whether output has colours
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: ColourWhen,
}

/// Whether output has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColourWhen {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Yes
    Always,
    /// No
    Never,
}

/// What every command is given.
#[derive(Debug, Clone)]
pub struct Context {
    /// Every setting.
    pub settings: Settings,
    /// Every setting with its origin.
    pub effective: Vec<Effective>,
    /// The workspace.
    pub workspace: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// The manifests directory.
    pub manifests: PathBuf,
    /// The programs that commands may run; `None` for any.
    pub programs: Option<TrustedPrograms>,
    /// Whether standard output has colours.
    pub colour: bool,
    /// Whether standard error has colours.
    pub colour_stderr: bool,
}

impl Context {
    /// Resolves the settings: defaults, settings file, environment, flags, the later ones winning.
    ///
    /// # Errors
    /// Every unknown setting and every wrong value, one on a line.
    pub fn resolve(global: &Global) -> anyhow::Result<Self> {
        let variables = environment();
        let is_set = |name: &str| variables.iter().any(|(known, value)| known == name && !value.is_empty());
        // Sources: no-color.org, and what terminals that know no colours call themselves.
        let plain = is_set("NO_COLOR") || variables.iter().any(|(name, value)| name == "TERM" && value == "dumb");
        let env = config::environment(variables).map_err(together)?;
        let flags = flags(global);
        let workspace = chosen("workspace", &[&env, &flags]).unwrap_or_else(|| ".".into());
        let file = settings_file(global.config.as_deref(), Path::new(&workspace))?;
        let (settings, effective) = config::resolve(&[file, env, flags]).map_err(together)?;
        let workspace = PathBuf::from(&settings.workspace);
        let colour = |terminal: bool| match global.color {
            ColourWhen::Always => true,
            ColourWhen::Never => false,
            ColourWhen::Auto => terminal && !plain,
        };
        Ok(Self {
            state: below(&workspace, &settings.state),
            manifests: below(&workspace, &settings.manifests_directory()),
            programs: TrustedPrograms::of(&workspace, &settings.command_directory),
            workspace,
            colour: colour(std::io::stdout().is_terminal()),
            colour_stderr: colour(std::io::stderr().is_terminal()),
            settings,
            effective,
        })
    }

    /// Starts logging to standard error as the settings say. Once in a process.
    ///
    /// # Errors
    /// When the setting `log` is no filter.
    pub fn start_log(&self) -> anyhow::Result<()> {
        let filter = tracing_subscriber::EnvFilter::builder()
            .parse(&self.settings.log)
            .with_context(|| format!("setting log = {:?}", self.settings.log))?;
        // A plain level is about this program; a filter says itself what it is about.
        let plain = !self.settings.log.contains(['=', ',']);
        let filter = if plain { filter.add_directive(MIGRATIONS_LOG.parse()?) } else { filter };
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| PlainLog(std::io::stderr()));
        // A line that cannot be written is lost: to say so on the same standard error would be a panic of whoever logs.
        let log = log.log_internal_errors(false);
        let started = match self.settings.log_format {
            LogFormat::Text => log.with_ansi(self.colour_stderr).try_init(),
            LogFormat::Json => log.json().try_init(),
        };
        // A log that was started before, as by a test of the library, goes on.
        let _ = started;
        Ok(())
    }

    /// Refuses to change manifests that are a checkout of somebody else's repository.
    ///
    /// # Errors
    /// Where they are to be changed instead.
    pub fn check_writable(&self) -> anyhow::Result<()> {
        if self.settings.git_url.is_empty() {
            return Ok(());
        }
        // Without the address, which may hold a password.
        Err(refused(format!(
            "the manifests are a checkout of the repository in the setting gitUrl, and nothing is written into it; \
             change them there, on branch {:?} below {:?}",
            self.settings.git_branch, self.settings.git_path
        )))
    }

    /// What manifests may name.
    #[must_use]
    pub fn bounds(&self) -> Bounds<'_> {
        let programs = self.programs.as_ref().map(|programs| programs as &dyn Programs);
        Bounds { roots: &self.settings.roots, programs }
    }

    /// Opens the database for reading, with or without a running controller.
    ///
    /// # Errors
    /// When there is none, or it is too new.
    pub fn open(&self) -> anyhow::Result<rusqlite::Connection> {
        Ok(open_read_only(&database_path(&self.state))?)
    }
}

/// A path below the workspace; without a leading `./` when that is where one is, since people read it.
fn below(workspace: &Path, path: &str) -> PathBuf {
    if workspace == Path::new(".") { PathBuf::from(path) } else { workspace.join(path) }
}

/// All variables as text; what is not UTF-8 is replaced, as nothing that is read here needs it.
pub(super) fn environment() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

fn flags(global: &Global) -> Layer {
    let given = [
        ("workspace", &global.workspace),
        ("state", &global.state),
        ("manifests", &global.manifests),
        ("log", &global.log),
        ("logFormat", &global.log_format),
    ];
    let set = given.into_iter().filter_map(|(name, value)| Some((name.into(), value.clone()?, Origin::Flag)));
    Layer(set.collect())
}

/// The value that the last layer to name a setting gives it.
fn chosen(name: &str, layers: &[&Layer]) -> Option<String> {
    let mut values = layers.iter().flat_map(|layer| &layer.0).filter(|(known, _, _)| known == name);
    values.next_back().map(|(_, value, _)| value.clone())
}

fn settings_file(given: Option<&Path>, workspace: &Path) -> anyhow::Result<Layer> {
    let path = given.map_or_else(|| workspace.join(config::FILE_NAME), Path::to_owned);
    let label = path.display().to_string();
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && given.is_none() => return Ok(Layer::default()),
        Err(error) => return Err(error).with_context(|| format!("settings file {label}")),
        Ok(stat) if stat.len() > FILE_BYTES_MAX => bail!("settings file {label} has more than {FILE_BYTES_MAX} bytes"),
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("settings file {label}"))?;
    read_settings(&label, &text, given.is_none())
}

/// A settings file as a layer. `inside` says that it was found in the workspace, which it can then not name.
fn read_settings(label: &str, text: &str, inside: bool) -> anyhow::Result<Layer> {
    let map: Option<Map<String, Value>> = typed(label, text).map_err(anyhow::Error::msg)?;
    let mut layer = Layer::default();
    for (name, value) in map.unwrap_or_default() {
        if name == "workspace" && inside {
            bail!(
                "{label}: the workspace cannot be set here, as this file is looked for in it; use --workspace or MANIFESTD_WORKSPACE"
            );
        }
        let text = match &value {
            Value::Array(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
            one => scalar(one),
        };
        let Some(text) = text else {
            bail!("{label}: setting {name} must be a text, a number, a boolean or a list of them")
        };
        layer.0.push((name, text, Origin::File(label.to_owned())));
    }
    Ok(layer)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Several problems as one error, each on a line.
fn together(problems: Vec<String>) -> anyhow::Error {
    anyhow::Error::msg(problems.join("\nerror: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settings_file_gives_scalars_and_lists_as_text() {
        let text = "taskTimeout: 90s\nprunePercent: 10\nembeddedAnalyzer: true\nroots: [a, b]\n";
        let layer = read_settings("manifestd.yaml", text, true).unwrap();
        let (settings, effective) = config::resolve(&[layer]).unwrap();
        assert_eq!((settings.prune_percent, settings.embedded_analyzer), (10, true));
        assert_eq!(settings.roots, ["a", "b"]);
        let timeout = effective.iter().find(|value| value.name == "taskTimeout").unwrap();
        assert_eq!(timeout.origin, Origin::File("manifestd.yaml".into()));
        assert_eq!(read_settings("x", "# nothing\n", true).unwrap(), Layer::default());
    }

    #[test]
    fn a_settings_file_with_maps_nulls_or_its_own_workspace_is_refused() {
        for text in ["log: {a: 1}", "log:", "roots: [[a]]", "workspace: /x", "log: a\nlog: b", "- a"] {
            let error = read_settings("manifestd.yaml", text, true).unwrap_err().to_string();
            assert!(error.starts_with("manifestd.yaml:"), "{text}: {error}");
        }
        assert!(read_settings("other.yaml", "workspace: /x", false).is_ok());
    }
}
