//! Settings: one table of names, old environment variables, defaults and meanings; resolved from layers of text, each value with its
//! origin. Pure: whoever calls hands in the file, the environment and the flags.

mod contradictions;

use std::collections::BTreeMap;
use std::str::FromStr;

use contradictions::contradictions;

use crate::plan::Budgets;
use crate::plan::maintenance::Rules;
use crate::resource::time::Span;

/// Prefix of environment variables; any other name behind it is an error.
pub const ENV_PREFIX: &str = "MANIFESTD_";

/// The settings file looked for in the workspace.
pub const FILE_NAME: &str = "manifestd.yaml";

/// Where a git repository that is followed is kept, in the state directory.
pub const GIT_DIRECTORY: &str = "git";

/// The checkout that counts, in [`GIT_DIRECTORY`].
pub const GIT_CURRENT: &str = "current";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The settings file of this name.
    File(String),
    /// The environment variable of this name.
    Environment(String),
    /// A flag on the command line.
    Flag,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::File(name) => f.pad(name),
            Self::Environment(name) => f.pad(&format!("environment: {name}")),
            Self::Flag => f.pad("flag"),
        }
    }
}

/// Values that one source gives, by setting name; later layers win.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layer(pub Vec<(String, String, Origin)>);

/// A setting as the table describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// Its name in the settings file and in `manifestd config`.
    pub name: &'static str,
    /// The old system's environment variable, when it had one.
    pub old_env: Option<&'static str>,
    /// Its default as text.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// An effective value for `manifestd config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The setting.
    pub name: &'static str,
    /// Its value as text.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What it does.
    pub about: &'static str,
}

macro_rules! settings {
    ($($field:ident: $type:ty, $name:literal, $old:expr, $default:literal, $about:literal;)+) => {
        /// Every setting, resolved.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings { $(#[doc = $about] pub $field: $type),+ }

        /// The table of all settings.
        pub const TABLE: &[Described] = &[$(Described { name: $name, old_env: $old, default: $default, about: $about }),+];

        fn read(chosen: &BTreeMap<&'static str, (String, Origin)>) -> Result<Settings, Vec<String>> {
            let mut problems = Vec::new();
            $(let $field = match <$type as Value>::read(&chosen[$name].0) {
                Ok(value) => Some(value),
                Err(why) => {
                    problems.push(format!("setting {} = {:?} ({}): {why}", $name, chosen[$name].0, chosen[$name].1));
                    None
                }
            };)+
            match ($($field,)+) {
                ($(Some($field),)+) => Ok(Settings { $($field),+ }),
                _ => Err(problems),
            }
        }
    };
}

