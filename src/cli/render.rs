//! `prunelens render`: the explorer without a terminal.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::error::Result;

use super::setup::{self, Viewed};
use crate::{
    engine,
    folders::Folders,
    output,
    settings::{ColorChoice, Resolved, Settings, values},
    threads,
    tui::{self, RenderOptions},
};

#[derive(Args, Clone, Debug)]
pub struct RenderArgs {
    /// Size of the screen in cells.
    #[arg(long, value_name = "WxH", default_value = "120x36", value_parser = values::size)]
    pub size: (u16, u16),
    #[arg(
        long,
        value_name = "SCRIPT",
        default_value = "<wait>",
        help = "Keys to press: text, and names in angle brackets such as <tab>, <enter>, <ctrl-p>, <wait> (until the engine has answered) and <job> (until no job is left)"
    )]
    pub keys: String,
    /// File to write, in place of an earlier one; its ending says what: .svg, .txt or .cast.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// A prompt to begin with.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// A view to open, as :save-view wrote it.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub view: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
}

pub fn run(args: &RenderArgs) -> Result<()> {
    let Viewed { view, settings } = setup::viewed(args.view.as_deref(), args.settings.clone())?;
    let Resolved { spec, settings, mut display, threads } = setup::settings(settings)?;
    threads::start(threads, true)?;
    if display.color == ColorChoice::Auto {
        // A picture is not a terminal: it has all colours.
        display.color = ColorChoice::Truecolor;
    }
    let options = RenderOptions {
        session: setup::at_view(spec, &settings, view.as_ref()),
        settings,
        prompt: args.prompt.clone(),
        view,
        look: setup::look(&display, Folders::find().as_ref()),
        size: args.size,
        keys: args.keys.clone(),
        out: args.out.clone(),
    };
    output::warn(&tui::render(engine::start()?, options)?);
    Ok(())
}
