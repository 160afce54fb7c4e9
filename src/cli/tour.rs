//! `prunelens tour`: the explorer on its demo, with a guide.

use clap::Args;
use prunelens_core::error::Result;

use super::explore;
use crate::settings::{DisplaySettings, Settings};

#[derive(Args, Clone, Debug, Default)]
pub struct TourArgs {
    /// Begin anew instead of where the tour was left.
    #[arg(long)]
    pub restart: bool,
    #[command(flatten)]
    pub display: DisplaySettings,
}

pub fn run(args: &TourArgs) -> Result<()> {
    let settings = Settings { display: args.display.clone(), ..Settings::default() };
    explore::open(&explore::ExploreArgs { settings, ..explore::ExploreArgs::default() }, Some(args.restart))
}
