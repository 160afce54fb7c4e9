//! `prunelens explore`: the explorer in the terminal.

use std::fs;

use clap::Args;
use prunelens_core::error::{Error, Result};
use prunelens_metrics::{JOBS, Store};

use super::setup;
use crate::{
    engine,
    folders::Folders,
    settings::{self as config, Resolved, Settings},
    tui::{self, Keymap, Options},
};

/// The explorer's own flags.
#[derive(Args, Clone, Debug, Default)]
pub struct ExploreArgs {
    /// A prompt to begin with.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    #[command(flatten)]
    pub settings: Settings,
}

pub fn run(args: &ExploreArgs) -> Result<()> {
    let Resolved { spec, display, threads } = setup::settings(args.settings.clone())?;
    config::start_threads(threads, true)?;
    let folders = Folders::find();
    let options = Options {
        session: spec,
        prompt: args.prompt.clone(),
        look: setup::look(&display, folders.as_ref()),
        mouse: display.mouse,
        keymap: keymap(folders.as_ref())?,
        log_file: folders.as_ref().map(Folders::log_file),
        state_folder: folders.map(|folders| folders.state),
    };
    let store = options.state_folder.clone().map(Store::new);
    tui::run(engine::start_with(engine::Options { families: JOBS, store })?, options)
}

/// Default keys, changed by the user's own file if there is one.
fn keymap(folders: Option<&Folders>) -> Result<Keymap> {
    let Some(path) = folders.map(Folders::keys_file).filter(|path| path.exists()) else {
        return Ok(Keymap::default());
    };
    let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    Keymap::with_changes(&text, &path.display().to_string())
}
