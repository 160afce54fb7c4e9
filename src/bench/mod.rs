//! Time what the explorer does, step by step, on a session or on random weights of a shape.

mod first_frame;
mod index;
pub mod kernels;
mod knobs;
mod report;
mod shape;
mod steps;
mod train;

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use candle_core::Tensor;
use prunelens_core::{
    compare::{Prompt, Reader, Token, Variant},
    error::{Error, Result},
    model::{HookPoint, Model, Site, Space, ToDevice},
    progress::Tick,
    prune::{
        Sparsity,
        sae::{Norms, order},
    },
    sae::{Criterion, Knob, Order, Pruning, Setting, place},
    session::{Session, SessionSpec},
};
use prunelens_kernels::{gpu, ops};
use prunelens_metrics::{
    Measure,
    core::{CoreRun, CoreSpec},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

pub use first_frame::first_frame;
use kernels::Sizes;
pub use report::Report;
pub use steps::{Step, Steps};

use crate::process::status_mb;

/// What is timed.
struct Subject {
    on: String,
    readers: Vec<Reader>,
    tokens: Vec<Token>,
    norms: Option<Norms>,
    setting: Setting,
    special: std::collections::HashSet<u32>,
    /// Rows that an index of examples is built over.
    corpus: Vec<Vec<u32>>,
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
    /// Latents of the SAE, with a shape; one after the other on the same model.
    pub d_sae: Vec<usize>,
    /// Leave out the pruning of a whole model.
    pub no_wanda: bool,
    /// Time the training of SAEs instead of the explorer's steps.
    pub train: bool,
    /// Tokens of the prompt.
    pub tokens: Option<usize>,
    /// One JSON object for each number of latents instead of a table.
    pub json: bool,
}

/// `session` is loaded only where no shape is asked for. What a part takes is written as soon as it is known; a part that fails
/// says why in its place, and the run goes on and then fails.
pub fn run(
    options: &Options,
    spec: &SessionSpec,
    session: impl FnOnce(&mut Steps) -> Result<Session>,
    first_frame: impl FnOnce() -> Option<Duration>,
    out: &mut dyn Write,
    tick: Tick,
) -> Result<()> {
    let n_tokens = options.tokens.unwrap_or(32);
    if n_tokens == 0 {
        return Err(Error::Usage("--tokens must be at least 1".into()));
    }
    let first_frame_ms = first_frame().map(|d| round(d.as_secs_f64() * 1e3));
    let Some(shape) = &options.shape else {
        let mut steps = Steps::begin();
        let session = session(&mut steps)?;
        let steps = steps.end();
        if options.train {
            let mut report = Report::new(out, options.json);
            train_session(&session, &mut report, tick)?;
            return verdict(report.end()?);
        }
        let subject = from_session(&session, n_tokens)?;
        let mut report = Report::new(out, options.json);
        measure(&subject, first_frame_ms, Some(steps), &mut report, tick)?;
        card(&subject, &mut report)?;
        return verdict(report.end()?);
    };
    let sizes = if options.d_sae.is_empty() { &[24_576] } else { &options.d_sae[..] };
    if sizes.iter().any(|d_sae| *d_sae < 64) {
        return Err(Error::Usage("expected --d-sae of at least 64".into()));
    }
    let models = Shaped::new(shape, options.layer.unwrap_or(8), n_tokens, spec, tick)?;
    let mut failed = Vec::new();
    for (at, d_sae) in sizes.iter().enumerate() {
        let mut report = Report::new(out, options.json);
        if at > 0 {
            report.line("")?;
        }
        if options.train {
            models.train(*d_sae, &mut report, tick)?;
        } else if let Some(subject) = report.made(&format!("sae_{d_sae}"), || models.subject(*d_sae, tick))? {
            measure(&subject, first_frame_ms.filter(|_| at == 0), None, &mut report, tick)?;
            // Of the model alone: once is enough.
            if at == 0 && !models.original.device.is_cpu() && !options.no_wanda {
                report.part("wanda_s", || wanda(&models.original, tick))?;
            }
            card(&subject, &mut report)?;
        }
        failed.extend(report.end()?);
        gpu::release(&models.original.device);
    }
    verdict(failed)
}

fn verdict(failed: Vec<String>) -> Result<()> {
    match failed.len() {
        0 => Ok(()),
        n => Err(Error::invalid(format!("{n} of the parts failed, the figures say why: {}", failed.join(", ")))),
    }
}

/// On a GPU: its kernels at the SAE's sizes.
fn card(subject: &Subject, report: &mut Report) -> Result<()> {
    let (sae, model) = (&subject.readers[0].sae, &subject.readers[0].model);
    let sizes = Sizes::of(sae.d_in(), sae.d_sae(), model.config.d_vocab);
    model.ops.backend().map_or(Ok(()), |backend| kernels::measure(&**backend, sizes, report))
}

fn random_tokens(n: usize, vocab: usize) -> Vec<Token> {
    let mut rng = StdRng::seed_from_u64(7);
    (0..n).map(|_| Token { id: rng.random_range(1..vocab as u32), piece: Vec::new(), special: false }).collect()
}

/// Models of random weights, on the device and in the type of a session, and what they make of the prompt.
struct Shaped {
    name: String,
    original: Arc<Model>,
    pruned: Arc<Model>,
    hook: HookPoint,
    tokens: Vec<Token>,
    /// At the hook.
    x: Tensor,
}

impl Shaped {
    fn new(name: &str, layer: usize, n_tokens: usize, spec: &SessionSpec, tick: Tick) -> Result<Self> {
        let (device, _) = spec.device.open(&spec.libraries)?;
        let original = shape::model(name)?;
        let hook = HookPoint { layer, site: Site::ResidPost };
        original.check_hook(hook)?;
        if n_tokens > original.config.n_ctx {
            return Err(Error::Usage("expected --tokens within the model's context".into()));
        }
        let pruned = shape::pruned(&original)?;
        let mut mover = ToDevice::new(&device, spec.dtype_on(&device), ops::of(&device)?);
        let (original, pruned) = (Arc::new(mover.model(&original)?), Arc::new(mover.model(&pruned)?));
        drop(mover);
        let tokens = random_tokens(n_tokens, original.config.d_vocab);
        let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
        let ids = Tensor::from_vec(ids, (1, n_tokens), &original.device)?;
        let x = original.capture(&ids, hook, tick)?.acts.flatten_to(1)?;
        Ok(Self { name: name.into(), original, pruned, hook, tokens, x })
    }

    /// SAEs of so many latents trained on it.
    fn train(&self, d_sae: usize, report: &mut Report, tick: Tick) -> Result<()> {
        let name = format!("{}, random weights", self.name);
        describe_training(&name, &self.pruned, self.hook, d_sae, report)?;
        let context = TRAIN_CONTEXT.min(self.pruned.config.n_ctx);
        let vocab = self.pruned.config.d_vocab as u32;
        let rows = random_rows(17, 8192 / context, context, vocab);
        train::measure(&self.pruned, self.hook, &Default::default(), &rows, d_sae, report, tick)
    }

    /// With SAEs of so many latents.
    fn subject(&self, d_sae: usize, tick: Tick) -> Result<Subject> {
        let Self { original, pruned, hook, .. } = self;
        let d_in = original.d_in(hook.site);
        let sae = |seed| place(Arc::new(shape::sae(d_in, d_sae, *hook, &self.x, seed)?), &*original.ops);
        let (sae, trained) = (sae(3)?, sae(4)?);
        let norms = Norms { enc: vec![1.0; d_in], dec: vec![1.0; d_sae] };
        let setting = Knob::Ratio(Criterion::Wanda).at(0.25);
        let order = Arc::new(order(&*sae, setting.knob, Some(&norms), None, tick)?);
        let reader = |variant: Variant| {
            let model = if variant.on_pruned_model() { pruned } else { original };
            let sae = if variant == Variant::Trained { &trained } else { &sae };
            let pruning = (variant == Variant::Pruned).then(|| Pruning { order: order.clone(), at: 0.25 });
            Reader::new(variant, model.clone(), sae.clone(), pruning, *hook, Space::Raw)
        };
        Ok(Subject {
            on: format!("{}, random weights", self.name),
            readers: Variant::ALL.into_iter().map(reader).collect::<Result<_>>()?,
            tokens: self.tokens.clone(),
            norms: Some(norms),
            setting,
            special: std::iter::once(0).collect(),
            corpus: random_rows(19, index::ROWS, CORE.1.min(original.config.n_ctx), original.config.d_vocab as u32),
        })
    }
}

/// Tokens in a row that SAEs are trained on.
const TRAIN_CONTEXT: usize = 256;

/// An SAE as wide as the session's, trained where that reads.
fn train_session(session: &Session, report: &mut Report, tick: Tick) -> Result<()> {
    let (model, hook, d_sae) = (&session.models.pruned, session.hook, session.sae.d_sae());
    describe_training(&format!("{} ({})", model.name, session.models.compression), model, hook, d_sae, report)?;
    let context = TRAIN_CONTEXT.min(model.config.n_ctx);
    let rows = held_out(session, context)?;
    train::measure(model, hook, &session.models.tokenizer.specials(), &rows, d_sae, report, tick)
}

/// The demo's held-out texts, in rows of so many tokens.
fn held_out(session: &Session, context: usize) -> Result<Vec<Vec<u32>>> {
    let texts = prunelens_core::demo::held_out()?;
    prunelens_core::data::rows(&session.models.tokenizer, texts.iter().map(String::as_str), context, session.spec.bos)
}

fn describe_training(on: &str, model: &Model, hook: HookPoint, d_sae: usize, report: &mut Report) -> Result<()> {
    report.figure("on", on)?;
    report.figure("device", gpu::name(&model.device))?;
    report.figure("threads", rayon::current_num_threads())?;
    report.figure("dtype", model.dtype.as_str())?;
    report.figure("d_model", model.config.d_model)?;
    report.figure("d_sae", d_sae)?;
    report.figure("hook", hook.to_string())
}

fn from_session(session: &Session, n_tokens: usize) -> Result<Subject> {
    let spec = &session.spec;
    let text = prunelens_core::demo::held_out()?.join("\n");
    let text: String = text.chars().take(16 * n_tokens).collect();
    let ids = session.models.tokenizer.encode(&text, spec.bos)?;
    let n_tokens = n_tokens.min(session.models.original.config.n_ctx).min(ids.len());
    let tokens = ids[..n_tokens].iter().map(|id| Token {
        id: *id,
        piece: Vec::new(),
        special: session.models.tokenizer.special(*id),
    });
    Ok(Subject {
        on: format!("{} ({})", session.models.original.name, session.models.compression),
        readers: session.readers(session.setting)?,
        tokens: tokens.collect(),
        norms: None,
        setting: session.setting,
        special: session.models.tokenizer.specials(),
        corpus: held_out(session, CORE.1.min(session.models.original.config.n_ctx))?,
    })
}

/// So many rows of so many tokens that mean nothing.
fn random_rows(seed: u64, rows: usize, context: usize, vocab: u32) -> Vec<Vec<u32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..rows).map(|_| (0..context).map(|_| rng.random_range(1..vocab)).collect()).collect()
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

