//! From settings to a running explorer: in the terminal, or to a file.

use std::time::{Duration, Instant};

use super::{Keymap, Look, Options, RenderOptions, options::first_state, run, script};
use crate::{
    cli::{ColorChoice, RenderArgs},
    config::{Display, Settings},
    engine,
    error::{Error, Result},
    folders::Folders,
    session::SessionSpec,
    ui::{self, theme::ColorDepth},
};

/// The explorer in the terminal.
pub fn explore(settings: Settings) -> Result<()> {
    let folders = Folders::find();
    let options = Options {
        look: look(&settings.display, ColorDepth::detect()),
        session: settings.spec,
        prompt: None,
        mouse: settings.display.mouse,
        keymap: keymap(folders.as_ref())?,
        log_file: folders.as_ref().map(Folders::log_file),
        state_folder: folders.map(|f| f.state),
    };
    run(engine::start()?, options)
}

/// The explorer without a terminal. Pictures have all colours unless told otherwise.
pub fn render(settings: Settings, args: &RenderArgs) -> Result<()> {
    let options = RenderOptions {
        look: look(&settings.display, ColorDepth::Truecolor),
        session: settings.spec,
        prompt: None,
        size: args.size,
        keys: args.keys.clone(),
        out: args.out.clone(),
    };
    script::render(engine::start()?, options)
}

/// How long it takes until something can be seen.
pub fn first_frame(session: &SessionSpec) -> Result<Duration> {
    let start = Instant::now();
    let _engine = engine::start()?;
    let themes = look(&Display::default(), ColorDepth::Truecolor).themes()?;
    let size = (120, 36);
    let state = first_state(session, None, &themes, size);
    let theme = themes.first().ok_or_else(|| Error::invalid("there is no theme"))?;
    ui::draw(size.0, size.1, &state, theme);
    Ok(start.elapsed())
}

fn look(display: &Display, automatic: ColorDepth) -> Look {
    let depth = match display.color {
        ColorChoice::Auto => automatic,
        ColorChoice::Truecolor => ColorDepth::Truecolor,
        ColorChoice::Indexed => ColorDepth::Ansi256,
        ColorChoice::Ansi => ColorDepth::Ansi16,
        ColorChoice::None => ColorDepth::None,
    };
    Look { theme: display.theme.clone(), depth, ascii: display.ascii }
}

/// The person's own keys, from `keys.toml` in the configuration folder.
fn keymap(folders: Option<&Folders>) -> Result<Keymap> {
    let Some(path) = folders.map(|f| f.config.join("keys.toml")) else { return Ok(Keymap::default()) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Keymap::with_changes(&text, &path.display().to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Keymap::default()),
        Err(e) => Err(Error::io(path, e)),
    }
}
