//! Flags, session file and environment made into what a session is loaded from. Flags come first, then the file, then the
//! environment.

mod fields;
mod file;
pub mod libraries;
pub mod open;
mod template;
pub mod values;

use std::path::{Path, PathBuf};

use prunelens_core::{
    demo,
    error::{Error, Result},
    hub::{Environment, HubId, HubSettings},
    session::{
        Compress, Layer, SessionSpec, Source,
        layers::{self, PLACE},
    },
};

use crate::{folders::Folders, presets};

pub use fields::{ColorChoice, DisplaySettings, Key, ModelSettings, SessionSettings, Settings, keys};
pub use file::{SessionFile, VIEW, parse, toml_text};
pub use template::session_file;
use values::HookName;

/// The settings of a command, with none left open.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub spec: SessionSpec,
    /// What `spec` was made from: flags and session file in one, sources as they were found.
    pub settings: SessionSettings,
    pub display: Display,
    pub threads: Option<usize>,
}

/// How the explorer looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Display {
    /// Name of a built-in theme, or a file; default: by the terminal's background.
    pub theme: Option<String>,
    pub color: ColorChoice,
    /// Default: by what the terminal's characters are said to be.
    pub ascii: Option<bool>,
    pub mouse: bool,
}

/// The variables of this process. Unset, empty and not UTF-8 are the same.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Settings {
    /// These flags, with what their session file, the environment and the defaults say of all they leave open.
    pub fn resolve(self, environment: Environment) -> Result<Resolved> {
        let file = match &self.session.model.session {
            Some(path) => SessionFile::find(path)?,
            None => SessionFile::default(),
        };
        self.resolve_over(file, environment)
    }

    /// The same over a session file that is read already.
    pub fn resolve_over(self, mut file: SessionFile, environment: Environment) -> Result<Resolved> {
        // A flag that names another model must not meet the file's idea of its pruned copy: --compress overrides
        // `pruned-model` of the file, and the other way round.
        let (flags, lines) = (&self.session.model, &mut file.settings.session.model);
        if flags.compress.is_some() {
            lines.pruned_model = None;
        }
        if flags.pruned_model.is_some() {
            lines.compress = None;
        }
        // Nor a flag's ratio the setting of another knob in the file.
        let knob = &mut file.settings.session.knob;
        if self.session.ratio.is_some() && knob.is_some_and(|knob| !knob.takes_the_ratio()) {
            *knob = None;
        }
        let sources = Sources::find(&self.session, &file)?;
        let (flags, lines) = (&self.session, &file.settings.session);
        one_setting("--", flags)?;
        if let (Some(knob), Some(criterion)) = (flags.knob, flags.criterion)
            && !knob.takes_a_criterion()
        {
            return Err(Error::Usage(format!("--criterion {criterion} is not for --knob {knob}: leave it out")));
        }
        one_setting("", lines)?;
        there("--corpus", &flags.corpus, &lines.corpus)?;
        there("--calibration", &flags.model.calibration, &lines.model.calibration)?;
        let Self { mut session, display } = self.or(file.settings);
        sources.name(&mut session);
        Ok(Resolved {
            settings: session.clone(),
            threads: match session.model.threads {
                Some(threads) => usize::try_from(threads).ok(),
                None => parsed::<std::num::NonZeroUsize>(environment, "PRUNELENS_THREADS")?.map(Into::into),
            },
            display: Display {
                theme: display.theme.or_else(|| environment("PRUNELENS_THEME")),
                color: display.color.unwrap_or_default(),
                ascii: display.ascii,
                mouse: display.mouse.unwrap_or(false),
            },
            spec: spec(session, sources, environment)?,
        })
    }
}

impl SessionSettings {
    /// Whether nothing but the demo is named.
    fn is_demo(&self) -> bool {
        self.model.session.is_none() && self.model.model.is_none() && self.sae.is_none()
    }

    /// The same at one layer of the demo, or of those that the SAE's name has a place for; paths are meant from `folder`.
    pub fn at_layer(&self, layer: usize, folder: &Path) -> Result<Self> {
        let put = |path: &Option<PathBuf>| path.as_ref().map(|path| layers::at(path, layer));
        if self.is_demo() {
            return Ok(Self { layer: Some(layer), ..self.clone() });
        }
        if !self.sae.as_deref().is_some_and(layers::is_pattern) {
            return Err(Error::Usage(format!(
                "--layers needs an SAE for each layer: put {PLACE} where its number stands in --sae"
            )));
        }
        Ok(Self {
            sae: put(&self.sae),
            // A layer may lack one, where others have one.
            trained_sae: self
                .trained_sae
                .as_deref()
                .filter(|path| has_layer(&folder.join(path), layer))
                .map(|path| layers::at(path, layer)),
            hook: self.hook.map(|hook| hook.at(layer).into()),
            layer: None,
            ..self.clone()
        })
    }
}

