//! The original model, its tokenizer and its pruned copy.

use std::{path::Path, sync::Arc};

use candle_core::{DType, Device, Tensor};
use prunelens_kernels::{
    device::{self, Backend},
    gpu,
};

use super::{
    Calibration, SessionSpec, Source,
    fit::Estimate,
    opening::{Opened, Text},
};
use crate::{
    cache::Cache,
    demo,
    digest::sha256,
    error::{Error, Result},
    hub::Kind,
    model::{Config, HookPoint, Model, Site, Tokenizer},
    progress::{Listener, Progress},
    prune::{Compress, copies, masks},
};

/// Tokens that are read to see whether a model overflows.
const PROBED: u32 = 15;

/// What a command without an SAE works on.
#[derive(Clone)]
pub struct Models {
    /// Of the original; the pruned copy shares it.
    pub tokenizer: Tokenizer,
    /// The model as it was published.
    pub original: Arc<Model>,
    /// The same as `original` where it is not compressed.
    pub pruned: Arc<Model>,
    /// Tokens that pruning is calibrated on.
    pub calibration: Calibration,
    /// Token rows in which examples of latents are looked for.
    pub corpus: Arc<Vec<Vec<u32>>>,
    /// "wanda 50%", "none" ...
    pub compression: String,
    /// What a user should know before trusting the figures.
    pub warnings: Vec<String>,
    /// A digest of what the pruned copy is made from, where something is kept by it.
    pub made_of: Option<String>,
    /// A digest of the original's weights, where something is kept by it.
    pub digest: Option<String>,
}

impl Models {
    /// Load the original, and load or make its pruned copy.
    pub fn load(spec: &SessionSpec, progress: Listener) -> Result<Self> {
        let (device, warning) = spec.device.open(&spec.libraries)?;
        let text = spec.model.locate(Kind::Model, &spec.hub, progress)?.map(Text::begin);
        Self::load_beside(spec, Opened { device, warning, text }, 0, progress)
    }

    /// Another compressed copy of the same original.
    pub fn with_copy(&self, spec: &SessionSpec, progress: Listener) -> Result<Self> {
        let made_of = key(spec, &self.original, self.digest.as_deref(), &self.calibration);
        let (pruned, compression) = prune(spec, &self.original, &self.calibration, made_of.as_deref(), progress)?;
        let made_of = made_of.map_or_else(|| digest_of(spec, &pruned, progress), |key| Ok(Some(key)))?;
        Ok(Self { pruned, compression, made_of, ..self.clone() })
    }

    /// Beside so many bytes of SAEs and ranks that the device has to hold too.
    pub(super) fn load_beside(spec: &SessionSpec, opened: Opened, saes: u64, progress: Listener) -> Result<Self> {
        let backend = device::of(&opened.device)?;
        warmed(backend.as_deref(), || Self::load_on(opened, spec, saes, progress))
    }

    fn load_on(opened: Opened, spec: &SessionSpec, saes: u64, progress: Listener) -> Result<Self> {
        let Opened { device, warning, text } = opened;
        let (original, tokenizer) = match text {
            None => {
                let model = demo::model(&device, spec.dtype_on(&device), progress)?;
                let tokenizer = demo::tokenizer(&model)?;
                (model, tokenizer)
            }
            Some(text) => {
                let (path, config, tokenizer) = text.read(progress)?;
                fits(spec, &path, &config, saes, &device, progress)?;
                let model = named(Model::load(&path, &device, spec.dtype_on(&device), progress)?, &spec.model);
                (model, tokenizer)
            }
        };
        let original = Arc::new(original);
        progress(Progress::step("reading the texts"))?;
        let calibration = Calibration::load(spec, &original, &tokenizer)?;
        let corpus = match &spec.corpus {
            Some(path) => super::calibration::corpus(path, &original, &tokenizer)?,
            None => calibration.documents.concat(),
        };
        let digest = digest_of(spec, &original, progress)?;
        let made_of = key(spec, &original, digest.as_deref(), &calibration);
        let (pruned, compression) = prune(spec, &original, &calibration, made_of.as_deref(), progress)?;
        let made_of = made_of.map_or_else(|| digest_of(spec, &pruned, progress), |key| Ok(Some(key)))?;
        let own = |model: &Arc<Model>| {
            let of = |warning: &String| format!("{}: {warning}", model.name);
            model.warnings.iter().map(of).collect::<Vec<_>>()
        };
        let mut warnings: Vec<String> = warning.into_iter().chain(own(&original)).collect();
        warnings.extend(tokenizer.warnings.iter().cloned());
        if spec.pruned_model.is_some() {
            warnings.extend(own(&pruned));
        }
        if overflows(&original, tokenizer.bos)? || overflows(&pruned, tokenizer.bos)? {
            let name = &original.name;
            warnings.push(format!(
                "{name} overflows in f16, so that figures are missing or wrong: give --dtype bf16 or f32"
            ));
        }
        let corpus = Arc::new(corpus);
        Ok(Self { tokenizer, original, pruned, calibration, corpus, compression, warnings, made_of, digest })
    }
}

