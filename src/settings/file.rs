//! Session files: the flags' names as TOML keys.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use prunelens_core::{
    error::{Error, Result},
    files::read_at_most,
};
use toml::de::DeTable;

use super::{SessionSettings, Settings, keys, template};
use crate::presets;

/// The table that makes a session file a view.
pub const VIEW: &str = "view";

/// No file of settings is anywhere near this long.
const LONGEST: u64 = 1 << 20;

/// The text of a TOML file that a person wrote; `what` it should be, in messages.
pub fn toml_text(path: &Path, what: &str) -> Result<String> {
    let refused = || Error::file(path, format!("not {what}: expected a TOML file of less than 1 MiB"));
    if !std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_file() {
        return Err(refused());
    }
    let bytes = read_at_most(path, LONGEST)?.ok_or_else(refused)?;
    String::from_utf8(bytes)
        .map_err(|e| Error::file(path, format!("not {what}: byte {} is not UTF-8 text", e.utf8_error().valid_up_to())))
}

/// What a session file says. Paths in it are relative to its folder; models and SAEs may be hub ids, too.
#[derive(Clone, Debug, Default)]
pub struct SessionFile {
    pub settings: Settings,
    /// Where the file is.
    pub folder: PathBuf,
}

impl SessionFile {
    /// A file, or the preset of this name.
    pub fn find(path: &Path) -> Result<Self> {
        match path.to_str() {
            Some(name) if !path.is_file() && presets::is_name(name) => {
                let settings = parse(path, &template::session_file(&presets::find(name)?))?;
                Ok(Self { settings, folder: PathBuf::new() })
            }
            Some(name) if !path.exists() && !name.ends_with(".toml") => Err(Error::invalid(format!(
                "--session {name}: no such file, and no preset of that name; `prunelens presets` lists them"
            ))),
            _ => Self::read(path),
        }
    }

    pub fn read(path: &Path) -> Result<Self> {
        let text = toml_text(path, "a session file")?;
        let mut settings = parse(path, &text)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        settings.resolve_paths(&folder);
        Ok(Self { settings, folder })
    }
}

/// The flag's name of `pruned-model`.
const COMPRESSED: &str = "compressed-model";
/// A flag whose key says the contrary.
const NO_BOS: &str = "no-bos";

/// The text of the file at `path`.
///
/// serde's own way to read structs in structs forgets where a value stood, so each is read from the text by itself.
pub fn parse(path: &Path, text: &str) -> Result<Settings> {
    let wrong = |at: Option<Range<usize>>, message: &str| {
        let line = at.map_or(1, |span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
        Error::file(path, format!("line {line}: {message}"))
    };
    let refused = |e: toml::de::Error| wrong(e.span(), e.message());
    let known: Vec<String> = keys().into_iter().map(|key| key.name).collect();
    for key in DeTable::parse(text).map_err(refused)?.get_ref().keys() {
        let name: &str = key.get_ref();
        // A view is a session file with a table more, of what was looked at.
        if ![VIEW, COMPRESSED].contains(&name) && !known.iter().any(|known| known == name) {
            let message = match name {
                NO_BOS => "`no-bos` is a flag; in a session file it is `bos = false`".to_owned(),
                _ => format!("unknown field `{name}`, expected one of `{}`", known.join("`, `")),
            };
            return Err(wrong(Some(key.span()), &message));
        }
    }
    Ok(Settings {
        session: SessionSettings {
            model: toml::from_str(text).map_err(refused)?,
            ..toml::from_str(text).map_err(refused)?
        },
        display: toml::from_str(text).map_err(refused)?,
    })
}

impl Settings {
    /// Paths that cannot be hub ids are meant from the file's folder.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let Self { session, display } = self;
        let session = &mut *session;
        let paths = [&mut session.model.calibration, &mut session.text, &mut session.corpus, &mut session.results];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        // A theme is a name unless it looks like a file.
        if let Some(theme) = display.theme.as_mut().filter(|theme| theme.contains('/') || theme.ends_with(".toml"))
            && let Some(path) = folder.join(&*theme).to_str()
        {
            *theme = path.to_owned();
        }
    }
}
