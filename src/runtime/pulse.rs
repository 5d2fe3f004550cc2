//! The pulse of each loop: when it made its last pass, how long that took, and whether one has been under way for too long. Loops report here,
//! `manifestd status` reads it. Nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::report::LoopReport;
use crate::config::Settings;
use crate::resource::time::{Span, Timestamp};

/// A loop that has made no pass for so many of its intervals, and [`SLACK`] more, is called stalled.
const INTERVALS: u64 = 3;

/// So much longer than its intervals a pass may take on a slow disk before anybody worries.
const SLACK: Span = Span::seconds(60);

/// What has a pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beat {
    /// The loop over lanes and tasks.
    Tasks,
    /// The loops over the apps on disk: which are there, and what their files look like.
    Apps,
    /// The mirror of the manifests directory.
    Manifests,
    /// The look at a git repository, where the settings name one.
    Git,
    /// The look for what a lost wake-up left behind.
    Resync,
    /// Pipelines and their runs.
    Pipelines,
    /// Maintenance, where the settings have it run.
    Maintenance,
}

impl Beat {
    const ALL: [Self; 7] =
        [Self::Tasks, Self::Apps, Self::Manifests, Self::Git, Self::Resync, Self::Pipelines, Self::Maintenance];

    /// Whether these settings have it beat at all.
    fn is_on(self, settings: &Settings) -> bool {
        match self {
            Self::Maintenance => settings.maintenance_auto_start,
            Self::Git => !settings.git_url.is_empty(),
            Self::Tasks | Self::Apps | Self::Manifests | Self::Resync | Self::Pipelines => true,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Apps => "apps",
            Self::Manifests => "manifests",
            Self::Git => "git",
            Self::Resync => "resync",
            Self::Pipelines => "pipelines",
            Self::Maintenance => "maintenance",
        }
    }

    /// The longest time between two passes when nothing happens. The resync turns the loops of tasks and pipelines, even when there is nothing to do.
    const fn interval(self, settings: &Settings) -> Span {
        match self {
            Self::Tasks | Self::Resync | Self::Pipelines => settings.task_poll_interval,
            Self::Apps => settings.scan_interval,
            Self::Manifests => settings.rescan_interval,
            Self::Git => settings.git_interval,
            Self::Maintenance => settings.maintenance_interval,
        }
    }
}

/// The longest parts of passes.
#[derive(Debug, Clone, Copy, Default)]
struct Longest {
    /// Looking and deciding, with what that waited for.
    look: Duration,
    /// Deciding alone.
    plan: Duration,
    /// Committing, with the wait for those in one group with it.
    commit: Duration,
}

/// The pulses of all loops.
#[derive(Debug)]
pub struct Pulses {
    of: Mutex<BTreeMap<Beat, Pulse>>,
    // Whether a loop stands still is measured by a clock that nobody sets: a machine that slept, or whose clock was set right, is well.
    started: Instant,
}

impl Default for Pulses {
    fn default() -> Self {
        Self { of: Mutex::default(), started: Instant::now() }
    }
}

#[derive(Debug, Default)]
struct Pulse {
    passes: u64,
    /// When the last pass began, and how long it took.
    last: Option<(Timestamp, Span)>,
    /// The longest parts of passes since the process started.
    longest: Longest,
    /// When the loop last turned, with or without something to do.
    turned: Option<Instant>,
    /// Passes under way, by number: at most as many as the loop runs at once.
    under_way: BTreeMap<u64, (Timestamp, Instant)>,
    next: u64,
}

/// A pass under way. Whoever drops it without [`Pulses::end`] has been cut off, and the pass stays open until the process ends.
#[derive(Debug)]
pub struct Pass(Beat, u64);

impl Pulses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Beat, Pulse>> {
        // Every change under the lock leaves a whole pulse.
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pass begins.
    pub fn begin(&self, beat: Beat, now: Timestamp) -> Pass {
        let mut pulses = self.lock();
        let pulse = pulses.entry(beat).or_default();
        pulse.next += 1;
        pulse.under_way.insert(pulse.next, (now, Instant::now()));
        Pass(beat, pulse.next)
    }

    /// It ends.
    pub fn end(&self, pass: Pass, now: Timestamp) {
        let mut pulses = self.lock();
        let pulse = pulses.entry(pass.0).or_default();
        if let Some((began, _)) = pulse.under_way.remove(&pass.1) {
            pulse.passes += 1;
            pulse.last = Some((began, now.since(began)));
            pulse.turned = Some(Instant::now());
        }
    }

    /// What deciding took in a pass.
    pub fn planned(&self, beat: Beat, took: Duration) {
        let mut pulses = self.lock();
        let longest = &mut pulses.entry(beat).or_default().longest;
        longest.plan = longest.plan.max(took);
    }

