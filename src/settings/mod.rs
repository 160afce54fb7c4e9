//! Flags, session file and environment made into settings. Flags come first, then the file, then the environment.

mod display;
mod file;
mod session;
pub mod values;

use std::path::{Path, PathBuf};

use prunelens_core::{
    error::{Error, Result},
    hub::{Environment, HubId, HubSettings},
    session::{Compress, SessionSpec, Source},
};

use crate::folders::Folders;

pub use display::{ColorChoice, DisplayArgs};
pub use file::SessionFile;
pub use session::{ModelArgs, SessionArgs};

/// Everything a command is told from outside.
#[derive(Clone, Debug)]
pub struct Settings {
    pub spec: SessionSpec,
    pub display: Display,
    pub threads: Option<usize>,
}

/// How the explorer looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Display {
    /// Name of a built-in theme, or a file; default: by the terminal's background.
    pub theme: Option<String>,
    pub color: ColorChoice,
    pub ascii: bool,
    pub mouse: bool,
}

/// The variables of this process. Unset, empty and not UTF-8 are the same.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Settings {
    pub fn resolve(session: &SessionArgs, display: &DisplayArgs, environment: Environment) -> Result<Self> {
        let file = match &session.model.session {
            Some(path) => SessionFile::find(path)?,
            None => SessionFile::default(),
        };
        Ok(Self {
            spec: spec(session, &file, environment)?,
            display: Display {
                theme: display.theme.clone().or(file.theme).or_else(|| environment("PRUNELENS_THEME")),
                color: display.color.or(file.color).unwrap_or_default(),
                ascii: display.ascii || file.ascii.unwrap_or(false),
                mouse: display.mouse || file.mouse.unwrap_or(false),
            },
            threads: match session.model.threads.or(file.threads) {
                Some(threads) => usize::try_from(threads).ok(),
                None => parsed(environment, "PRUNELENS_THREADS")?,
            },
        })
    }
}

fn spec(args: &SessionArgs, file: &SessionFile, environment: Environment) -> Result<SessionSpec> {
    let demo = SessionSpec::demo();
    let folders = Folders::find();
    // A flag that names another model must not meet the file's idea of its pruned copy: --compress overrides
    // `pruned-model` of the file, and the other way round.
    let compress = args
        .model
        .compress
        .clone()
        .or_else(|| if args.model.pruned_model.is_some() { None } else { file.compress.clone() });
    let pruned_model = match &args.model.compress {
        Some(_) => None,
        None => pick("--pruned-model", &args.model.pruned_model, &file.pruned_model, &file.folder)?,
    };
    let model = pick("--model", &args.model.model, &file.model, &file.folder)?;
    let own_sae = pick("--sae", &args.sae, &file.sae, &file.folder)?;
    let own_trained = pick("--trained-sae", &args.trained_sae, &file.trained_sae, &file.folder)?;
    let hook = args.hook.or(file.hook);
    let compress = compress.unwrap_or(demo.compress);

    // The demo's SAEs belong to the demo model at one hook, and the trained one to one pruned copy of it.
    let demo_sae = model.is_none() && own_sae.is_none();
    let demo_trained = demo_sae && hook.is_none() && pruned_model.is_none() && compress == Compress::Wanda(0.5);
    Ok(SessionSpec {
        sae: own_sae.or(demo_sae.then_some(Source::Demo)),
        trained_sae: own_trained.or(demo_trained.then_some(Source::Demo)),
        model: model.unwrap_or(Source::Demo),
        pruned_model,
        compress,
        calibration: args.model.calibration.clone().or_else(|| file.calibration.clone()),
        hook,
        ratio: args.ratio.or(file.ratio).unwrap_or(demo.ratio),
        criterion: args.criterion.or(file.criterion).unwrap_or(demo.criterion),
        processing: args.tl_processing.or(file.tl_processing).unwrap_or(demo.processing),
        norm_scaling_factor: args.norm_scaling_factor.or(file.norm_scaling_factor),
        device: match args.model.device.or(file.device) {
            Some(device) => device,
            None => parsed(environment, "PRUNELENS_DEVICE")?.unwrap_or(demo.device),
        },
        jobs_device: args.jobs_device.or(file.jobs_device),
        dtype: args.model.dtype.or(file.dtype).unwrap_or(demo.dtype),
        hub: HubSettings::new(args.model.offline || file.offline.unwrap_or(false), environment)
            .map_err(|e| e.to_string()),
        bos: !args.no_bos && file.bos.unwrap_or(demo.bos),
        text: args.text.clone().or_else(|| file.text.clone()),
        results: (args.results.clone())
            .or_else(|| file.results.clone())
            .or_else(|| environment("PRUNELENS_RESULTS").map(PathBuf::from))
            .or_else(|| folders.map(|folders| folders.results))
            .unwrap_or(demo.results),
    })
}

/// A variable of the environment, parsed; the message names it.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(environment: Environment, name: &str) -> Result<Option<T>> {
    environment(name).map(|text| text.parse().map_err(|e| Error::Usage(format!("{name}={text}: {e}")))).transpose()
}

/// What the flag names, else what the file does; refused at once where it cannot be anything.
fn pick(flag: &str, given: &Option<PathBuf>, in_file: &Option<PathBuf>, folder: &Path) -> Result<Option<Source>> {
    match (given, in_file) {
        (Some(path), _) => source(flag, path, Path::new("")).map(Some),
        (None, Some(path)) => source(flag.trim_start_matches('-'), path, folder).map(Some),
        (None, None) => Ok(None),
    }
}

/// A local folder or file if there is one, else a hub id.
fn source(label: &str, path: &Path, folder: &Path) -> Result<Source> {
    let local = folder.join(path);
    if local.exists() {
        return Ok(Source::Path(local));
    }
    match path.to_str().and_then(HubId::parse) {
        Some(id) => Ok(Source::Hub(id)),
        None => Err(Error::invalid(format!(
            "{label} {}: no such file or folder, and no hub id such as openai-community/gpt2",
            path.display()
        ))),
    }
}

/// Use this many threads for tensor work.
///
/// # Safety
/// No other thread may be running: this changes the environment.
pub unsafe fn limit_threads(threads: usize) {
    // rayon's pool, candle's and gemm's loops all read this variable, at their first use.
    // SAFETY: the caller says that no other thread runs.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
}

#[cfg(test)]
mod tests;
