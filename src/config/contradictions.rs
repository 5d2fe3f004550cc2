//! Settings that cannot both be meant: found when they are loaded, and named with the origin of each.

use std::collections::BTreeMap;

use super::{Origin, Settings};
use crate::resource::address::{EMBEDDED, wrong_address};
use crate::resource::time::Span;

/// The shortest `stuckAfter`. An analyzer is pinged every 20 s, and a command is looked at as often; on a busy machine some of these are
/// late or lost, so that several must be missed in a row before an attempt may be called silent.
const STUCK_AFTER_MIN: Span = Span::minutes(2);

/// Settings that cannot both be meant, each named with its value and where that comes from.
pub(super) fn contradictions(settings: &Settings, chosen: &BTreeMap<&'static str, (String, Origin)>) -> Vec<String> {
    let mut problems = Vec::new();
    let told = |name: &str| {
        let (value, origin) = chosen.get(name).cloned().unwrap_or((String::new(), Origin::Default));
        format!("{name} = {value} ({origin})")
    };
    if settings.stuck_after < STUCK_AFTER_MIN {
        problems.push(format!(
            "{} is shorter than {STUCK_AFTER_MIN}: a sign of life comes every 20s, and a few may be late, so healthy attempts would be stopped",
            told("stuckAfter")
        ));
    }
    if settings.task_poll_interval >= settings.stuck_after {
        problems.push(format!(
            "{} is not shorter than {}: what a lost event left behind would be found later than what has gone silent",
            told("taskPollInterval"),
            told("stuckAfter")
        ));
    }
    if within(&settings.manifests, &settings.state) || within(&settings.state, &settings.manifests) {
        problems.push(format!(
            "{} and {} lie within each other: results would be read as manifests",
            told("manifests"),
            told("state")
        ));
    }
    problems.extend(git_source(settings, chosen, told));
    for (name, urls) in [
        ("staticAnalyzerUrls", &settings.static_analyzer_urls),
        ("dynamicAnalyzerUrls", &settings.dynamic_analyzer_urls),
        ("perfTesterUrls", &settings.perf_tester_urls),
        ("aiAnalyzerUrls", &settings.ai_analyzer_urls),
    ] {
        for url in urls.iter().filter(|url| *url != EMBEDDED) {
            if let Some(why) = wrong_address(url, &["ws://", "wss://"]) {
                problems.push(format!("{}: the address {url:?} {why}", told(name)));
            }
        }
    }
    if Span::minutes(u64::from(settings.stuck_task_timeout_minutes)) < settings.task_timeout {
        problems.push(format!(
            "{} is shorter than {}: what may still run would be called stuck",
            told("stuckTaskTimeoutMinutes"),
            told("taskTimeout")
        ));
    }
    if settings.prune_percent > 100 {
        problems.push(format!("prunePercent = {} is more than 100", settings.prune_percent));
    }
    if settings.embedded_parallel == 0 {
        problems.push("embeddedParallel = 0 would run nothing; it must be at least 1".into());
    }
    problems
}

/// What is wrong with the repository that is followed. Its settings become arguments of git, which must not take them for something else.
fn git_source(
    settings: &Settings,
    chosen: &BTreeMap<&'static str, (String, Origin)>,
    told: impl Fn(&str) -> String,
) -> Vec<String> {
    let mut problems = Vec::new();
    let Settings { git_url: url, git_branch: branch, git_path: path, .. } = settings;
    if url.is_empty() {
        return problems;
    }
    if chosen.get("manifests").is_some_and(|(_, origin)| *origin != Origin::Default) {
        problems.push(format!(
            "{} and {}: manifests come from one of the two; remove the other",
            told("gitUrl"),
            told("manifests")
        ));
    }
    let helper = url.split_once("::").is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric()));
    if url.starts_with('-') || helper || url.chars().any(char::is_control) {
        problems.push(format!(
            "{} is no address of a repository: https://, ssh://, git://, file://, HOST:PATH or a path",
            told("gitUrl")
        ));
    }
    // Source: git-check-ref-format(1), as far as it keeps a name from being read as something else.
    let bad = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    let is_wrong =
        branch.is_empty() || branch.starts_with(['-', '/']) || branch.contains("..") || branch.contains("@{");
    if is_wrong || branch.chars().any(bad) {
        problems.push(format!("{} is no name of a branch", told("gitBranch")));
    }
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == ".." || part == ".git") {
        problems.push(format!("{} is no directory inside of the repository; . is its top", told("gitPath")));
    }
    problems
}

