//! `doctor`: whether everything is as it should be, and with `--fix` what can safely be done when it is not.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _};

use anyhow::bail;
use serde_json::json;

use super::context::Context;
use super::exit::{Exit, refused};
use super::now;
use super::out::{Out, clean};
use super::request::{ask, perform};
use super::table::many;
use super::work::Work;
use crate::plan::doctor::{Check, Finding, Fix};
use crate::resource::attempt::AttemptId;
use crate::runtime::control::{Request, Response};
use crate::runtime::doctor::{Diagnosis, Subject, examine};
use crate::runtime::doctor_analyzers::Outside;

/// Findings that a person is shown; all of them are in the JSON.
const SHOWN: usize = 100;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Ends with 0 when all is well or everything was mended, and 1 when something is left.")]
pub(super) struct Args {
    /// Do what can safely be done about what is found, after saying what: nothing is deleted that is not already purged
    #[arg(long)]
    fix: bool,
    /// Do not ask before that
    #[arg(long, requires = "fix")]
    yes: bool,
    /// Do not read the files of results, only whether they are there
    #[arg(long)]
    quick: bool,
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Says that the settings cannot be used; nothing else can be looked at without them.
pub(super) fn broken_settings(args: &Args, error: &anyhow::Error) -> anyhow::Result<Exit> {
    let mut out = Out::new(false);
    let what = format!("{error:#}");
    let advice = "mend them where the message says that they come from".to_owned();
    let finding = Finding { check: Check::Settings, object: "settings".into(), what, advice, fix: None };
    let diagnosis = Diagnosis { findings: vec![finding], ..Diagnosis::default() };
    match args.output.as_str() {
        "json" => out.json(&json!({"findings": diagnosis.findings, "checks": diagnosis.checks, "mended": []}))?,
        _ => print(&mut out, &diagnosis)?,
    }
    Ok(Exit::No)
}

/// Runs `doctor`.
///
/// # Errors
/// When what was found could not be mended.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let mut out = Out::new(context.colour);
    let text = args.output == "text";
    let diagnosis = look(context, args.quick, text).await?;
    let fixes = fixes(&diagnosis);
    if !args.fix {
        match text {
            true => print(&mut out, &diagnosis)?,
            false => json_report(&mut out, &diagnosis, &[])?,
        }
        if text && !fixes.is_empty() {
            writeln!(out, "\nmanifestd doctor --fix would do this:")?;
            print_fixes(&mut out, &fixes)?;
        }
        return Ok(if diagnosis.findings.is_empty() { Exit::Ok } else { Exit::No });
    }
    if text {
        print(&mut out, &diagnosis)?;
    }
    let mut mended = Vec::new();
    if !fixes.is_empty() {
        if text {
            writeln!(out, "\nthe plan:")?;
            print_fixes(&mut out, &fixes)?;
        }
        if !args.yes && !agreed(&mut out)? {
            writeln!(out, "nothing was done")?;
            return Ok(Exit::No);
        }
        mended = match perform(context, Request::Mend { fixes }).await? {
            (Response::Mended { lines }, _) => lines,
            (Response::Failed { message }, _) => bail!("{message}"),
            (other, _) => bail!("the controller answered something else: {other:?}"),
        };
    }
    let left = look(context, args.quick, text).await?;
    match text {
        false => json_report(&mut out, &left, &mended)?,
        true => {
            mended.iter().try_for_each(|line| writeln!(out, "done: {}", clean(line)))?;
            match left.findings.len() {
                0 => writeln!(out, "all is well now")?,
                count => writeln!(out, "left for you: {}", many(count, "finding"))?,
            }
        }
    }
    Ok(if left.findings.is_empty() { Exit::Ok } else { Exit::No })
}

async fn look(context: &Context, quick: bool, shows: bool) -> anyhow::Result<Diagnosis> {
    let held: Option<HashSet<AttemptId>> = match ask(&context.state, &Request::Held).await {
        Ok(Some(Response::Held { attempts })) => Some(attempts.into_iter().map(|held| held.id).collect()),
        // Whoever does not answer is found by the lock.
        Ok(_) | Err(_) => None,
    };
    let rules = context.settings.rules();
    let secrets = context.workspace.join(context.settings.secrets());
    let outside = Outside { programs: context.programs.clone(), secrets };
    let (state, manifests) = (context.state.clone(), context.manifests.clone());
    let subject = Subject { state, manifests, held, grace: rules.grace, quick, outside, now: now() };
    let mut work = Work::start("results", shows);
    let diagnosed = tokio::task::spawn_blocking(move || {
        let diagnosis = examine(&subject, &mut |done, of| work.tell(done, of));
        work.end();
        diagnosis
    });
    let mut diagnosis = diagnosed.await?;
    diagnosis.checks.insert(Check::Settings, "none contradicts another".into());
    Ok(diagnosis)
}

/// What can be done, each thing once.
fn fixes(diagnosis: &Diagnosis) -> Vec<Fix> {
    let mut fixes: Vec<Fix> = Vec::new();
    for fix in diagnosis.findings.iter().filter_map(|finding| finding.fix.clone()) {
        if fixes.last() != Some(&fix) {
            fixes.push(fix);
        }
    }
    fixes
}

fn agreed(out: &mut Out) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(refused("say --yes where nobody can be asked; nothing was done"));
    }
    write!(out, "Do this? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn json_report(out: &mut Out, diagnosis: &Diagnosis, mended: &[String]) -> anyhow::Result<()> {
    out.json(&json!({"checks": diagnosis.checks, "findings": diagnosis.findings, "mended": mended}))
}

fn print(out: &mut Out, diagnosis: &Diagnosis) -> anyhow::Result<()> {
    for check in Check::ALL {
        let found = diagnosis.findings.iter().filter(|finding| finding.check == check).count();
        let saw = diagnosis.checks.get(&check).map_or("not looked at", String::as_str);
        match found {
            0 if diagnosis.checks.contains_key(&check) => writeln!(out, "ok    {check:<9} {}", clean(saw))?,
            0 => writeln!(out, "-     {check:<9} not looked at")?,
            count => writeln!(out, "{count:<5} {check:<9} {}", clean(saw))?,
        }
    }
    for finding in diagnosis.findings.iter().take(SHOWN) {
        let Finding { check, object, what, advice, .. } = finding;
        writeln!(out, "\n{check}: {} {}\n  {}", clean(object), clean(what), clean(advice))?;
    }
    if diagnosis.findings.len() > SHOWN {
        writeln!(out, "\nand {} more (-o json lists them)", diagnosis.findings.len() - SHOWN)?;
    }
    if diagnosis.findings.is_empty() {
        writeln!(out, "all is well")?;
    }
    Ok(())
}

fn print_fixes(out: &mut Out, fixes: &[Fix]) -> anyhow::Result<()> {
    for fix in fixes.iter().take(SHOWN) {
        writeln!(out, "  {}", clean(&fix.to_string()))?;
    }
    if fixes.len() > SHOWN {
        writeln!(out, "  and {} more", fixes.len() - SHOWN)?;
    }
    Ok(())
}
