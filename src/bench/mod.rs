//! Time what the explorer does, step by step, on a session or on random weights of a shape.

mod first_frame;
pub mod kernels;
mod shape;

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use candle_core::Tensor;
use prunelens_core::{
    compare::{Prompt, Reader, Token, Variant},
    error::{Error, Result},
    model::{HookPoint, Model, Site, Space, Tick, ToDevice},
    prune::{
        Sparsity,
        sae::{Norms, rank},
    },
    sae::{Criterion, Pruning, place},
    session::{Session, SessionSpec},
};
use prunelens_metrics::{
    Measure,
    core::{CoreRun, CoreSpec},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;

pub use first_frame::first_frame;
use kernels::{CardFigures, Sizes};

use crate::process::status_mb;

/// Medians; absent figures are null.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Shape or session, for the reader.
    pub on: String,
    pub device: String,
    pub threads: usize,
    pub dtype: String,
    pub d_model: usize,
    pub d_sae: usize,
    pub layer: usize,
    pub tokens: usize,
    /// A new ratio to all latents, sorted.
    pub slider_latents_ms: f64,
    /// A new ratio to the pruned variant's reconstruction figures.
    pub slider_figures_ms: f64,
    /// One latent's activation at every ratio.
    pub path_ms: f64,
    /// Survival and paths of all active latents at 100 ratios.
    pub paths_all_ms: f64,
    /// Ranks of both matrices, norms given.
    pub rank_s: f64,
    /// On a GPU, of a shape: Wanda at half of a whole model, by 128 rows of 2,048 tokens (or what the model can read).
    pub wanda_s: Option<f64>,
    /// Tokens to the first latents of all variants.
    pub prompt_latents_ms: f64,
    /// The same, then all logits of both models.
    pub prompt_ms: f64,
    /// CE and KL of one variant.
    pub splice_ms: f64,
    /// The core metric on one variant, rows a second times row length.
    pub core_tokens_per_s: f64,
    /// The same with all variants done.
    pub core4_tokens_per_s: Option<f64>,
    /// The longest that a core job on all variants (on one, where there are fewer) leaves a user's request waiting.
    pub job_gap_ms: f64,
    pub load_s: Option<f64>,
    pub first_frame_ms: Option<f64>,
    pub peak_rss_mb: Option<f64>,
    pub resident_mb: Option<f64>,
    /// On a GPU: its kernels at the SAE's sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<CardFigures>,
}

/// What is timed.
struct Subject {
    on: String,
    readers: Vec<Reader>,
    tokens: Vec<Token>,
    norms: Option<Norms>,
    criterion: Criterion,
    special: std::collections::HashSet<u32>,
    load_s: Option<f64>,
}

/// Repeats behind each median.
const REPEATS: usize = 9;
/// Rows and tokens of the core metric's batch, as SAEBench's default.
const CORE: (usize, usize) = (16, 128);

/// What to time.
#[derive(Clone, Debug)]
pub struct Options {
    /// Random weights of this shape, made in memory, instead of a session.
    pub shape: Option<String>,
    /// Layer that the SAE reads, with a shape.
    pub layer: Option<usize>,
    /// Latents of the SAE, with a shape.
    pub d_sae: Option<usize>,
    /// Tokens of the prompt.
    pub tokens: Option<usize>,
    /// One JSON object instead of a table.
    pub json: bool,
}

