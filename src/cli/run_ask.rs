//! `manifestd suspend`, `resume`, `approve`, `reject` and `backfill`: what people ask of runs and pipelines.

use anyhow::bail;
use jiff::civil::Date;

use super::context::{Context, environment};
use super::exit::Exit;
use super::names::{self, RunOrPipeline};
use super::out::clean;
use super::told;
use crate::manifest::suggest::did_you_mean;
use crate::resource::kind::Kind;
use crate::resource::run::StepPhase;
use crate::resource::time::{Span, Timestamp};
use crate::runtime::control::Request;

use super::picture::Picture;

/// One day, less a millisecond: from its first moment to its last.
const REST_OF_DAY: Span = Span(86_400_000 - 1);

/// Arguments of `suspend`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is under way ends; a suspended run begins nothing more, a suspended pipeline makes no runs by itself.

Examples:
  manifestd suspend run/study-3 --reason \"the model is down\" --until 2h
  manifestd suspend pipeline/nightly --until 2026-12-01T06:00:00Z"
)]
pub(crate) struct SuspendArgs {
    /// run/NAME, pipeline/NAME, or a name that only one of them has
    #[arg(value_name = "TARGET")]
    target: String,
    /// Why, for others
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// When it ends by itself: a time (RFC 3339), a date (UTC), or how long it lasts (2h)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// run/NAME, pipeline/NAME, or a name that only one of them has
    #[arg(value_name = "TARGET")]
    target: String,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `approve` and `reject`.
#[derive(Debug, clap::Args)]
pub(crate) struct DecideArgs {
    /// Name of the run
    #[arg(value_name = "RUN")]
    run: String,
    /// The step that waits for it; may be left out when there is only one
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// Why, for others
    #[arg(long, default_value = "", value_name = "TEXT")]
    comment: String,
}

/// Arguments of `backfill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A slot that has a run already is left alone, so this can be repeated.

Example:
  manifestd backfill nightly --from 2026-11-01 --to 2026-11-07 --dry-run")]
pub(crate) struct BackfillArgs {
    /// Name of the pipeline
    #[arg(value_name = "PIPELINE")]
    pipeline: String,
    /// The first moment: a time (RFC 3339), or a date, from its beginning on (UTC)
    #[arg(long, value_name = "TIME")]
    from: String,
    /// The last moment: a time (RFC 3339), or a date, up to its end (UTC)
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

/// Runs `suspend`.
pub(crate) async fn suspend(context: &Context, args: &SuspendArgs) -> anyhow::Result<Exit> {
    let now = super::now();
    let until = args.until.as_deref().map(|text| until(text, now)).transpose()?;
    let target = target(context, &args.target)?;
    let (reason, by, dry_run) = (args.reason.clone(), who(), args.dry_run);
    told::request(context, Request::Suspend { target, reason, by, until, dry_run }).await
}

/// Runs `resume`.
pub(crate) async fn resume(context: &Context, args: &ResumeArgs) -> anyhow::Result<Exit> {
    let target = target(context, &args.target)?;
    told::request(context, Request::Resume { target, dry_run: args.dry_run }).await
}

/// Runs `approve`, or `reject`.
pub(crate) async fn decide(context: &Context, args: &DecideArgs, approved: bool) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let run = names::run(&connection, &args.run)?;
    let picture = Picture::of_run(&connection, &run, super::now())?;
    let step = match &args.step {
        Some(step) if picture.steps.iter().any(|of| of.name == *step) => step.clone(),
        Some(step) => {
            let known = picture.steps.iter().map(|of| of.name.as_str());
            let hint = did_you_mean(step, known).map(|hint| format!("; {hint}")).unwrap_or_default();
            bail!(super::exit::Refused(format!("run {} has no step \"{}\"{hint}", run.name, clean(step))));
        }
        None => only_one_asked(&run.name, &picture)?,
    };
    drop(connection);
    let comment = args.comment.clone();
    told::request(context, Request::Decide { run: run.name, step, approved, by: who(), comment }).await
}

/// The step that waits for a person, when there is exactly one.
fn only_one_asked(run: &str, picture: &Picture) -> anyhow::Result<String> {
    let is_asked = |standing: &super::picture::StepStanding| standing.is_asked && standing.phase == StepPhase::Running;
    let asked = picture.steps.iter().filter(|step| step.standing.as_ref().is_some_and(is_asked));
    let asked: Vec<&str> = asked.map(|step| step.name.as_str()).collect();
    match asked.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => bail!(super::exit::Refused(format!("no step of run {run} waits for a person"))),
        many => bail!("several steps of run {run} wait for a person: name one of {}", many.join(", ")),
    }
}