settings! {
    workspace: String, "workspace", None, ".", "The directory that app paths are relative to.";
    manifests: String, "manifests", None, "manifests", "The directory of manifests that is mirrored, relative to the workspace.";
    state: String, "state", None, ".manifestd", "The directory of the database and the results, relative to the workspace.";
    command_directory: String, "commandDirectory", None, "", "The one directory that programs of commands may come from, links resolved; relative to the workspace. Empty for anywhere.";
    secrets_directory: String, "secretsDirectory", None, "secrets", "Where the files lie that analyzers name as secrets, relative to the state directory. Only its owner may write there.";
    roots: Vec<String>, "roots", None, ".", "Directories that apps may lie in, relative to the workspace; several with commas.";
    task_poll_interval: Span, "taskPollInterval", Some("TASK_POLL_INTERVAL"), "10s", "Time between two resyncs of the task loop; events make it immediate.";
    task_timeout: Span, "taskTimeout", Some("TASK_TIMEOUT"), "30m", "Deadline of an attempt whose task gives no activeDeadlineSeconds.";
    stuck_after: Span, "stuckAfter", Some("STUCK_AFTER"), "15m", "A running attempt without a sign of life for so long is closed and tried again.";
    preflight_max_retries: u32, "preflightMaxRetries", Some("PREFLIGHT_MAX_RETRIES"), "3", "How often an unavailable analyzer is waited for (30s, 60s, 120s, ...) before the task fails.";
    transient_failure_max_retries: u32, "transientFailureMaxRetries", Some("TRANSIENT_FAILURE_MAX_RETRIES"), "3", "How often in a row a task that failed as AnalyzerUnavailable is started over when its analyzer is back.";
    scan_interval: Span, "scanInterval", None, "60s", "Time between two scans of the disk for apps.";
    rescan_interval: Span, "rescanInterval", None, "5m", "Time between two full scans of the manifests directory; file events make it immediate.";
    prune_percent: u32, "prunePercent", None, "50", "Removal of more than this share of the manifests in one scan must be confirmed.";
    prune_count: u32, "pruneCount", None, "1000", "Removal of more than this many manifests in one scan must be confirmed.";
    git_url: String, "gitUrl", None, "", "A git repository whose manifests are mirrored instead of the directory `manifests`; empty for none.";
    git_branch: String, "gitBranch", None, "main", "The branch of gitUrl that is followed.";
    git_path: String, "gitPath", None, ".", "The directory of manifests in the repository of gitUrl.";
    git_interval: Span, "gitInterval", None, "1m", "Time between two looks at the repository of gitUrl.";
    git_verify: bool, "gitVerify", None, "false", "Take a commit of gitUrl only if `git verify-commit` accepts its signature.";
    shutdown_grace_period: Span, "shutdownGracePeriod", None, "30s", "How long running attempts may go on after the first signal to stop.";
    maintenance_auto_start: bool, "maintenanceAutoStart", Some("MAINTENANCE_AUTO_START"), "false", "Run maintenance in the daemon, at every maintenanceInterval.";
    maintenance_interval: Span, "maintenanceInterval", Some("MAINTENANCE_INTERVAL_SECONDS"), "1h", "Time between two runs of maintenance.";
    cleanup_orphan_apps: bool, "cleanupOrphanApps", Some("CLEANUP_ORPHAN_APPS"), "true", "Maintenance deletes the record of an app that was found on disk and is gone for longer than orphanAppRetentionDays.";
    orphan_app_retention_days: u32, "orphanAppRetentionDays", Some("ORPHAN_APP_RETENTION_DAYS"), "7", "Days for which the record of a missing app is kept.";
    cleanup_orphan_tasks: bool, "cleanupOrphanTasks", Some("CLEANUP_ORPHAN_TASKS"), "true", "Tasks of a deleted app are cancelled; they run again when it comes back.";
    cleanup_stuck_tasks: bool, "cleanupStuckTasks", Some("CLEANUP_STUCK_TASKS"), "true", "Maintenance ends tasks that stuckTaskTimeoutMinutes or pendingTaskTimeoutMinutes call stuck.";
    stuck_task_timeout_minutes: u32, "stuckTaskTimeoutMinutes", Some("STUCK_TASK_TIMEOUT_MINUTES"), "120", "Maintenance fails a task that is Running for so many minutes while nobody carries it.";
    pending_task_timeout_minutes: u32, "pendingTaskTimeoutMinutes", Some("PENDING_TASK_TIMEOUT_MINUTES"), "240", "Maintenance cancels a task that is Pending for so many minutes, and not for its turn, a missing directory or a person; 0 for never.";
    cleanup_old_tasks: bool, "cleanupOldTasks", Some("CLEANUP_OLD_TASKS"), "true", "Maintenance sets finished tasks and runs aside after taskRetentionDays.";
    task_retention_days: u32, "taskRetentionDays", Some("TASK_RETENTION_DAYS"), "30", "Days for which a finished task or run is listed, and events are kept.";
    quarantine_days: u32, "quarantineDays", None, "7", "Days for which what maintenance set aside, or found without a record, can be brought back.";
    cleanup_stray_results: bool, "cleanupStrayResults", None, "true", "Maintenance looks for result directories that belong to no attempt, lists them, and deletes them after quarantineDays.";
    grace_period_minutes: u32, "gracePeriodMinutes", Some("GRACE_PERIOD_MINUTES"), "5", "Maintenance leaves alone whatever is younger.";
    embedded_analyzer: bool, "embeddedAnalyzer", None, "false", "Run the embedded analyzer inside the daemon, for Analyzers with the address embedded:.";
    embedded_listen: String, "embeddedListen", None, "127.0.0.1:0", "Loopback address of the embedded analyzer; port 0 takes a free one.";
    embedded_sources: String, "embeddedSources", None, "generated/apps", "Where the embedded analyzer finds sources as MODEL/appN, relative to the workspace.";
    embedded_tools: String, "embeddedTools", None, "", "A file of tool declarations instead of those that are shipped, relative to the workspace.";
    embedded_parallel: u32, "embeddedParallel", None, "2", "Tools that the embedded analyzer runs at once.";
    static_analyzer_urls: Vec<String>, "staticAnalyzerUrls", Some("STATIC_ANALYZER_URLS"), "", "Replicas of Analyzers with request static_analyze, instead of those in the manifest.";
    dynamic_analyzer_urls: Vec<String>, "dynamicAnalyzerUrls", Some("DYNAMIC_ANALYZER_URLS"), "", "Replicas of Analyzers with request dynamic_analyze, instead of those in the manifest.";
    perf_tester_urls: Vec<String>, "perfTesterUrls", Some("PERF_TESTER_URLS"), "", "Replicas of Analyzers with request performance_test, instead of those in the manifest.";
    ai_analyzer_urls: Vec<String>, "aiAnalyzerUrls", Some("AI_ANALYZER_URLS"), "", "Replicas of Analyzers with request ai_analyze, instead of those in the manifest.";
    log: String, "log", None, "info", "What is logged: error, warn, info, debug, trace, or a tracing filter.";
    log_format: LogFormat, "logFormat", None, "text", "How it is logged on stderr: text or json.";
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A type that settings can have.
trait Value: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

impl Value for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for Vec<String> {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }
}