/// What was measured on, and every step.
fn measure(
    subject: &Subject,
    first_frame_ms: Option<f64>,
    load: Option<Vec<Step>>,
    report: &mut Report,
    tick: Tick,
) -> Result<()> {
    let readers = &subject.readers;
    let find = |v: Variant| readers.iter().find(|r| r.variant == v);
    let transfer = find(Variant::Transfer).ok_or_else(|| Error::invalid("this session has no variant to time"))?;
    let order = find(Variant::Pruned).and_then(|r| r.pruning.as_ref()).map(|p| p.order.clone());
    let order = order.ok_or_else(|| Error::invalid("this session has no pruned variant to time"))?;
    report.figure("on", &subject.on)?;
    report.figure("device", gpu::name(&transfer.model.device))?;
    report.figure("threads", rayon::current_num_threads())?;
    report.figure("dtype", transfer.model.dtype.as_str())?;
    report.figure("d_model", transfer.model.config.d_model)?;
    report.figure("d_sae", transfer.sae.d_sae())?;
    report.figure("layer", transfer.hook.layer)?;
    report.figure("tokens", subject.tokens.len())?;
    report.figure("first_frame_ms", first_frame_ms)?;
    report.figure("load_s", load.as_ref().map(|load| round(load.iter().map(|step| step.s).sum())))?;
    for step in load.iter().flatten() {
        let step = Step { s: round(step.s), what: step.what.clone() };
        report.item("load_steps", &step, &format!("  {:<18} {}", step.s, step.what))?;
    }
    steps(subject, &order, report, tick)?;
    index::measure(subject, report, tick)?;

    // Ranks of both matrices, norms given.
    let sae = &transfer.sae;
    report.part("rank_s", || {
        let ms = median_ms(3, || {
            let order = prunelens_core::prune::sae::order(
                &**sae,
                subject.setting.knob,
                subject.norms.as_ref(),
                None,
                &mut || Ok(()),
            )?;
            // Ranks made on a GPU may still be under way.
            sae.device().synchronize()?;
            drop(order);
            Ok(())
        })?;
        Ok(round(ms / 1e3))
    })?;
    // The core metric on one variant, rows a second times row length, and with all variants done. And the longest that such a
    // job (on all variants, on one where there are fewer) leaves a user's request waiting.
    let mut gap = None;
    let mut job = |readers: Vec<Reader>| {
        let (rate, longest) = core(subject, readers, tick)?;
        gap = Some(round(longest.as_secs_f64() * 1e3));
        Ok(rate)
    };
    report.part("core_tokens_per_s", || job(vec![transfer.clone()]))?;
    if readers.len() == 4 {
        report.part("core4_tokens_per_s", || job(readers.clone()))?;
    }
    report.figure("job_gap_ms", gap)?;
    // What they do is done on the processor, wherever the SAE is: on a machine that is there for its GPU they would only take its time.
    if transfer.sae.device().is_cpu() {
        knobs::measure(subject, report, tick)?;
    }
    report.figure("peak_rss_mb", status_mb("VmHWM:"))?;
    report.figure("resident_mb", status_mb("VmRSS:"))
}

