//! Settings put in force, and sessions loaded, for all commands.

use std::path::Path;

use prunelens_core::{
    error::{Error, Result},
    session::{Session, SessionSpec},
};

use crate::{
    folders::Folders,
    interrupt, output, settings as config,
    settings::{ColorChoice, Display, Resolved, SessionSettings, Settings},
    threads,
    tui::{Look, state::SavedView, theme::ColorDepth, views},
};

/// What the user asked for, with the number of threads in force. To be called before any thread is started.
pub fn settings(flags: impl Into<Settings>) -> Result<Resolved> {
    let settings = flags.into().resolve(&config::environment)?;
    if let Some(threads) = settings.threads {
        // SAFETY: no thread has been started yet.
        unsafe { threads::limit(threads) };
    }
    tracing::info!(?settings);
    Ok(settings)
}

/// A view, if one is to be opened, and the settings with the session that it is of.
pub struct Viewed {
    pub view: Option<SavedView>,
    pub settings: Settings,
}

/// The view's file is a session file too, which flags override as they do any other.
pub fn viewed(file: Option<&Path>, mut settings: Settings) -> Result<Viewed> {
    let named = |e: Error| Error::invalid(format!("--view {e}"));
    let mut view = file.map(views::read).transpose().map_err(named)?;
    if let Some(view) = &mut view {
        view.turn(&settings.session);
    }
    let session = &mut settings.session.model.session;
    *session = session.take().or_else(|| file.map(Path::to_path_buf));
    Ok(Viewed { view, settings })
}

/// The session on the view's copy, where it has it, and at the view's layer, where there are SAEs of several and no flag names one.
pub fn at_view(spec: SessionSpec, flags: &SessionSettings, view: Option<&SavedView>) -> SessionSpec {
    let spec = match view.and_then(SavedView::copy).filter(|copy| spec.compressions.contains(copy)) {
        Some(copy) => spec.at_copy(&copy),
        None => spec,
    };
    match view.and_then(|view| view.layer).filter(|_| spec.is_layered() && flags.layer.is_none()) {
        Some(layer) => spec.at_layer(layer),
        None => spec,
    }
}

/// Neither models nor SAEs were named.
pub fn asks_for_nothing(settings: &Settings) -> bool {
    let session = &settings.session;
    session.model.session.is_none() && session.model.model.is_none() && session.sae.is_none()
}

/// The same for commands without a screen, which Ctrl-C asks to stop.
pub fn headless(flags: impl Into<Settings>) -> Result<Resolved> {
    interrupt::watch()?;
    let settings = settings(flags)?;
    if let [_, second, ..] = &settings.spec.compressions[..] {
        return Err(Error::Usage(format!(
            "--compress {second}: this command works on one compressed copy; give --compress once (the explorer takes several)"
        )));
    }
    threads::start(settings.threads, false)?;
    Ok(settings)
}

/// A session loaded for such a command.
pub fn session(flags: impl Into<Settings>) -> Result<Session> {
    let session = Session::load(&headless(flags)?.spec, &mut output::listener())?;
    output::warn(&session.warnings);
    Ok(session)
}

/// Colours and theme, the user's own among them.
pub fn look(display: &Display, folders: Option<&Folders>) -> Look {
    let theme = display.theme.as_ref().map(|name| {
        let own = folders.map(|folders| folders.theme(name)).filter(|path| !name.contains('/') && path.is_file());
        own.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| name.clone())
    });
    Look { theme, depth: depth(display.color), ascii: display.ascii.unwrap_or(false) }
}

fn depth(choice: ColorChoice) -> ColorDepth {
    match choice {
        ColorChoice::Auto => ColorDepth::detect(),
        ColorChoice::Truecolor => ColorDepth::Truecolor,
        ColorChoice::Indexed => ColorDepth::Ansi256,
        ColorChoice::Ansi => ColorDepth::Ansi16,
        ColorChoice::None => ColorDepth::None,
    }
}