impl Value for Span {
    /// A bare number is seconds, as in the old system's environment variables.
    fn read(text: &str) -> Result<Self, String> {
        let span = match text.parse::<u64>() {
            Ok(seconds) => Self::seconds(seconds),
            Err(_) => Self::from_str(text).map_err(|error| error.to_string())?,
        };
        if span.0 == 0 { Err("must be more than nothing".into()) } else { Ok(span) }
    }
}

impl Value for u32 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "not a whole number".into())
    }
}

impl Value for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("neither true nor false".into()),
        }
    }
}

impl Value for LogFormat {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("neither text nor json".into()),
        }
    }
}

/// The layer that the environment gives: `MANIFESTD_TASK_TIMEOUT` and the old names, which give way to the new ones.
///
/// # Errors
/// Names behind [`ENV_PREFIX`] that no setting has.
pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Result<Layer, Vec<String>> {
    let mut old = Vec::new();
    let mut new = Vec::new();
    let mut problems = Vec::new();
    for (name, value) in variables {
        let origin = Origin::Environment(name.clone());
        if let Some(setting) = TABLE.iter().find(|setting| setting.old_env == Some(name.as_str())) {
            old.push((setting.name.to_owned(), value, origin));
        } else if let Some(rest) = name.strip_prefix(ENV_PREFIX) {
            match TABLE.iter().find(|setting| env_name(setting.name) == rest) {
                Some(setting) => new.push((setting.name.to_owned(), value, origin)),
                // Set by manifestd itself for the programs it runs.
                None if rest == "ATTEMPT" => {}
                None => {
                    let known = TABLE.iter().map(|setting| env_name(setting.name));
                    problems.push(unknown(&format!("environment variable {name}"), rest, known, ENV_PREFIX));
                }
            }
        }
    }
    old.extend(new);
    if problems.is_empty() { Ok(Layer(old)) } else { Err(problems) }
}