/// The prompt through all variants.
fn read(subject: &Subject, tick: Tick) -> Result<Prompt> {
    Prompt::read("", subject.tokens.clone(), subject.readers.clone(), subject.setting, tick)
}

/// The explorer's steps on a prompt.
fn steps(subject: &Subject, order: &Arc<Order>, report: &mut Report, tick: Tick) -> Result<()> {
    let read = |tick: Tick| read(subject, tick);
    let scale = order.knob.scale(subject.readers[0].sae.d_in());
    // The first one of all: on a GPU its kernels are loaded, too.
    let started = Instant::now();
    let Some(mut prompt) = report.made("first_prompt_ms", || read(tick))? else { return Ok(()) };
    report.figure("first_prompt_ms", round(started.elapsed().as_secs_f64() * 1e3))?;

    // Ratios differ at every step, as when a slider moves.
    let mut step = 0;
    let mut next = || {
        step = (step + 7) % 90;
        Pruning { order: order.clone(), at: scale.nearest(0.05 + step as f64 / 100.0) }
    };
    // A new ratio to all latents, sorted.
    report.part("slider_latents_ms", || {
        median_ms(REPEATS, || {
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
        })
    })?;
    // A new ratio to the pruned variant's reconstruction figures.
    report.part("slider_figures_ms", || {
        median_ms(REPEATS, || {
            prompt.set_pruning(next())?;
            prompt.reconstruct(&mut || Ok(()))
        })
    })?;
    // Survival and paths of all active latents at 100 ratios, and one latent's activation at every ratio.
    report.part("paths_all_ms", || {
        median_ms(3, || {
            prompt.forget_paths();
            prompt.find_paths()
        })
    })?;
    let token = subject.tokens.len() - 1;
    let latent = prompt.comparison(None).view(Variant::Transfer).and_then(|v| v.latents.row(token).0.first().copied());
    report.part("path_ms", || median_ms(REPEATS, || prompt.curve(token, latent.unwrap_or(0)).map(drop)))?;
    // Tokens to the first latents of all variants; then all logits of both models.
    report.part("prompt_latents_ms", || median_ms(REPEATS, || read(&mut || Ok(())).map(drop)))?;
    report.part("prompt_ms", || median_ms(REPEATS, || read(&mut || Ok(()))?.finish_passes(&mut || Ok(()))))?;
    // CE and KL of one variant.
    report.part("splice_ms", || {
        prompt.finish_passes(tick)?;
        while prompt.splice_next(tick)? {}
        median_ms(REPEATS, || {
            prompt.forget_splice(Variant::Transfer);
            prompt.splice_next(&mut || Ok(())).map(drop)
        })
    })
}

/// Wanda at half of a whole model, by 128 rows of 2,048 tokens (or what it can read): seconds that it with as much text as its
/// authors use.
fn wanda(model: &Model, tick: Tick) -> Result<f64> {
    let (length, vocab) = (2048.min(model.config.n_ctx), model.config.d_vocab as u32);
    let rows = random_rows(13, 128, length, vocab);
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
    let rows = random_rows(11, 2 * CORE.0, context, vocab);
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