/// Runs `backfill`.
pub(crate) async fn backfill(context: &Context, args: &BackfillArgs) -> anyhow::Result<Exit> {
    let name = names::of_kind(Kind::Pipeline, &args.pipeline)?;
    let (from, to) = (moment(&args.from, false)?, moment(&args.to, true)?);
    if from > to {
        bail!("--from {from} is later than --to {to}");
    }
    let pipeline = names::find(&context.open()?, Kind::Pipeline, name)?.name;
    told::request(context, Request::Backfill { pipeline, from, to, dry_run: args.dry_run }).await
}

/// The target with its kind; it is there.
fn target(context: &Context, word: &str) -> anyhow::Result<String> {
    let connection = context.open()?;
    let found = names::run_or_pipeline(&connection, word)?;
    if let (RunOrPipeline::Run(run), false) = (&found, word.contains('/'))
        && names::find(&connection, Kind::Pipeline, word).is_ok()
    {
        bail!("\"{0}\" is a run and a pipeline; write run/{0} or pipeline/{0}", clean(&run.name));
    }
    Ok(match found {
        RunOrPipeline::Run(run) => format!("run/{}", run.name),
        RunOrPipeline::Pipeline(pipeline) => format!("pipeline/{}", pipeline.name),
    })
}

/// Who asks, as the system calls them: by name, or else by number.
fn who() -> String {
    let variables = environment();
    let of = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    called(of("USER"), of("LOGNAME"), rustix::process::getuid().as_raw())
}

fn called(user: Option<&str>, logname: Option<&str>, number: u32) -> String {
    let name = user.filter(|name| !name.is_empty()).or_else(|| logname.filter(|name| !name.is_empty()));
    name.map_or_else(|| format!("uid {number}"), clean)
}

/// A moment to come: a time, a date, or how long it is until then.
fn until(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Ok(span) = text.parse::<Span>() {
        return Ok(now.plus(span));
    }
    let at = moment(text, false)?;
    if at <= now {
        bail!("--until {at} has passed already");
    }
    Ok(at)
}

/// A time (RFC 3339), or a date in UTC: its first moment, or its last.
fn moment(text: &str, at_end: bool) -> anyhow::Result<Timestamp> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(at.as_millisecond()));
    }
    let of_date = |date: Date| date.to_zoned(jiff::tz::TimeZone::UTC).ok();
    match text.parse::<Date>().ok().filter(|_| text.len() == "2026-11-23".len()).and_then(of_date) {
        Some(midnight) => {
            let first = Timestamp(midnight.timestamp().as_millisecond());
            Ok(if at_end { first.plus(REST_OF_DAY) } else { first })
        }
        None => bail!(
            "\"{}\" is no time; write it as 2026-11-23T18:00:00Z (RFC 3339), or a date as 2026-11-23",
            clean(text)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_told_by_name_or_else_by_number() {
        assert_eq!(called(Some("ada"), Some("root"), 7), "ada");
        assert_eq!(called(None, Some("ada"), 7), "ada");
        assert_eq!(called(Some(""), Some("a\u{1b}b"), 7), "a\u{fffd}b");
        assert_eq!((called(None, None, 1000), called(Some(""), Some(""), 0)), ("uid 1000".into(), "uid 0".into()));
    }

    #[test]
    fn a_date_is_the_whole_day_in_utc_and_a_time_is_itself() {
        let at = |text: &str, end| moment(text, end).unwrap().rfc3339();
        assert_eq!(at("2026-11-23", false), "2026-11-23T00:00:00.000Z");
        assert_eq!(at("2026-11-23", true), "2026-11-23T23:59:59.999Z");
        assert_eq!(at("2026-11-23T10:00:00+01:00", true), "2026-11-23T09:00:00.000Z");
        for wrong in ["", "tomorrow", "2026-11-23T10:00", "2026-13-01", "10:00"] {
            assert!(moment(wrong, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_suspension_lasts_for_a_span_or_until_a_moment_that_is_to_come() {
        let now = Timestamp(1_795_428_000_000);
        assert_eq!(until("2h", now).unwrap(), now.plus(Span::seconds(7200)));
        assert_eq!(until("2026-12-01T06:00:00Z", now).unwrap().rfc3339(), "2026-12-01T06:00:00.000Z");
        assert!(until("2020-01-01", now).unwrap_err().to_string().contains("has passed"));
    }
}
