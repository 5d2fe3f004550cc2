//! `orphans accept`: a person's word that what a fuse froze is really gone.

use std::io::Write;

use anyhow::bail;

use super::context::Context;
use super::exit::Exit;
use super::out::Out;
use super::request::perform;
use crate::runtime::control::{Request, Response};

/// Arguments of `orphans`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to do
    #[command(subcommand)]
    action: Action,
}

/// What to do with what is gone.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Accept that the manifests and apps which a blown fuse froze are really gone
    Accept,
}

/// Accepts.
///
/// # Errors
/// When neither a controller nor the state directory can be reached.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let Action::Accept = args.action;
    let mut out = Out::new(context.colour);
    match perform(context, Request::AcceptOrphans).await? {
        (Response::Accepted { sources: 0 }, _) => {
            writeln!(out, "nothing is frozen")?;
            Ok(Exit::Ok)
        }
        (Response::Accepted { sources }, _) => {
            writeln!(out, "accepted for {sources} sources; what is gone is now marked or removed")?;
            Ok(Exit::Ok)
        }
        (Response::Failed { message }, _) => bail!("{message}"),
        (other, _) => bail!("the controller answered something else: {other:?}"),
    }
}