/// Whether a pattern has something of a layer, as far as this machine can tell: what has nothing of any is told by its name. The
/// hub is not asked, for a study is planned without it: all of a hub's layers are taken to be there.
fn has_layer(pattern: &Path, layer: usize) -> bool {
    !layers::is_pattern(pattern) || layers::on_disk(pattern).map_or(true, |found| found.contains(&layer))
}

/// Each copy once.
fn copies(given: Vec<Compress>) -> Result<Vec<Compress>> {
    for (at, compress) in given.iter().enumerate() {
        if given[..at].contains(compress) {
            return Err(Error::Usage(format!("--compress {compress} is given twice; each copy once is enough")));
        }
    }
    Ok(given)
}

fn spec(settings: SessionSettings, sources: Sources, environment: Environment) -> Result<SessionSpec> {
    let defaults = SessionSpec::demo();
    let Sources { model, pruned_model, sae, trained_sae } = sources;
    let (layered, given) = (sae.as_ref().is_some_and(Source::is_pattern), settings.hook.and_then(HookName::layer));
    check_layers(settings.hook, layered, trained_sae.as_ref())?;
    let compressions = copies(settings.model.compress.unwrap_or(defaults.compressions))?;
    let compress = compressions.first().cloned().unwrap_or(defaults.compress);

    // The demo's SAEs belong to the demo model at one hook, and the trained one to one pruned copy of it.
    let demo_sae = model.is_none() && sae.is_none();
    let demo_trained =
        demo_sae && settings.hook.is_none() && pruned_model.is_none() && compress == Compress::Wanda(0.5);
    let model = model.unwrap_or(Source::Demo);
    let sae = sae.or(demo_sae.then_some(Source::Demo));
    let trained_sae = trained_sae.or(demo_trained.then_some(Source::Demo));
    // Where the hook is named, the demo's SAE is tried on another place: the other layers have their own.
    let (layers, own) = match &sae {
        Some(Source::Demo) if settings.hook.is_none() => demo_layers(settings.layer, trained_sae.as_ref()),
        Some(Source::Demo) | None => (Vec::new(), None),
        Some(sae) => presets::layers(&model, sae, trained_sae.as_ref()),
    };
    Ok(SessionSpec {
        layer: settings.layer.or(given.filter(|_| layered)).or(own),
        layers,
        kept_memory: settings.kept_memory.unwrap_or(defaults.kept_memory),
        sae,
        trained_sae,
        model,
        pruned_model,
        compress,
        compressions,
        calibration: settings.model.calibration,
        calibration_rows: settings.model.calibration_rows.map(|rows| rows as usize),
        calibration_length: settings.model.calibration_length.map(|length| length as usize),
        hook: settings.hook.map(HookName::hook),
        knob: settings.knob.unwrap_or(defaults.knob),
        ratio: settings.ratio.unwrap_or(defaults.ratio),
        criterion: settings.criterion.unwrap_or(defaults.criterion),
        processing: settings.tl_processing.unwrap_or(defaults.processing),
        norm_scaling_factor: settings.norm_scaling_factor,
        device: match settings.model.device {
            Some(device) => device,
            None => parsed(environment, "PRUNELENS_DEVICE")?.unwrap_or(defaults.device),
        },
        libraries: libraries::places(std::env::current_exe().ok().as_deref(), environment),
        jobs_device: settings.jobs_device,
        dtype: settings.model.dtype,
        hub: HubSettings::new(settings.model.offline.unwrap_or(false), environment).map_err(|e| e.to_string()),
        bos: settings.bos.unwrap_or(defaults.bos),
        text: settings.text,
        corpus: settings.corpus,
        memory: settings.corpus_memory.unwrap_or(defaults.memory),
        cache: match settings.model.no_cache {
            Some(true) => None,
            _ => Folders::find().map(|folders| folders.made(settings.model.cache_size)),
        },
        results: (settings.results)
            .or_else(|| environment("PRUNELENS_RESULTS").map(PathBuf::from))
            .or_else(|| Folders::find().map(|folders| folders.results))
            .unwrap_or(defaults.results),
    })
}

