//! `prunelens doctor`.

use clap::Args;
use prunelens_core::error::Result;

use super::setup;
use crate::{doctor::Report, output, settings::SessionSettings};

#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Load the session, too, and say what uses how much memory.
    #[arg(long)]
    pub load: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub session: SessionSettings,
}

pub fn run(args: &DoctorArgs) -> Result<()> {
    let report = if args.load {
        let session = setup::session(args.session.clone())?;
        Report::find(Some(&session), &session.spec)
    } else {
        Report::find(None, &setup::settings(args.session.clone())?.spec)
    };
    output::answer_as(args.json, &report, || {
        report.lines().iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect()
    })
}