/// Work on a GPU's memory while its kernels are loaded beside it.
pub(super) fn warmed<T>(backend: Option<&dyn Backend>, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let warming = backend.map(|backend| scope.spawn(|| backend.warm()));
        let done = work();
        // Joined whatever came of the work: a panic that nobody took would become this thread's own.
        match warming.map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(Err(error))) => tracing::warn!("kernels were not loaded in advance: {error}"),
            Some(Err(_)) => tracing::warn!("kernels were not loaded in advance: the thread that does it panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
        done
    })
}

/// Say what a GPU has to hold, and refuse what cannot fit, before any of it is read.
fn fits(
    spec: &SessionSpec,
    path: &Path,
    config: &Config,
    saes: u64,
    device: &Device,
    progress: Listener,
) -> Result<()> {
    let Some(gpu) = gpu::opened(device) else { return Ok(()) };
    let all = config.block_weights() + config.embedding_weights(Model::is_tied(path)?);
    let pruned = if spec.pruned_model.is_some() { all } else { spec.compress.own_weights(config) };
    let mut made = std::iter::once(&spec.compress).chain(&spec.compressions);
    let streams = match spec.pruned_model.is_none() && made.any(Compress::reads_text) {
        true => config.d_model as u64 * Calibration::most_tokens(spec),
        false => 0,
    };
    let estimate = Estimate { original: all, pruned, dtype: spec.dtype_on(device), saes, streams };
    progress(Progress::step(format!("taking {}", estimate.line(&gpu))))?;
    estimate.check(&gpu)
}

/// Of all that a model computes with, where something is kept by it.
fn digest_of(spec: &SessionSpec, model: &Model, progress: Listener) -> Result<Option<String>> {
    match spec.cache {
        Some(_) => model.digest(&mut || progress(Progress::step("taking the weights' digest"))),
        None => Ok(None),
    }
}

fn prune(
    spec: &SessionSpec,
    original: &Arc<Model>,
    calibration: &Calibration,
    made_of: Option<&str>,
    progress: Listener,
) -> Result<(Arc<Model>, String)> {
    if let Some(source) = &spec.pruned_model {
        let Some(path) = source.locate(Kind::PrunedModel, &spec.hub, progress)? else {
            return Err(Error::Usage("--compressed-model needs a folder or file".into()));
        };
        let state_dict = path.extension().is_some_and(|e| e == "pth" || e == "pt");
        if state_dict && path.is_file() {
            let model = original.with_state_dict(&path, progress)?;
            let label = format!("pruned: {}", model.name);
            return Ok((Arc::new(model), label));
        }
        let model = named(Model::load(&path, &original.device, original.dtype, progress)?, source);
        if let Some((what, expected, found)) = first_difference(&original.config, &model.config) {
            let text = format!("not a copy of {}: expected {what} {expected}, found {found}", original.name);
            return Err(Error::file(path, text));
        }
        let label = format!("pruned: {}", model.name);
        return Ok((Arc::new(model), label));
    }
    let rows = calibration.rows();
    let make = |progress: Listener| spec.compress.apply(original, rows, progress);
    let pruned = match (&spec.cache, made_of) {
        (Some(cache), Some(key)) => kept(cache, key, spec, original, make, progress)?,
        _ => make(progress)?,
    };
    Ok((pruned, spec.compress.label()))
}

