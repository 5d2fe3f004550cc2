//! Live progress of what runs: bars on a terminal, lines elsewhere. It reads the database like everybody else, so it shows the truth
//! whoever runs the tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::context::Context;
use super::out::{clean, note};
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::phase::Phase;
use crate::store::{StoreError, events, glance, view};

/// Running tasks that have a bar of their own; more would push each other off the screen.
const BARS_MAX: usize = 8;

/// Bars are drawn in thousandths.
const WHOLE: u64 = 1000;

/// Shows progress on standard error until it is stopped.
pub(crate) struct Progress {
    stop: CancellationToken,
    shown: JoinSet<()>,
}

impl Progress {
    /// Starts showing; nothing at all when `wanted` is false.
    pub(crate) fn start(context: &Context, wanted: bool) -> Self {
        let stop = CancellationToken::new();
        let mut shown = JoinSet::new();
        if wanted {
            shown.spawn(show(context.clone(), stop.clone()));
        }
        Self { stop, shown }
    }

    /// Shows what is left to be shown, and ends.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.shown.join_next().await.is_some() {}
    }
}

async fn show(context: Context, stop: CancellationToken) {
    // What was there before is not progress.
    let mut seen = context.open().ok().and_then(|connection| events::last_number(&connection).ok()).unwrap_or_default();
    let mut changes = Changes::of_database(&context.state);
    let mut bars = (context.colour_stderr || console_is_terminal()).then(Bars::new);
    loop {
        let last = stop.is_cancelled();
        if let Ok(connection) = context.open() {
            // A database that is being made is not an error; the next look finds it.
            let _ = match &mut bars {
                Some(bars) => bars.draw(&connection),
                None => print_lines(&connection, &mut seen),
            };
        }
        if last {
            break;
        }
        tokio::select! {
            () = changes.next() => {}
            () = stop.cancelled() => {}
        }
    }
    if let Some(bars) = bars {
        bars.clear();
    }
}

fn console_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

/// One line for each start and each end.
fn print_lines(connection: &rusqlite::Connection, seen: &mut i64) -> Result<(), StoreError> {
    for (id, event) in events::after(connection, *seen)? {
        *seen = id;
        let is_start = event.reason == "AttemptStarted";
        let is_end = event.reason.parse::<Phase>().is_ok_and(Phase::is_terminal);
        if event.kind == Kind::Task && (is_start || is_end || event.event_type == EventType::Warning) {
            note(format!("{} task/{}: {}: {}", event.last_at, event.name, event.reason, clean(&event.message)));
        }
    }
    Ok(())
}

/// An overall bar, and one for each of the first running tasks.
struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    tasks: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let overall = all.add(ProgressBar::new(0));
        overall.set_style(style("{bar:30} {pos}/{len} tasks ended {wide_msg}"));
        overall.enable_steady_tick(Duration::from_millis(200));
        Self { all, overall, tasks: BTreeMap::new() }
    }

    fn draw(&mut self, connection: &rusqlite::Connection) -> Result<(), StoreError> {
        let counts = view::phase_counts(connection)?;
        let of = |wanted: fn(&Phase) -> bool| -> u64 {
            counts.iter().filter(|(phase, _)| wanted(phase)).map(|(_, n)| n).sum()
        };
        self.overall.set_length(of(|_| true));
        self.overall.set_position(of(|phase| phase.is_terminal()));
        let running = of(|phase| *phase == Phase::Running);
        self.overall.set_message(format!("{running} running"));
        let now = glance::running(connection, BARS_MAX)?;
        self.tasks.retain(|name, bar| {
            let keep = now.iter().any(|running| running.task == *name);
            if !keep {
                bar.finish_and_clear();
            }
            keep
        });
        for running in now {
            let all = &self.all;
            let bar = self.tasks.entry(running.task.clone()).or_insert_with(|| {
                let bar = all.add(ProgressBar::new(WHOLE));
                bar.set_style(style("  {bar:20} {prefix} {wide_msg}"));
                bar.set_prefix(running.task.clone());
                bar
            });
            bar.set_position((running.fraction.unwrap_or(0.0).clamp(0.0, 1.0) * WHOLE as f64) as u64);
            bar.set_message(clean(&running.doing));
        }
        Ok(())
    }

    fn clear(self) {
        self.tasks.into_values().for_each(|bar| bar.finish_and_clear());
        self.overall.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