    /// What the parts of a pass took: looking and deciding together, and the commit of what was planned; each with what it waited for.
    pub fn took(&self, beat: Beat, looking: Duration, commit: Duration) {
        let mut pulses = self.lock();
        let longest = &mut pulses.entry(beat).or_default().longest;
        longest.look = longest.look.max(looking);
        longest.commit = longest.commit.max(commit);
    }

    /// The loop turned, perhaps with nothing to do.
    pub fn turned(&self, beat: Beat) {
        self.lock().entry(beat).or_default().turned = Some(Instant::now());
    }

    /// How every loop stands.
    #[must_use]
    pub fn report(&self, settings: &Settings) -> Vec<LoopReport> {
        let pulses = self.lock();
        let none = Pulse::default();
        let report = |beat: Beat| {
            let pulse = pulses.get(&beat).unwrap_or(&none);
            let interval = beat.interval(settings);
            let busy = pulse.under_way.values().min_by_key(|(_, began)| *began);
            let quiet = busy.map(|(_, began)| *began).or(pulse.turned).unwrap_or(self.started).elapsed();
            LoopReport {
                name: beat.name().to_owned(),
                passes: pulse.passes,
                last_at: pulse.last.map(|(at, _)| at),
                took_ms: pulse.last.map(|(_, took)| took.0),
                longest_look_us: micros(pulse.longest.look),
                longest_plan_us: micros(pulse.longest.plan),
                longest_commit_us: micros(pulse.longest.commit),
                busy_since: busy.map(|(at, _)| *at),
                interval_ms: interval.0,
                stalled: quiet > Span(interval.times(INTERVALS).0.saturating_add(SLACK.0)).std(),
            }
        };
        Beat::ALL.into_iter().filter(|beat| beat.is_on(settings)).map(report).collect()
    }
}

/// Whole microseconds; `None` for nothing measured.
fn micros(length: Duration) -> Option<u64> {
    Some(u64::try_from(length.as_micros()).unwrap_or(u64::MAX)).filter(|micros| *micros > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        crate::config::resolve(&[]).unwrap().0
    }

    fn stalled(pulses: &Pulses) -> Vec<String> {
        let all = pulses.report(&settings()).into_iter();
        all.filter(|report| report.stalled).map(|report| report.name).collect()
    }

    async fn minutes(count: u64) {
        tokio::time::advance(Span::minutes(count).std()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_without_a_pass_for_long_is_stalled_and_another_one_is_not() {
        let pulses = Pulses::default();
        minutes(1).await;
        assert!(stalled(&pulses).is_empty());
        minutes(9).await;
        // The manifests are looked at every 5 minutes only.
        assert_eq!(stalled(&pulses), ["tasks", "apps", "resync", "pipelines"]);
        pulses.turned(Beat::Tasks);
        minutes(1).await;
        assert_eq!(stalled(&pulses), ["apps", "resync", "pipelines"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_stalls_no_loop() {
        let pulses = Pulses::default();
        pulses.turned(Beat::Tasks);
        let pass = pulses.begin(Beat::Resync, Timestamp(0));
        assert!(stalled(&pulses).is_empty(), "however late the clock says that it is by now");
        pulses.end(pass, Timestamp(86_400_000));
        assert!(stalled(&pulses).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_does_not_end_stalls_its_loop_although_others_do() {
        let pulses = Pulses::default();
        let minute = |minutes| Timestamp(0).plus(Span::minutes(minutes));
        let _stuck = pulses.begin(Beat::Tasks, minute(0));
        minutes(9).await;
        let quick = pulses.begin(Beat::Tasks, minute(9));
        pulses.end(quick, minute(9).plus(Span(5)));
        minutes(1).await;
        let report = &pulses.report(&settings())[0];
        assert_eq!(
            (report.passes, report.took_ms, report.busy_since, report.stalled),
            (1, Some(5), Some(minute(0)), true)
        );
    }

    #[test]
    fn the_longest_plan_and_the_longest_commit_stay_whatever_comes_after_them() {
        let pulses = Pulses::default();
        let of_pipelines = || pulses.report(&settings()).remove(4);
        assert_eq!((of_pipelines().longest_plan_us, of_pipelines().longest_commit_us), (None, None));
        for (planning, commit) in [(300, 10), (4_000, 20), (50, 9_000), (60, 30)] {
            pulses.planned(Beat::Pipelines, Duration::from_micros(planning));
            pulses.took(Beat::Pipelines, Duration::from_micros(planning + 7), Duration::from_micros(commit));
        }
        let report = of_pipelines();
        assert_eq!((report.name.as_str(), report.longest_plan_us), ("pipelines", Some(4_000)));
        assert_eq!((report.longest_look_us, report.longest_commit_us), (Some(4_007), Some(9_000)));
    }
}