/// `session` is loaded only where no shape is asked for.
pub fn run(
    options: &Options,
    spec: &SessionSpec,
    session: impl FnOnce() -> Result<Session>,
    first_frame: impl FnOnce() -> Option<Duration>,
    out: &mut dyn Write,
    tick: Tick,
) -> Result<()> {
    let n_tokens = options.tokens.unwrap_or(32);
    if n_tokens == 0 {
        return Err(Error::Usage("--tokens must be at least 1".into()));
    }
    let first_frame_ms = first_frame().map(|d| d.as_secs_f64() * 1e3);
    let subject = match &options.shape {
        Some(shape) => {
            let (layer, d_sae) = (options.layer.unwrap_or(8), options.d_sae.unwrap_or(24_576));
            from_shape(shape, layer, d_sae, n_tokens, spec, tick)?
        }
        None => {
            let started = Instant::now();
            let session = session()?;
            from_session(&session, started.elapsed(), n_tokens)?
        }
    };
    let mut figures = measure(&subject, tick)?;
    figures.first_frame_ms = first_frame_ms;
    if options.shape.is_some() && !subject.readers[0].model.device.is_cpu() {
        figures.wanda_s = Some(wanda(&subject.readers[0].model, tick)?);
    }
    let (sae, model) = (&subject.readers[0].sae, &subject.readers[0].model);
    let sizes = Sizes::of(sae.d_in(), sae.d_sae(), model.config.d_vocab);
    figures.card = model.ops.backend().map(|backend| kernels::measure(&**backend, sizes)).transpose()?;
    let text = if options.json { crate::output::json(&figures)? } else { table(&figures)? };
    writeln!(out, "{text}").map_err(|e| Error::io("stdout", e))
}

