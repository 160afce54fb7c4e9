//! Between the command line and the work: settings put in force, and what each surface is started with.

use std::fs;

use crate::{
    app::{self, Keymap, Look, Options, RenderOptions},
    cli::{ColorChoice, DisplayArgs, ExploreArgs, RenderArgs, SessionArgs},
    config::{self, Display, Settings},
    engine,
    error::{Error, Result},
    folders::Folders,
    interrupt, output,
    session::Session,
};

/// What the person asked for, with the number of threads in force. To be called before any thread is started.
pub fn settings(session: &SessionArgs, display: &DisplayArgs) -> Result<Settings> {
    let settings = Settings::resolve(session, display, &config::environment)?;
    if let Some(threads) = settings.threads {
        // SAFETY: no thread has been started yet.
        unsafe { config::limit_threads(threads) };
    }
    tracing::info!(?settings);
    Ok(settings)
}

/// The same for commands without a screen, which Ctrl-C asks to stop.
pub fn headless(session: &SessionArgs) -> Result<Settings> {
    interrupt::watch()?;
    settings(session, &DisplayArgs::default())
}

/// A session loaded for such a command.
pub fn session(args: &SessionArgs) -> Result<Session> {
    Session::load(&headless(args)?.spec, &mut output::listener())
}

/// The explorer in the terminal.
pub fn explore(args: &ExploreArgs) -> Result<()> {
    let Settings { spec, display, .. } = settings(&args.session, &args.display)?;
    let folders = Folders::find();
    let options = Options {
        session: spec,
        prompt: args.prompt.clone(),
        look: look(&display, folders.as_ref()),
        mouse: display.mouse,
        keymap: keymap(folders.as_ref())?,
        log_file: folders.as_ref().map(Folders::log_file),
        state_folder: folders.map(|folders| folders.state),
    };
    app::run(engine::start()?, options)
}

/// The explorer without one.
pub fn render(args: &RenderArgs) -> Result<()> {
    let Settings { spec, mut display, .. } = settings(&args.session, &args.display)?;
    if display.color == ColorChoice::Auto {
        // A picture is not a terminal: it has all colours.
        display.color = ColorChoice::Truecolor;
    }
    let options = RenderOptions {
        session: spec,
        prompt: args.prompt.clone(),
        look: look(&display, Folders::find().as_ref()),
        size: args.size,
        keys: args.keys.clone(),
        out: args.out.clone(),
    };
    app::render(engine::start()?, options)
}

fn look(display: &Display, folders: Option<&Folders>) -> Look {
    let theme = display.theme.as_ref().map(|name| {
        let own = folders.map(|folders| folders.theme(name)).filter(|path| !name.contains('/') && path.is_file());
        own.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| name.clone())
    });
    Look { theme, depth: display.color.into(), ascii: display.ascii }
}

/// Default keys, changed by the person's own file if there is one.
fn keymap(folders: Option<&Folders>) -> Result<Keymap> {
    let Some(path) = folders.map(Folders::keys_file).filter(|path| path.exists()) else {
        return Ok(Keymap::default());
    };
    let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    Keymap::with_changes(&text, &path.display().to_string())
}
