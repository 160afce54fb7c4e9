//! A session: the models, the SAE in its variants and the tokenizer that one screen or one command works on.

pub mod calibration;
mod copies;
mod fit;
mod kept;
pub mod layers;
pub mod models;
mod opening;
pub mod spec;

use std::{
    path::{Path, PathBuf, absolute},
    sync::{Arc, Mutex, OnceLock},
};

use candle_core::Device;
use prunelens_kernels::{
    gpu,
    ops::{self, Ops},
};

use fit::Estimate;
use opening::Opening;

pub use crate::{data::token_tensor, prune::Compress};
pub use calibration::Calibration;
pub use layers::Layer;
pub use models::{Models, silent};
pub use spec::{DTYPES, DeviceSpec, Processing, SessionSpec, Source, dtype_by_name};

use crate::{
    compare::{Reader, Token, Variant},
    demo,
    digest::TensorDigests,
    error::{Error, Result},
    hub::Kind,
    model::{HookPoint, Space, ToDevice},
    progress::{Listener, Progress, Tick, aside},
    prune::sae::{Gather, order},
    sae::{self, Criterion, Dictionary, Knob, Order, Pruning, Sae, Setting, formats::Given, place},
};

/// Everything loaded. Cloning shares models, SAEs and ranks.
#[derive(Clone)]
pub struct Session {
    /// What was asked for, with the hook filled in.
    pub spec: SessionSpec,
    /// What sessions of other SAEs can share. Its warnings are among those of the session that was the first to have it.
    pub models: Models,
    /// The pretrained SAE.
    pub sae: Arc<dyn Dictionary>,
    /// The SAE that was trained on the pruned model.
    pub trained: Option<Arc<dyn Dictionary>>,
    /// Its folder, where it took this place after the session was loaded.
    pub joined: Option<PathBuf>,
    /// Where the SAEs read.
    pub hook: HookPoint,
    /// Which activations they were trained on.
    pub space: Space,
    /// What a user should know before trusting the figures.
    pub warnings: Vec<String>,
    /// What the slider turns, and where it stands at first.
    pub setting: Setting,
    orders: [OnceLock<Arc<Order>>; Knob::SLOTS],
    /// Of the SAEs' matrices: what is kept is known by them, and so is a view that is saved.
    known: Arc<Mutex<TensorDigests>>,
}

/// Positions that go through a model at a time when calibrating.
const BATCH_TOKENS: usize = 1024;

impl Session {
    /// Models and SAEs loaded, the model pruned, the SAE's weights ranked.
    pub fn load(spec: &SessionSpec, progress: Listener) -> Result<Self> {
        let spec = &spec.of_one_layer(progress)?;
        spec.fetch(progress)?;
        let opening = Opening::begin(spec, spec.model.locate(Kind::Model, &spec.hub, progress)?);
        // SAEs first: what is wrong with them is known before a large model is read.
        let saes = load_saes(spec, progress);
        let opened = opening.opened(progress);
        let (sae, trained) = saes?;
        let bytes = std::iter::once(&sae).chain(&trained).map(|sae| sae.device_bytes()).sum();
        let models = Models::load_beside(spec, opened?, bytes, progress)?;
        Self::ranked(spec, models, sae, trained, progress)
    }

    /// On models that are loaded already, such as those of another layer.
    pub fn with_models(spec: &SessionSpec, models: Models, progress: Listener) -> Result<Self> {
        let spec = &spec.of_one_layer(progress)?;
        spec.fetch(progress)?;
        let (sae, trained) = load_saes(spec, progress)?;
        Self::ranked(spec, models, sae, trained, progress)
    }

    fn ranked(
        spec: &SessionSpec,
        models: Models,
        sae: Arc<Sae>,
        trained: Option<Arc<Sae>>,
        progress: Listener,
    ) -> Result<Self> {
        let mut tell = || progress(Progress::step("ranking the SAE's weights"));
        tell()?;
        let session = Self::new(spec, models, sae, trained)?;
        session.order(session.setting.knob, &mut tell)?;
        Ok(session)
    }