/// Whether some tokens leave the numbers that 16 bits of f16 have.
fn overflows(model: &Model, bos: Option<u32>) -> Result<bool> {
    if model.dtype != DType::F16 {
        return Ok(false);
    }
    let ids: Vec<u32> = bos.into_iter().chain(0..PROBED.min(model.config.d_vocab as u32)).collect();
    let tokens = Tensor::new(ids, &model.device)?.unsqueeze(0)?;
    let start = HookPoint { layer: 0, site: Site::ResidPre };
    let last = model.finish(&model.capture(&tokens, start, &mut || Ok(()))?, &mut || Ok(()))?;
    Ok(!model.logits(&last)?.sum_all()?.to_scalar::<f32>()?.is_finite())
}

/// In what a model cannot be a copy of another, and what both have. Heads of keys and widths of MLPs may have been taken out.
fn first_difference(a: &Config, b: &Config) -> Option<(&'static str, String, String)> {
    let number = |n: usize| n.to_string();
    let both = [
        // Not the family: a Mistral is a Llama in some files.
        ("norms of the kind", format!("{:?}", a.norm), format!("{:?}", b.norm)),
        ("layers:", number(a.n_layers), number(b.n_layers)),
        ("width", number(a.d_model), number(b.d_model)),
        ("tokens:", number(a.d_vocab), number(b.d_vocab)),
        ("heads:", number(a.n_heads), number(b.n_heads)),
        ("heads of width", number(a.d_head), number(b.d_head)),
    ];
    both.into_iter().find(|(_, a, b)| a != b)
}

/// What the pruned copy is made from: weights, rule, calibration tokens, and what rounds in sums. `None` for a copy that is read,
/// and where nothing is kept.
fn key(spec: &SessionSpec, original: &Model, digest: Option<&str>, calibration: &Calibration) -> Option<String> {
    if spec.pruned_model.is_some() {
        return None;
    }
    let made_of = (
        env!("CARGO_PKG_VERSION"),
        gpu::arithmetic(&original.device),
        spec.compress.to_string(),
        digest?,
        &calibration.windows,
        &calibration.documents,
    );
    serde_json::to_vec(&made_of).ok().map(|text| sha256(&text))
}

/// The compressed copy from what is kept of it, if anything is; else it is made, and kept.
fn kept(
    cache: &Cache,
    key: &str,
    spec: &SessionSpec,
    original: &Arc<Model>,
    make: impl FnOnce(Listener) -> Result<Arc<Model>>,
    progress: Listener,
) -> Result<Arc<Model>> {
    // One copy does not take the room of all else.
    let has_room = copies::size(original) <= cache.limit() / 4;
    let kind = match spec.compress {
        Compress::None | Compress::Paper(_) => return make(progress),
        ref rule if rule.is_a_mask() => MASKS,
        _ if has_room => COPIES,
        _ => return make(progress),
    };
    let mut tick = || progress(Progress::step("taking up the pruned copy"));
    tick()?;
    if let Some(bytes) = cache.get(kind, key) {
        let found = match kind {
            MASKS => masks::apply(original, &bytes, &mut tick),
            _ => copies::apply(original, &bytes, &mut tick),
        };
        match found {
            Ok(copy) => return Ok(Arc::new(copy)),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => tracing::warn!("kept {kind} are of no use: {error}"),
        }
    }
    let copy = make(progress)?;
    let about = format!("{}, {}", original.name, spec.compress.label());
    let bytes = if kind == MASKS { masks::of(original, &copy)? } else { copies::of(&copy)? };
    if let Err(error) = cache.put(kind, key, &about, &bytes) {
        tracing::warn!("what compression made is not kept: {error}");
    }
    Ok(copy)
}

/// Kinds of the cache's entries: which weights are left, and all weights of the blocks.
const MASKS: &str = "masks";
const COPIES: &str = "copies";

fn named(model: Model, source: &Source) -> Model {
    match source.hub_name() {
        Some(name) => Model { name: name.to_owned(), ..model },
        None => model,
    }
}

/// A listener that hears nothing.
pub fn silent(_: Progress) -> Result<()> {
    Ok(())
}