fn table(figures: &Figures) -> Result<String> {
    let value = serde_json::to_value(figures).map_err(|e| Error::invalid(format!("cannot write figures: {e}")))?;
    let kernels = figures.card.iter().map(kernels::table);
    let line = |(name, value): (&String, &serde_json::Value)| {
        let value = match value {
            serde_json::Value::Null => "-".into(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        format!("{name:<20} {value}")
    };
    let lines = value.as_object().into_iter().flatten().filter(|(name, _)| *name != "card").map(line);
    Ok(lines.chain(kernels).collect::<Vec<_>>().join("\n"))
}

fn random_tokens(n: usize, vocab: usize) -> Vec<Token> {
    let mut rng = StdRng::seed_from_u64(7);
    (0..n).map(|_| Token { id: rng.random_range(1..vocab as u32), piece: Vec::new(), special: false }).collect()
}

/// Random weights on the device and in the type of a session.
fn from_shape(
    name: &str,
    layer: usize,
    d_sae: usize,
    n_tokens: usize,
    spec: &SessionSpec,
    tick: Tick,
) -> Result<Subject> {
    let (device, _) = spec.device.open(&spec.libraries)?;
    let original = shape::model(name)?;
    let hook = HookPoint { layer, site: Site::ResidPost };
    original.check_hook(hook)?;
    if d_sae < 64 || n_tokens > original.config.n_ctx {
        return Err(Error::Usage("expected --d-sae of at least 64 and --tokens within the model's context".into()));
    }
    let pruned = shape::pruned(&original)?;
    let mut mover = ToDevice::new(&device, spec.dtype);
    let (original, pruned) = (Arc::new(mover.model(&original)?), Arc::new(mover.model(&pruned)?));
    drop(mover);
    let tokens = random_tokens(n_tokens, original.config.d_vocab);
    let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
    let x =
        original.capture(&Tensor::from_vec(ids, (1, n_tokens), &original.device)?, hook, tick)?.acts.flatten_to(1)?;
    let d_in = original.d_in(hook.site);
    let sae = |seed| place(Arc::new(shape::sae(d_in, d_sae, hook, &x, seed)?), &*original.ops);
    let (sae, trained) = (sae(3)?, sae(4)?);
    let norms = Norms { enc: vec![1.0; d_in], dec: vec![1.0; d_sae] };
    let order = Arc::new(rank(&*sae, Criterion::Wanda, Some(&norms), tick)?);
    let reader = |variant: Variant| {
        let model = if variant.on_pruned_model() { &pruned } else { &original };
        let sae = if variant == Variant::Trained { &trained } else { &sae };
        let pruning = (variant == Variant::Pruned).then(|| Pruning { order: order.clone(), ratio: 0.25 });
        Reader::new(variant, model.clone(), sae.clone(), pruning, hook, Space::Raw)
    };
    Ok(Subject {
        on: format!("{name}, random weights"),
        readers: Variant::ALL.into_iter().map(reader).collect::<Result<_>>()?,
        tokens,
        norms: Some(norms),
        criterion: Criterion::Wanda,
        special: std::iter::once(0).collect(),
        load_s: None,
    })
}

fn from_session(session: &Session, load: Duration, n_tokens: usize) -> Result<Subject> {
    let spec = &session.spec;
    let text = prunelens_core::demo::held_out()?.join("\n");
    let text: String = text.chars().take(16 * n_tokens).collect();
    let ids = session.tokenizer.encode(&text, spec.bos)?;
    let n_tokens = n_tokens.min(session.original.config.n_ctx).min(ids.len());
    let tokens =
        ids[..n_tokens].iter().map(|id| Token { id: *id, piece: Vec::new(), special: session.tokenizer.special(*id) });
    Ok(Subject {
        on: format!("{} ({})", session.original.name, session.compression),
        readers: session.readers(spec.ratio, spec.criterion)?,
        tokens: tokens.collect(),
        norms: None,
        criterion: spec.criterion,
        special: session.tokenizer.specials(),
        load_s: Some(load.as_secs_f64()),
    })
}

/// Median time of some work, in milliseconds; the first run is not counted.
fn median_ms(repeats: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut times = Vec::new();
    for _ in 0..repeats {
        let started = Instant::now();
        work()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(round(times[times.len() / 2]))
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn measure(subject: &Subject, tick: Tick) -> Result<Figures> {
    let readers = &subject.readers;
    let find = |v: Variant| readers.iter().find(|r| r.variant == v);
    let transfer = find(Variant::Transfer).ok_or_else(|| Error::invalid("this session has no variant to time"))?;
    let order = find(Variant::Pruned).and_then(|r| r.pruning.as_ref()).map(|p| p.order.clone());
    let order = order.ok_or_else(|| Error::invalid("this session has no pruned variant to time"))?;
    let sae = &transfer.sae;
    let read = |tick: Tick| Prompt::read("", subject.tokens.clone(), readers.clone(), 0.25, subject.criterion, tick);
    let mut prompt = read(tick)?;
    prompt.find_paths()?;

    // Ratios differ at every step, as when a slider moves.
    let mut step = 0;
    let mut next = || {
        step = (step + 7) % 90;
        Pruning { order: order.clone(), ratio: 0.05 + step as f64 / 100.0 }
    };
    let slider_latents_ms = median_ms(REPEATS, || {
        prompt.set_pruning(next())?;
        let comparison = prompt.comparison(None);
        let latents = comparison.view(Variant::Pruned).map(|v| v.latents.clone()).unwrap_or_default();
        for row in 0..latents.rows() {
            let (indices, values) = latents.row(row);
            let mut all: Vec<(u32, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
            all.sort_unstable_by(prunelens_kernels::select::by_value);
            std::hint::black_box(all);
        }
        Ok(())
    })?;
    let slider_figures_ms = median_ms(REPEATS, || {
        prompt.set_pruning(next())?;
        prompt.reconstruct(&mut || Ok(()))
    })?;
    let token = subject.tokens.len() - 1;
    let latent = prompt.comparison(None).view(Variant::Transfer).and_then(|v| v.latents.row(token).0.first().copied());
    let path_ms = median_ms(REPEATS, || prompt.curve(token, latent.unwrap_or(0)).map(drop))?;
    let paths_all_ms = median_ms(3, || {
        prompt.forget_paths();
        prompt.find_paths()
    })?;
    let rank_ms = median_ms(3, || {
        let order = rank(&**sae, subject.criterion, subject.norms.as_ref(), &mut || Ok(()))?;
        // Ranks made on a GPU may still be under way.
        sae.device().synchronize()?;
        drop(order);
        Ok(())
    })?;
    let prompt_latents_ms = median_ms(REPEATS, || read(&mut || Ok(())).map(drop))?;
    let prompt_ms = median_ms(REPEATS, || read(&mut || Ok(()))?.finish_passes(&mut || Ok(())))?;
    prompt.finish_passes(tick)?;
    while prompt.splice_next(tick)? {}
    let splice_ms = median_ms(REPEATS, || {
        prompt.forget_splice(Variant::Transfer);
        prompt.splice_next(&mut || Ok(())).map(drop)
    })?;
    let (core_tokens_per_s, gap) = core(subject, vec![transfer.clone()], tick)?;
    let core4 = if readers.len() == 4 { Some(core(subject, readers.clone(), tick)?) } else { None };
    let job_gap_ms = round(core4.map_or(gap, |(_, gap)| gap).as_secs_f64() * 1e3);
    Ok(Figures {
        on: subject.on.clone(),
        device: format!("{:?}", transfer.model.device.location()).to_lowercase(),
        threads: rayon::current_num_threads(),
        dtype: transfer.model.dtype.as_str().into(),
        d_model: transfer.model.config.d_model,
        d_sae: sae.d_sae(),
        layer: transfer.hook.layer,
        tokens: subject.tokens.len(),
        slider_latents_ms,
        slider_figures_ms,
        path_ms,
        paths_all_ms,
        rank_s: round(rank_ms / 1e3),
        wanda_s: None,
        prompt_latents_ms,
        prompt_ms,
        splice_ms,
        core_tokens_per_s,
        core4_tokens_per_s: core4.map(|(rate, _)| rate),
        job_gap_ms,
        load_s: subject.load_s.map(round),
        first_frame_ms: None,
        peak_rss_mb: status_mb("VmHWM:"),
        resident_mb: status_mb("VmRSS:"),
        card: None,
    })
}

/// Seconds that pruning a model takes with as much text as its authors use.
fn wanda(model: &Model, tick: Tick) -> Result<f64> {
    let (length, vocab) = (2048.min(model.config.n_ctx), model.config.d_vocab as u32);
    let mut rng = StdRng::seed_from_u64(13);
    let rows: Vec<Vec<u32>> = (0..128).map(|_| (0..length).map(|_| rng.random_range(1..vocab)).collect()).collect();
    let started = Instant::now();
    model.wanda(&[rows], Sparsity::Ratio(0.5), &mut |_| tick())?;
    model.device.synchronize()?;
    Ok(round(started.elapsed().as_secs_f64()))
}

/// Tokens a second of the passes and activations of one batch of the core metric; figures of the weights alone are left
/// out, as in the reference's timing. And the longest time in which it did not look up from its work.
fn core(subject: &Subject, readers: Vec<Reader>, tick: Tick) -> Result<(f64, Duration)> {
    let ops = readers[0].model.ops.clone();
    let context = CORE.1.min(readers[0].model.config.n_ctx);
    let vocab = readers[0].model.config.d_vocab as u32;
    let mut rng = StdRng::seed_from_u64(11);
    let rows: Vec<Vec<u32>> =
        (0..2 * CORE.0).map(|_| (0..context).map(|_| rng.random_range(1..vocab)).collect()).collect();
    let spec = CoreSpec::over(rows.len(), context, CORE.0, "random tokens");
    let mut run = CoreRun::new(spec, readers, rows, subject.special.clone())?;
    let batch = CORE.0 * context;
    // The first batch warms up; the second is measured.
    while run.progress().0 < batch {
        run.step(tick)?;
    }
    let (done, started) = (run.progress().0, Instant::now());
    let (mut looked_up, mut gap, mut before) = (started, Duration::ZERO, Duration::ZERO);
    let mut watched = || {
        let mut wait = looked_up.elapsed();
        if ops.backend().is_some() {
            // As the explorer does: what was launched in the part before this one is done, this one is still queued.
            ops.await_previous()?;
            wait = looked_up.elapsed();
            (wait, before) = (wait + before, wait);
        }
        gap = gap.max(wait);
        tick()?;
        looked_up = Instant::now();
        Ok(())
    };
    while run.progress().0 < 2 * batch {
        run.step(&mut watched)?;
        watched()?;
    }
    let done = (run.progress().0 - done) as f64;
    Ok(((done / started.elapsed().as_secs_f64() * 10.0).round() / 10.0, gap))
}