    /// From parts that are already in memory.
    pub fn new(spec: &SessionSpec, mut models: Models, sae: Arc<Sae>, trained: Option<Arc<Sae>>) -> Result<Self> {
        let hook = spec.hook.unwrap_or(sae.config.hook);
        let space = match spec.processing {
            Processing::Auto => sae.config.space,
            Processing::On => Space::Tl,
            Processing::Off => Space::Raw,
            Processing::Centered => Space::Centered,
        };
        let mut warnings = std::mem::take(&mut models.warnings);
        let (original, pruned) = (&models.original, &models.pruned);
        if let Some(trained) = &trained
            && trained.config.hook != hook
        {
            return Err(Error::invalid(format!(
                "the trained SAE {} reads {}, the pretrained one {hook}; they must share a hook",
                trained.config.name, trained.config.hook
            )));
        }
        if pruned.processed && !original.processed && space == Space::Raw && original.offset(hook, Space::Tl)?.is_some()
        {
            warnings.push(
                "the pruned model's weights are processed as TransformerLens does, so its activations are in tl space; the SAE was trained on raw ones".into(),
            );
        }
        if hook != sae.config.hook {
            warnings.push(format!(
                "the SAE was trained at {} and reads {hook}, as it was told: its latents mean something else there",
                sae.config.hook
            ));
        }
        for sae in std::iter::once(&sae).chain(&trained) {
            warnings.extend(sae.config.warnings.iter().cloned());
        }
        let setting = spec.knob.setting(spec.ratio, spec.criterion, sae.d_in())?;
        let ratio = if matches!(setting.knob, Knob::Ratio(_)) { setting.at } else { spec.ratio };
        let (dtype, ops) = (original.dtype, &*original.ops);
        let (sae, trained) = (place(sae, ops)?, trained.map(|sae| place(sae, ops)).transpose()?);
        let session = Self {
            spec: SessionSpec { hook: Some(hook), ratio, dtype: Some(dtype), ..spec.clone() },
            models,
            sae,
            trained,
            joined: None,
            hook,
            space,
            warnings,
            setting,
            orders: Default::default(),
            known: Arc::default(),
        };
        // Width and layer are checked before anything is computed.
        session.unpruned(Variant::Original)?;
        session.unpruned(Variant::Trained)?;
        Ok(session)
    }

    /// The same models with other SAEs, where those read.
    pub fn with_saes(&self, sae: Arc<Sae>, trained: Option<Arc<Sae>>) -> Result<Self> {
        Self::new(&SessionSpec { hook: None, ..self.spec.clone() }, self.models.clone(), sae, trained)
    }

    /// The same with another SAE trained on the pruned model, which lies in `folder`. Ranks stay.
    pub fn with_trained(&self, trained: Arc<Sae>, folder: &Path) -> Result<Self> {
        if trained.config.hook != self.hook {
            return Err(Error::invalid(format!(
                "the trained SAE {} reads {}, the session's {}; they must share a hook",
                trained.config.name, trained.config.hook, self.hook
            )));
        }
        let mut session = self.clone();
        session.trained = Some(place(trained, &*self.models.original.ops)?);
        session.spec.trained_sae = Some(Source::Path(folder.to_path_buf()));
        session.joined = Some(absolute(folder).unwrap_or_else(|_| folder.to_path_buf()));
        session.unpruned(Variant::Trained)?;
        Ok(session)
    }

    /// The same on another device: models and SAEs are copied, ranks are made anew there when they are asked for. What does not
    /// fit is refused before anything is copied.
    pub fn on(&self, device: &Device) -> Result<Self> {
        if let Some(gpu) = gpu::opened(device) {
            self.estimate().check(&gpu)?;
        }
        let ops = ops::of(device)?;
        let backend = ops.backend().cloned();
        models::warmed(backend.as_deref(), || self.on_ops(device, ops))
    }

    /// As [`Session::on`], with the operations of that device.
    pub fn on_ops(&self, device: &Device, ops: Arc<dyn Ops>) -> Result<Self> {
        let mut mover = ToDevice::new(device, self.models.original.dtype, ops);
        let original = Arc::new(mover.model(&self.models.original)?);
        let pruned = match Arc::ptr_eq(&self.models.original, &self.models.pruned) {
            true => original.clone(),
            false => Arc::new(mover.model(&self.models.pruned)?),
        };
        let models = Models { original, pruned, ..self.models.clone() };
        self.on_models(models)
    }

    /// What a copy of it takes.
    fn estimate(&self) -> Estimate {
        let dtype = self.models.original.dtype;
        let numbers = |bytes: u64| bytes / dtype.size_in_bytes() as u64;
        Estimate {
            original: numbers(self.models.original.bytes_beside(None)),
            pruned: numbers(self.models.pruned.bytes_beside(Some(&self.models.original))),
            dtype,
            streams: 0,
            saes: std::iter::once(&self.sae).chain(&self.trained).map(|sae| sae.sae().device_bytes()).sum(),
        }
    }