/// `taskTimeout` as `TASK_TIMEOUT`.
fn env_name(name: &str) -> String {
    name.chars()
        .flat_map(|c| c.is_ascii_uppercase().then_some('_').into_iter().chain([c.to_ascii_uppercase()]))
        .collect()
}

fn unknown(what: &str, word: &str, known: impl Iterator<Item = String>, prefix: &str) -> String {
    let near = known.map(|name| (strsim::damerau_levenshtein(&name, word), name)).min();
    let hint = near.filter(|(distance, _)| *distance <= 4).map(|(_, name)| format!("; did you mean {prefix}{name}?"));
    format!("unknown {what}{}", hint.unwrap_or_default())
}

/// Resolves layers, the later ones winning, into settings and a table of what is effective.
///
/// # Errors
/// Every unknown name, every value of the wrong shape, and every contradiction between settings.
pub fn resolve(layers: &[Layer]) -> Result<(Settings, Vec<Effective>), Vec<String>> {
    let mut problems = Vec::new();
    let mut chosen: BTreeMap<&'static str, (String, Origin)> =
        TABLE.iter().map(|setting| (setting.name, (setting.default.to_owned(), Origin::Default))).collect();
    for (name, value, origin) in layers.iter().flat_map(|layer| &layer.0) {
        match TABLE.iter().find(|setting| setting.name == name) {
            Some(setting) => {
                chosen.insert(setting.name, (value.clone(), origin.clone()));
            }
            None => {
                let known = TABLE.iter().map(|setting| setting.name.to_owned());
                problems.push(unknown(&format!("setting {name:?} ({origin})"), name, known, ""));
            }
        }
    }
    let settings = read(&chosen);
    problems.extend(settings.as_ref().err().into_iter().flatten().cloned());
    if let Ok(settings) = &settings {
        problems.extend(contradictions(settings, &chosen));
    }
    let effective = TABLE
        .iter()
        .map(|setting| Effective {
            name: setting.name,
            value: chosen[setting.name].0.clone(),
            origin: chosen[setting.name].1.clone(),
            about: setting.about,
        })
        .collect();
    match settings {
        Ok(settings) if problems.is_empty() => Ok((settings, effective)),
        _ => Err(problems),
    }
}

impl Settings {
    /// The directory of manifests, relative to the workspace: the one of the settings, or that of the checkout that follows a git repository.
    #[must_use]
    pub fn manifests_directory(&self) -> String {
        if self.git_url.is_empty() {
            return self.manifests.clone();
        }
        let current = format!("{}/{GIT_DIRECTORY}/{GIT_CURRENT}", self.state.trim_end_matches('/'));
        if self.git_path == "." { current } else { format!("{current}/{}", self.git_path) }
    }

    /// The directory of secrets, relative to the workspace.
    #[must_use]
    pub fn secrets(&self) -> String {
        if self.secrets_directory.starts_with('/') {
            return self.secrets_directory.clone();
        }
        format!("{}/{}", self.state.trim_end_matches('/'), self.secrets_directory)
    }

    /// The limits that plans keep to.
    #[must_use]
    pub fn budgets(&self) -> Budgets {
        Budgets {
            task_timeout: self.task_timeout,
            stuck_after: self.stuck_after,
            preflight_retries_max: self.preflight_max_retries,
            cancel_orphans: self.cleanup_orphan_tasks,
            recoveries_max: self.transient_failure_max_retries,
            ..Budgets::default()
        }
    }

