//! `prunelens explore`: the explorer in the terminal.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::error::Result;
use prunelens_metrics::{JOBS, Store};

use super::setup::{self, Viewed};
use crate::{
    engine,
    folders::Folders,
    output,
    settings::{self as config, Resolved, Settings},
    threads,
    tui::{self, Keymap, Options, options::takes_utf8},
};

/// The explorer's own flags.
#[derive(Args, Clone, Debug, Default)]
pub struct ExploreArgs {
    /// A prompt to begin with.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// A view to open, as :save-view wrote it: its models and SAEs, and what was looked at.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub view: Option<PathBuf>,
    /// Folder of a study to look at, as :study opens it: its cells as they are measured.
    #[arg(long, value_name = "DIR", conflicts_with = "view")]
    pub study: Option<PathBuf>,
    /// Explanations of latents as Neuronpedia exports them (JSONL with layer, index and description).
    #[arg(long, value_name = "FILE")]
    pub explanations: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
}

pub fn run(args: &ExploreArgs) -> Result<()> {
    open(args, None)
}

/// The explorer, with a tour of it if one is asked for: from the beginning, or from where it was left.
pub fn open(args: &ExploreArgs, tour: Option<bool>) -> Result<()> {
    let Viewed { view, settings } = setup::viewed(args.view.as_deref(), args.settings.clone())?;
    let unasked = args.view.is_none() && setup::asks_for_nothing(&settings);
    let Resolved { spec, settings, mut display, threads } = setup::settings(settings)?;
    display.ascii.get_or_insert_with(|| !takes_utf8(config::environment));
    threads::start(threads, true)?;
    let folders = Folders::find();
    let options = Options {
        session: setup::at_view(spec, &settings, view.as_ref()),
        settings,
        prompt: args.prompt.clone(),
        view,
        study: args.study.clone(),
        explanations: args.explanations.clone(),
        unasked,
        tour,
        look: setup::look(&display, folders.as_ref()),
        mouse: display.mouse,
        keymap: keymap(folders.as_ref())?,
        log_file: folders.as_ref().map(Folders::log_file),
        state_folder: folders.map(|folders| folders.state),
    };
    let store = options.state_folder.clone().map(Store::new);
    match tui::run(engine::start_with(engine::Options { families: JOBS, store })?, options)? {
        None => Ok(()),
        Some(signal) => output::end_by(signal),
    }
}

/// Default keys, changed by the user's own file if there is one.
fn keymap(folders: Option<&Folders>) -> Result<Keymap> {
    let Some(path) = folders.map(Folders::keys_file).filter(|path| path.exists()) else {
        return Ok(Keymap::default());
    };
    let text = config::toml_text(&path, "a file of keys")?;
    Keymap::with_changes(&text, &path.display().to_string())
}