    /// The same SAEs on models that are somewhere else.
    pub fn on_models(&self, models: Models) -> Result<Self> {
        let read = |sae: &Arc<dyn Dictionary>| Arc::new(sae.sae().clone());
        Self::new(&self.spec, models, read(&self.sae), self.trained.as_ref().map(read))
    }

    /// Called between parts of long work: a GPU takes on more at once than a user wants to wait for.
    pub fn await_previous(&self) -> Result<()> {
        self.models.original.ops.await_previous()
    }

    /// A variant without pruning of the SAE; `None` if it is not part of this session.
    fn unpruned(&self, variant: Variant) -> Result<Option<Reader>> {
        let (model, sae) = match variant {
            Variant::Original => (&self.models.original, Some(&self.sae)),
            Variant::Transfer | Variant::Pruned => (&self.models.pruned, Some(&self.sae)),
            Variant::Trained => (&self.models.pruned, self.trained.as_ref()),
        };
        // An SAE of its own may have been trained on other activations than the pretrained one.
        let space = match (variant, self.spec.processing) {
            (Variant::Trained, Processing::Auto) => sae.map_or(self.space, |s| s.config.space),
            _ => self.space,
        };
        let reader =
            |sae: &Arc<dyn Dictionary>| Reader::new(variant, model.clone(), sae.clone(), None, self.hook, space);
        sae.map(reader).transpose()
    }

    /// One variant ready to read, `pruned` at a setting; `None` if it is not part of this session.
    pub fn reader(&self, variant: Variant, setting: Setting) -> Result<Option<Reader>> {
        let mut reader = self.unpruned(variant)?;
        if let (Some(reader), Variant::Pruned) = (&mut reader, variant) {
            reader.pruning = Some(self.pruning(setting, &mut || Ok(()))?);
        }
        Ok(reader)
    }

    /// All variants present, in their order.
    pub fn readers(&self, setting: Setting) -> Result<Vec<Reader>> {
        Variant::ALL.into_iter().filter_map(|v| self.reader(v, setting).transpose()).collect()
    }

    /// The SAE at a setting of a knob.
    pub fn pruning(&self, setting: Setting, tick: Tick) -> Result<Pruning> {
        let at = setting.knob.scale(self.sae.d_in()).check(setting.at)?;
        Ok(Pruning { order: self.order(setting.knob, tick)?, at })
    }

    /// Whether what a knob needs to know exists already.
    pub fn is_ranked(&self, knob: Knob) -> bool {
        self.orders[knob.slot()].get().is_some()
    }

    /// What a knob needs to know of the SAE's weights, made when first asked for. Norms are of activations of the model that
    /// the pruned SAE reads.
    pub fn order(&self, knob: Knob, tick: Tick) -> Result<Arc<Order>> {
        let slot = &self.orders[knob.slot()];
        if let Some(order) = slot.get() {
            return Ok(order.clone());
        }
        let gather = knob.criterion().and_then(|criterion| Some((criterion, Gather::new(criterion, &self.sae)?)));
        let norms = gather.map(|(criterion, gather)| self.norms(criterion, gather, tick)).transpose()?;
        let basis = if knob == Knob::Rank { Some(self.basis(tick)?) } else { None };
        let order = Arc::new(order(&*self.sae, knob, norms.as_ref(), basis, tick)?);
        Ok(slot.get_or_init(|| order).clone())
    }

    fn calibrate(&self, criterion: Criterion, gather: &mut Gather, tick: Tick) -> Result<()> {
        let Some(reader) = self.unpruned(Variant::Transfer)? else { return Ok(()) };
        let mut read = |rows: &[Vec<u32>], gather: &mut Gather| -> Result<()> {
            let x = reader.input(&reader.model.capture(&token_tensor(rows, &reader.model)?, self.hook, tick)?)?;
            gather.add(&*self.sae, &x, &reader.encode(&x)?, rows.len())
        };
        match criterion {
            // The mean over batches makes each batch a unit.
            Criterion::Paper => self.models.calibration.documents.iter().try_for_each(|batch| read(batch, gather)),
            _ => self.models.calibration.windows.iter().try_for_each(|batch| {
                let rows = (BATCH_TOKENS / batch.first().map_or(1, Vec::len)).max(1);
                batch.chunks(rows).try_for_each(|rows| read(rows, gather))
            }),
        }
    }