    /// How long maintenance lets things stay as they are.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let days = |days: u32| Span::minutes(u64::from(days) * 24 * 60);
        let minutes = |minutes: u32| Span::minutes(u64::from(minutes));
        let pending = self.cleanup_stuck_tasks && self.pending_task_timeout_minutes > 0;
        Rules {
            missing_app: self.cleanup_orphan_apps.then(|| days(self.orphan_app_retention_days)),
            stuck: self.cleanup_stuck_tasks.then(|| minutes(self.stuck_task_timeout_minutes)),
            pending: pending.then(|| minutes(self.pending_task_timeout_minutes)),
            finished: self.cleanup_old_tasks.then(|| days(self.task_retention_days)),
            quarantine: Some(days(self.quarantine_days)),
            strays: self.cleanup_stray_results,
            grace: minutes(self.grace_period_minutes),
        }
    }

    /// The replicas that the settings give for a request type; empty to use those of the manifest.
    #[must_use]
    pub fn replicas_of(&self, request: &str) -> &[String] {
        match request {
            "static_analyze" => &self.static_analyzer_urls,
            "dynamic_analyze" => &self.dynamic_analyzer_urls,
            "performance_test" => &self.perf_tester_urls,
            "ai_analyze" => &self.ai_analyzer_urls,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Result<Layer, Vec<String>> {
        environment(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn every_default_is_a_valid_value() {
        let (settings, effective) = resolve(&[]).unwrap();
        assert_eq!(settings.task_timeout, Span::seconds(1800));
        assert!(effective.iter().all(|value| value.origin == Origin::Default));
    }

    #[test]
    fn the_old_names_work_and_the_new_ones_win() {
        let layer = env(&[
            ("TASK_POLL_INTERVAL", "2"),
            ("TASK_TIMEOUT", "60"),
            ("MANIFESTD_TASK_TIMEOUT", "90s"),
            ("PATH", "/bin"),
        ]);
        let (settings, effective) = resolve(&[layer.unwrap()]).unwrap();
        assert_eq!(settings.task_poll_interval, Span::seconds(2));
        assert_eq!(settings.task_timeout, Span::seconds(90));
        let timeout = effective.iter().find(|value| value.name == "taskTimeout").unwrap();
        assert_eq!(timeout.origin, Origin::Environment("MANIFESTD_TASK_TIMEOUT".into()));
    }

    #[test]
    fn unknown_settings_are_errors_with_a_hint() {
        let problems = env(&[("MANIFESTD_TASK_TIMOUT", "1")]).unwrap_err();
        assert!(problems[0].contains("did you mean MANIFESTD_TASK_TIMEOUT"), "{problems:?}");
        let layer = Layer(vec![("taskTimeot".into(), "1".into(), Origin::File("manifestd.yaml".into()))]);
        let problems = resolve(&[layer]).unwrap_err();
        assert!(problems[0].contains("taskTimeout") && problems[0].contains("manifestd.yaml"), "{problems:?}");
    }

    #[test]
    fn bad_values_are_all_reported_with_their_origin() {
        let layer =
            env(&[("TASK_TIMEOUT", "soon"), ("MANIFESTD_PRUNE_PERCENT", "101"), ("MANIFESTD_LOG_FORMAT", "xml")]);
        let problems = resolve(&[layer.unwrap()]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("TASK_TIMEOUT"));
        let layer = env(&[("MANIFESTD_PRUNE_PERCENT", "101"), ("MANIFESTD_EMBEDDED_PARALLEL", "0")]);
        assert_eq!(resolve(&[layer.unwrap()]).unwrap_err().len(), 2);
    }

    #[test]
    fn addresses_in_the_settings_belong_to_the_analyzers_of_one_request() {
        let requests = ["static_analyze", "dynamic_analyze", "performance_test", "ai_analyze"];
        let names = ["STATIC_ANALYZER_URLS", "DYNAMIC_ANALYZER_URLS", "PERF_TESTER_URLS", "AI_ANALYZER_URLS"];
        for (name, own) in names.into_iter().zip(requests) {
            let (settings, _) = resolve(&[env(&[(name, "ws://a:1, ws://b:2")]).unwrap()]).unwrap();
            for request in requests.into_iter().chain(["another"]) {
                let wanted: &[&str] = if request == own { &["ws://a:1", "ws://b:2"] } else { &[] };
                assert_eq!(settings.replicas_of(request), wanted, "{name}: {request}");
            }
        }
    }
}