/// The demo's layers, and the one that is asked for: what was trained elsewhere belongs to it.
fn demo_layers(wanted: Option<usize>, trained_sae: Option<&Source>) -> (Vec<Layer>, Option<usize>) {
    let own = wanted.or_else(|| demo::layers().next());
    let trained = |number| trained_sae.filter(|sae| **sae == Source::Demo || own == Some(number)).cloned();
    let layer = |number| Layer { number, sae: Source::Demo, trained_sae: trained(number) };
    (demo::layers().map(layer).collect(), own)
}

/// `{layer}` in names of SAEs and hooks goes together.
fn check_layers(hook: Option<HookName>, layered: bool, trained: Option<&Source>) -> Result<()> {
    let usage = |text: &str| Err(Error::Usage(text.replace("PLACE", PLACE)));
    let every = hook.is_some_and(|hook| hook.layer().is_none());
    match trained.map(Source::is_pattern) {
        Some(true) if !layered => usage("--trained-sae has PLACE in it, --sae has not: put it there too"),
        Some(false) if layered => {
            usage("--sae has PLACE in it, --trained-sae has not: put it there too, or leave --trained-sae out")
        }
        _ if every && !layered => usage("--hook has PLACE in it, --sae has not: put it there too, or name the layer"),
        _ => Ok(()),
    }
}

/// What is read, each from where its name was found: here for flags, in the file's folder for the file.
struct Sources {
    model: Option<Source>,
    pruned_model: Option<Source>,
    sae: Option<Source>,
    trained_sae: Option<Source>,
}

impl Sources {
    fn find(flags: &SessionSettings, file: &SessionFile) -> Result<Self> {
        let lines = &file.settings.session;
        let pick = |flag, given, in_file| pick(flag, given, in_file, &file.folder);
        Ok(Self {
            model: pick("--model", &flags.model.model, &lines.model.model)?,
            pruned_model: pick("--compressed-model", &flags.model.pruned_model, &lines.model.pruned_model)?,
            sae: pick("--sae", &flags.sae, &lines.sae)?,
            trained_sae: pick("--trained-sae", &flags.trained_sae, &lines.trained_sae)?,
        })
    }
}

impl Sources {
    /// Say them in the settings, which stand without their file then.
    fn name(&self, settings: &mut SessionSettings) {
        let name = |source: &Option<Source>| source.as_ref().map(|source| PathBuf::from(source.words()));
        settings.model.session = None;
        settings.model.model = name(&self.model);
        settings.model.pruned_model = name(&self.pruned_model);
        (settings.sae, settings.trained_sae) = (name(&self.sae), name(&self.trained_sae));
    }
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

/// A ratio beside a knob that has a setting of its own would be passed over. (A flag's knob replaces the file's ratio.)
fn one_setting(dashes: &str, settings: &SessionSettings) -> Result<()> {
    match (settings.knob, settings.ratio) {
        (Some(knob), Some(ratio)) if !knob.takes_the_ratio() => Err(Error::Usage(format!(
            "{dashes}ratio {ratio} is not for {dashes}knob {knob}: leave one of them out; a knob has its setting behind a colon, such as bits:4"
        ))),
        _ => Ok(()),
    }
}

/// Texts that are read once the models are: what is not there is said before that. A file's paths are whole already.
fn there(flag: &str, given: &Option<PathBuf>, in_file: &Option<PathBuf>) -> Result<()> {
    let (label, path) = match (given, in_file) {
        (Some(path), _) => (flag, path),
        (None, Some(path)) => (flag.trim_start_matches('-'), path),
        (None, None) => return Ok(()),
    };
    match path.exists() {
        true => Ok(()),
        false => Err(Error::invalid(format!("{label} {}: no such file", path.display()))),
    }
}

/// A local folder or file if there is one, else a hub id.
fn source(label: &str, path: &Path, folder: &Path) -> Result<Source> {
    let local = folder.join(path);
    // Of a name with a place for the layer's number there is the part before it.
    let there = match local.ancestors().filter(|part| layers::is_pattern(part)).last() {
        Some(first) => first.parent().is_some_and(|folder| folder.as_os_str().is_empty() || folder.is_dir()),
        None => local.exists(),
    };
    if there {
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

#[cfg(test)]
mod tests;
