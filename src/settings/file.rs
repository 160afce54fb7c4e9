//! Session files: the flags' names as TOML keys.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use prunelens_core::{
    error::{Error, Result},
    model::HookPoint,
    prune::{Criterion, MAX_RATIO},
    session::{Compress, DeviceSpec, Processing, dtype_by_name},
};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    presets,
    settings::{ColorChoice, values},
};

/// No session file is anywhere near this long.
const LONGEST: u64 = 1 << 20;

/// What a session file may say. Paths in it are relative to its folder; models and SAEs may be hub ids, too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SessionFile {
    pub model: Option<PathBuf>,
    pub pruned_model: Option<PathBuf>,
    #[serde(deserialize_with = "from_str")]
    pub compress: Option<Compress>,
    pub calibration: Option<PathBuf>,
    pub hook: Option<HookPoint>,
    pub sae: Option<PathBuf>,
    pub trained_sae: Option<PathBuf>,
    #[serde(deserialize_with = "ratio")]
    pub ratio: Option<f64>,
    #[serde(deserialize_with = "from_str")]
    pub criterion: Option<Criterion>,
    #[serde(deserialize_with = "from_str")]
    pub tl_processing: Option<Processing>,
    #[serde(deserialize_with = "factor")]
    pub norm_scaling_factor: Option<f64>,
    #[serde(deserialize_with = "from_str")]
    pub device: Option<DeviceSpec>,
    #[serde(deserialize_with = "from_str")]
    pub jobs_device: Option<DeviceSpec>,
    #[serde(deserialize_with = "dtype")]
    pub dtype: Option<candle_core::DType>,
    #[serde(deserialize_with = "threads")]
    pub threads: Option<u64>,
    pub offline: Option<bool>,
    pub bos: Option<bool>,
    pub text: Option<PathBuf>,
    pub results: Option<PathBuf>,
    pub theme: Option<String>,
    pub color: Option<ColorChoice>,
    pub ascii: Option<bool>,
    pub mouse: Option<bool>,
    /// Where the file is.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl SessionFile {
    /// A file, or the preset of this name.
    pub fn find(path: &Path) -> Result<Self> {
        match path.to_str() {
            Some(name) if !path.is_file() && presets::is_name(name) => {
                Self::parse(path, &presets::find(name)?.session_file())
            }
            Some(name) if !path.exists() && !name.ends_with(".toml") => Err(Error::invalid(format!(
                "--session {name}: no such file, and no preset of that name; `prunelens presets` lists them"
            ))),
            _ => Self::read(path),
        }
    }

    pub fn read(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if !found.is_file() || found.len() > LONGEST {
            return Err(Error::file(path, "not a session file: expected a TOML file of less than 1 MiB"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let mut file = Self::parse(path, &text)?;
        file.resolve_paths(path.parent().unwrap_or(Path::new("")));
        Ok(file)
    }

    /// From the text of the file at `path`.
    fn parse(path: &Path, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
            Error::file(path, format!("line {line}: {}", e.message()))
        })
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let Self { calibration, text, results, .. } = self;
        for path in [calibration, text, results].into_iter().flatten() {
            *path = folder.join(&*path);
        }
        self.folder = folder.to_path_buf();
        // A theme is a name unless it looks like a file.
        if let Some(theme) = self.theme.as_mut().filter(|theme| theme.contains('/') || theme.ends_with(".toml"))
            && let Some(path) = folder.join(&*theme).to_str()
        {
            *theme = path.to_owned();
        }
    }
}

fn from_str<'de, D: Deserializer<'de>, T: FromStr<Err = Error>>(deserializer: D) -> Result<Option<T>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

fn dtype<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<candle_core::DType>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let found = dtype_by_name(&name);
    found.map(Some).ok_or_else(|| D::Error::custom(format!("{name:?} is none of f32, bf16 and f16")))
}

fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let ratio = f64::deserialize(deserializer)?;
    if !(0.0..=MAX_RATIO).contains(&ratio) {
        return Err(D::Error::custom(format!("ratio {ratio}: expected a number from 0 to {}", MAX_RATIO)));
    }
    Ok(Some(ratio))
}

fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let factor = f64::deserialize(deserializer)?;
    values::factor(&factor.to_string()).map(Some).map_err(|e| D::Error::custom(format!("factor {factor}: {e}")))
}

fn threads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match u64::deserialize(deserializer)? {
        n @ 1..=1024 => Ok(Some(n)),
        n => Err(D::Error::custom(format!("threads {n}: expected a number from 1 to 1024"))),
    }
}
