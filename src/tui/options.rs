//! What the explorer is started with.

use std::path::PathBuf;

use prunelens_core::{error::Result, session::SessionSpec};

use crate::{
    safe,
    settings::{SessionSettings, environment, open},
    tui::{
        keys::keymap::Keymap,
        state::{SavedView, State},
        theme::{BUILT_IN, ColorDepth, Theme},
        update::message::Message,
    },
};

/// How things look.
#[derive(Clone, Debug)]
pub struct Look {
    /// A built-in theme or the path of one; by default the one for the terminal's background.
    pub theme: Option<String>,
    pub depth: ColorDepth,
    pub ascii: bool,
}

/// Whether the locale says that characters beyond ASCII are seen as such; where it says nothing they are taken to be.
pub fn takes_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
    locale.is_none_or(|locale| {
        let locale = locale.to_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

impl Look {
    /// All themes that can be switched to, the one to begin with first.
    pub fn themes(&self) -> Result<Vec<Theme>> {
        let first = self.theme.clone().unwrap_or_else(|| background_theme().to_owned());
        let mut themes = vec![Theme::load(&first, self.depth, self.ascii)?];
        for name in BUILT_IN {
            let theme = Theme::load(name, self.depth, self.ascii)?;
            // With few colours several names lead to the same theme.
            if themes.iter().all(|t| t.name != theme.name) {
                themes.push(theme);
            }
        }
        Ok(themes)
    }
}

/// The terminal's background as far as its environment tells: dark unless it says otherwise.
fn background_theme() -> &'static str {
    // "foreground;background" in ANSI numbers, set by several terminals.
    let colors = std::env::var("COLORFGBG").unwrap_or_default();
    match colors.rsplit(';').next() {
        Some("7" | "15") => "light",
        _ => "dark",
    }
}

/// The explorer in a terminal.
#[derive(Clone, Debug)]
pub struct Options {
    pub session: SessionSpec,
    /// What it was made from.
    pub settings: SessionSettings,
    /// A prompt to begin with.
    pub prompt: Option<String>,
    /// A view to open.
    pub view: Option<SavedView>,
    /// Folder of a study to begin with.
    pub study: Option<PathBuf>,
    /// Explanations of latents to read once the session is loaded.
    pub explanations: Option<PathBuf>,
    /// Nothing was said of what to open: what was left last is worth a word, whatever its models.
    pub unasked: bool,
    /// A guide to the demo, from the beginning (true) or from where it was left.
    pub tour: Option<bool>,
    pub look: Look,
    /// Take the mouse from the start.
    pub mouse: bool,
    pub keymap: Keymap,
    /// Named in the help overlay.
    pub log_file: Option<PathBuf>,
    /// Where it is remembered that the first steps were taken; without one they are never shown.
    pub state_folder: Option<PathBuf>,
}

/// The explorer without a terminal: scripted keys, and a picture or recording at the end.
#[derive(Clone, Debug)]
pub struct RenderOptions {
    pub session: SessionSpec,
    /// What it was made from.
    pub settings: SessionSettings,
    pub prompt: Option<String>,
    pub view: Option<SavedView>,
    pub look: Look,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Keys to press: `hello<wait>]]<tab>`.
    pub keys: String,
    /// `.svg`, `.txt` or `.cast`.
    pub out: PathBuf,
}

/// What a line that opens another session means, beside the one there is.
pub fn meant(state: &State, line: String) -> Message {
    // What stays as it is stays at the layer that is on screen.
    let layer = state.info.as_ref().filter(|info| !info.layers.is_empty()).map(|info| info.layer);
    let now = SessionSettings { layer: layer.or(state.settings.layer), ..(*state.settings).clone() };
    let meant = open::open(&line, &now, &environment).map(|meant| {
        // And on the copy that is on screen, where that is still one of several.
        let stays = meant.spec.compressions == state.spec.compressions;
        let spec = if stays { meant.spec.at_copy(&state.spec.compress) } else { meant.spec };
        Box::new((spec, meant.settings))
    });
    Message::Meant { line, meant: meant.map_err(|e| e.to_string()) }
}

/// The state a session begins with.
pub fn first_state(session: &SessionSpec, prompt: Option<&str>, themes: &[Theme], size: (u16, u16)) -> State {
    let mut state = State::new(session.clone(), themes.iter().map(|t| t.name.clone()).collect(), size);
    if let Some(prompt) = prompt {
        state.prompt.set(&safe::input(prompt));
    }
    state
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::settings::ModelSettings;

    #[test]
    fn another_setting_stays_on_the_copy_that_is_on_screen() {
        let copies = ["wanda:0.5", "rtn:int8"].map(|copy| copy.parse().unwrap());
        let mut state = first_state(&SessionSpec::demo(), None, &[], (80, 24));
        state.settings = Arc::new(SessionSettings {
            model: ModelSettings { compress: Some(copies.to_vec()), ..ModelSettings::default() },
            ..SessionSettings::default()
        });
        let first = SessionSpec { compressions: copies.to_vec(), ..SessionSpec::demo() };
        state.spec = Arc::new(first.at_copy(&copies[1]));
        let copy = |line: &str| match meant(&state, line.into()) {
            Message::Meant { meant: Ok(meant), .. } => meant.0.compress.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(copy("--ratio 0.4"), "rtn:int8");
        assert_eq!(copy("--compress wanda:0.3"), "wanda:0.3");
    }

    #[test]
    fn the_locale_says_what_the_terminal_shows() {
        let said = |all: Option<&str>, lang: Option<&str>| {
            takes_utf8(|name| match name {
                "LC_ALL" => all.map(str::to_owned),
                "LANG" => lang.map(str::to_owned),
                _ => None,
            })
        };
        assert!(said(None, None) && said(None, Some("de_DE.UTF-8")) && said(Some("C.utf8"), Some("C")));
        assert!(!said(Some("C"), Some("en_US.UTF-8")) && !said(None, Some("POSIX")) && !said(None, Some("de_DE@euro")));
    }
}