/// Whether a directory is another one or lies in it, as far as the texts tell. The mirror reads no hidden directories, so a hidden one may
/// lie below the manifests.
fn within(inner: &str, outer: &str) -> bool {
    fn parts(path: &str) -> Vec<&str> {
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
    }
    let (inner_parts, outer_parts) = (parts(inner), parts(outer));
    let below = inner_parts.strip_prefix(outer_parts.as_slice());
    inner.starts_with('/') == outer.starts_with('/')
        && below.is_some_and(|rest| rest.iter().all(|part| !part.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::super::{Layer, environment, resolve};

    fn env(pairs: &[(&str, &str)]) -> Layer {
        environment(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_with_the_origin_of_both() {
        let of = |pairs: &[(&str, &str)]| resolve(&[env(pairs)]).map(drop).unwrap_err();
        let problems = of(&[("STUCK_AFTER", "60")]);
        assert!(problems[0].contains("stuckAfter = 60 (environment: STUCK_AFTER)"), "{problems:?}");
        let problems = of(&[("MANIFESTD_TASK_POLL_INTERVAL", "15m")]);
        assert!(
            problems[0].contains("taskPollInterval = 15m (environment: MANIFESTD_TASK_POLL_INTERVAL)"),
            "{problems:?}"
        );
        assert!(problems[0].contains("stuckAfter = 15m (default)"), "{problems:?}");
        for (manifests, state) in [("a", "a"), ("a", "./a/b"), ("a/b", "a"), ("/x/y", "/x"), (".", "b")] {
            let problems = of(&[("MANIFESTD_MANIFESTS", manifests), ("MANIFESTD_STATE", state)]);
            assert!(problems[0].contains("within each other"), "{manifests} {state}: {problems:?}");
        }
        for (manifests, state) in [("a", "ab"), ("a", "/a"), ("a/b", "a/c")] {
            let layer = env(&[("MANIFESTD_MANIFESTS", manifests), ("MANIFESTD_STATE", state)]);
            assert!(resolve(&[layer]).is_ok(), "{manifests} {state}");
        }
        // A deadline shorter than `stuckAfter` is none: whichever comes first ends the attempt.
        assert!(resolve(&[env(&[("TASK_TIMEOUT", "30")])]).is_ok());
    }

    #[test]
    fn an_address_of_an_analyzer_in_a_setting_is_looked_at_like_one_in_a_manifest() {
        let of = |urls: &str| resolve(&[env(&[("STATIC_ANALYZER_URLS", urls)])]).map(drop);
        assert!(of("ws://localhost:2001,wss://a.example:443,embedded:").is_ok());
        let problems = of("ws://localhost:2001,localhost:2002").unwrap_err();
        assert!(problems[0].contains("(environment: STATIC_ANALYZER_URLS)"), "{problems:?}");
        assert!(problems[0].contains("\"localhost:2002\" does not start with ws://"), "{problems:?}");
    }

    #[test]
    fn a_repository_that_git_could_take_for_something_else_is_refused() {
        let of = |url: &str, more: &[(&str, &str)]| {
            let all: Vec<(&str, &str)> = [("MANIFESTD_GIT_URL", url)].iter().chain(more).copied().collect();
            resolve(&[env(&all)])
                .map(|(settings, _)| settings.manifests_directory())
                .map_err(|problems| problems.join("; "))
        };
        for url in ["https://git.example/a.git", "ssh://git@[::1]/a", "git@host:a.git", "/srv/a.git", "../a"] {
            assert_eq!(of(url, &[]).as_deref(), Ok(".manifestd/git/current"), "{url}");
        }
        let deep = of("/a", &[("MANIFESTD_GIT_PATH", "deploy/x"), ("MANIFESTD_STATE", "s/")]);
        assert_eq!(deep.as_deref(), Ok("s/git/current/deploy/x"));
        for url in ["--upload-pack=x", "ext::sh -c x", "fd::7", "a\nb"] {
            assert!(of(url, &[]).unwrap_err().contains("gitUrl"), "{url}");
        }
        for (name, values) in [
            ("MANIFESTD_GIT_BRANCH", vec!["", "-x", "a b", "a:b", "a..b", "*", "a\\b"]),
            ("MANIFESTD_GIT_PATH", vec!["", "/etc", "../x", "a/../..", ".git"]),
            ("MANIFESTD_MANIFESTS", vec!["here"]),
        ] {
            for value in values {
                assert!(of("/a", &[(name, value)]).is_err(), "{name}={value}");
                // Without a repository they say nothing.
                assert!(of("", &[(name, value)]).is_ok(), "{name}={value}");
            }
        }
    }
}
