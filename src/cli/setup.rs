//! Settings put in force, and sessions loaded, for all commands.

use prunelens_core::{error::Result, session::Session};

use crate::{
    folders::Folders,
    interrupt, output, settings as config,
    settings::{Display, DisplayArgs, SessionArgs, Settings},
    tui::Look,
};

/// What the user asked for, with the number of threads in force. To be called before any thread is started.
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

/// Colours and theme, the user's own among them.
pub fn look(display: &Display, folders: Option<&Folders>) -> Look {
    let theme = display.theme.as_ref().map(|name| {
        let own = folders.map(|folders| folders.theme(name)).filter(|path| !name.contains('/') && path.is_file());
        own.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| name.clone())
    });
    Look { theme, depth: display.color.into(), ascii: display.ascii }
}