    /// Tokens of a prompt, BOS first unless switched off; refuses what the model cannot read.
    pub fn tokens(&self, text: &str) -> Result<Vec<Token>> {
        let ids = self.models.tokenizer.encode(text, self.spec.bos)?;
        let n_ctx = self.models.original.config.n_ctx;
        if ids.len() > n_ctx {
            return Err(Error::invalid(format!(
                "the prompt has {} tokens, more than the {n_ctx} that {} can read; shorten it",
                ids.len(),
                self.models.original.name
            )));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.models.original.config.d_vocab) {
            return Err(Error::invalid(format!(
                "the tokenizer gives token {id}, which {} does not have; they do not belong together",
                self.models.original.name
            )));
        }
        let token = |id: &u32| Token {
            id: *id,
            piece: self.models.tokenizer.piece(*id),
            special: self.models.tokenizer.special(*id),
        };
        Ok(ids.iter().map(token).collect())
    }

    /// Memory of SAEs and ranks, wherever they are, in bytes: what is not shared with sessions of the same models.
    pub fn sae_bytes(&self) -> u64 {
        let saes = std::iter::once(&self.sae).chain(&self.trained);
        let orders = self.orders.iter().filter_map(OnceLock::get).map(|order| order.bytes());
        saes.map(|sae| sae.bytes() + sae.bytes_on_device()).sum::<u64>() + orders.sum::<u64>()
    }

    /// What uses how much memory, in bytes.
    pub fn memory(&self) -> Vec<(String, u64)> {
        let orders: u64 = self.orders.iter().filter_map(OnceLock::get).map(|o| o.bytes()).sum();
        let mut all = vec![
            ("original model".into(), self.models.original.bytes_beside(None)),
            ("pruned copy, beyond what it shares".into(), self.models.pruned.bytes_beside(Some(&self.models.original))),
            ("SAE".into(), self.sae.bytes()),
        ];
        if let Some(trained) = &self.trained {
            all.push(("trained SAE".into(), trained.bytes()));
        }
        all.push(("ranks".into(), orders));
        let on_device: u64 = std::iter::once(&self.sae).chain(&self.trained).map(|sae| sae.bytes_on_device()).sum();
        if on_device > 0 {
            all.push(("SAEs on the GPU".into(), on_device));
        }
        all
    }
}

/// The pretrained SAE, and the one trained on the pruned model if there is one.
fn load_saes(spec: &SessionSpec, progress: Listener) -> Result<(Arc<Sae>, Option<Arc<Sae>>)> {
    let sae = Arc::new(match &spec.sae {
        Some(source) => load_sae(spec, source, progress, demo::sae)?,
        None => {
            return Err(Error::Usage(
                "an SAE is needed: give its folder with --sae, or train one with `prunelens train`".into(),
            ));
        }
    });
    let trained = match &spec.trained_sae {
        Some(source) => Some(Arc::new(load_sae(spec, source, progress, demo::trained_sae)?)),
        None => None,
    };
    let read = sae.config.hook.layer;
    if let (Some(number), None) = (spec.layer, spec.hook)
        && number != read
    {
        return Err(Error::invalid(format!(
            "the SAE of layer {number}, {}, reads {}; the number in its name must be that of the layer it reads, or say where with --hook",
            spec.sae.as_ref().map(Source::words).unwrap_or_default(),
            sae.config.hook
        )));
    }
    Ok((sae, trained))
}

fn load_sae(
    spec: &SessionSpec,
    source: &Source,
    progress: Listener,
    demo: impl Fn(Option<usize>) -> Result<Sae>,
) -> Result<Sae> {
    let Some(path) = source.locate(Kind::Sae, &spec.hub, progress)? else { return demo(spec.layer) };
    let given = Given { hook: spec.hook, norm_scaling_factor: spec.norm_scaling_factor };
    let what = format!("reading {}", source.words());
    let tick = || progress(Progress::step(&*what));
    let mut sae = aside("SAE", move || sae::formats::load_given(&path, &given), tick)?;
    if let Source::Hub(id) = source
        && id.inside.is_empty()
    {
        let name = id.name();
        sae.config.name = name.to_owned();
    }
    Ok(sae)
}
