//! A sweep as a job on what a session has loaded, layer by layer.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use prunelens_core::{
    compare::Variant,
    data::{Corpus, read_corpus},
    demo,
    error::{Error, Result},
    progress::Tick,
    sae::{
        Knob,
        formats::{self, Given},
    },
    session::{Session, layers},
    text::safe,
};
use serde::{Deserialize, Serialize};

use super::{
    LayerResult, Mode, SweepSpec, knee,
    options::{PARAMS, SweepOptions, cost},
    paper::PaperRun,
    plan::{LayerRun, SweepRows},
    report::{Common, result_file},
    result::check_comparable,
    summary,
};
use crate::{
    Cost, Detail, Metric, MetricTable, Param,
    core::{Blocks, CoreOptions, CoreSpec, job as core, options::default_rows},
    job::{Job, JobProgress, Step, from_bytes, to_bytes},
    params::default_context,
    readers::Names,
    report::{RunStamp, write_results},
};

/// A sweep with the names of its results.
pub struct SweepJob {
    session: Session,
    options: SweepOptions,
    spec: SweepSpec,
    rows: SweepRows,
    /// `None` is the session's own SAE.
    layers: Vec<Option<usize>>,
    done: Vec<LayerResult>,
    /// Of the last of them.
    blocks: Vec<Blocks>,
    /// The layer under way, with its session.
    current: Option<(Session, LayerRun)>,
    /// Of the layer under way, from before a break.
    saved: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct State {
    done: Vec<LayerResult>,
    blocks: Vec<Blocks>,
    current: Option<Vec<u8>>,
}

impl Metric for SweepJob {
    const NAME: &'static str = "sweep";
    const TITLE: &'static str =
        "Loss, divergence, reconstruction and sparsity against the ratio at which the SAE is pruned";
    const PARAMS: &'static [Param] = PARAMS;
    type Options = SweepOptions;

    fn cost(session: &Session, options: &SweepOptions) -> Result<Cost> {
        Ok(cost(session, options))
    }

    /// Read the text and check what was asked for; ranks and SAEs of other layers come with the first steps.
    fn new(session: &Session, options: &SweepOptions) -> Result<Self> {
        let own = [session.spec.criterion];
        let criteria = if options.criteria.is_empty() { &own[..] } else { &options.criteria };
        // Where it stands is of no account: it is turned through all.
        let knob = options.knob.unwrap_or(session.setting.into()).knob();
        if knob.criterion().is_none() && criteria != own {
            // The session's own is what a form is filled in with.
            let text = format!("--criteria is not for --knob {}, which ranks nothing: leave it out", knob.name());
            return Err(Error::Usage(text));
        }
        let spec = SweepSpec::new(options.mode, knob, &options.ratios, criteria, session.sae.d_in())?;
        let rows = rows(session, options)?;
        let layers = check_layers(session, options)?;
        Ok(Self {
            session: session.clone(),
            options: options.clone(),
            spec,
            rows,
            layers,
            done: Vec::new(),
            blocks: Vec::new(),
            current: None,
            saved: None,
        })
    }
}

impl SweepJob {
    /// The session with the SAEs of a layer; ranks are made anew for each.
    fn at_layer(&self, layer: Option<usize>) -> Result<Session> {
        let (Some(layer), Some(pattern)) = (layer, &self.options.sae) else { return Ok(self.session.clone()) };
        let load = |pattern: &PathBuf| {
            let path = layers::at(pattern, layer);
            let given = Given { norm_scaling_factor: self.session.spec.norm_scaling_factor, ..Given::default() };
            let sae = formats::load_given(&path, &given)?;
            if sae.config.hook.layer != layer {
                let hook = sae.config.hook;
                return Err(Error::file(&path, format!("expected an SAE of layer {layer}, found one of {hook}")));
            }
            Ok(std::sync::Arc::new(sae))
        };
        let trained = self.options.trained_sae.as_ref().map(load).transpose()?;
        self.session.with_saes(load(pattern)?, trained)
    }

    fn results(&self) -> Vec<LayerResult> {
        self.done.iter().cloned().chain(self.current.as_ref().map(|(_, run)| run.result())).collect()
    }

    fn settings(&self, layers: &[LayerResult]) -> Vec<(String, String)> {
        let (spec, core) = (&self.spec, &self.rows.core);
        let documents: usize = self.rows.batches.iter().map(Vec::len).sum();
        let list = |items: Vec<String>| items.join(", ");
        let mode = match spec.mode {
            Mode::Masked => "special tokens neither spliced nor counted",
            Mode::Paper => {
                "paper: every position spliced and counted, padding with id 0 too; mean of the batches' means"
            }
        };
        let mut settings = vec![
            ("text", core.dataset.clone()),
            (
                "rows",
                format!("{documents} of up to {} tokens, in batches of {}", core.context_size, core.batch_size_prompts),
            ),
            ("loss", mode.into()),
            (settings_of(spec.knob()), list(spec.settings.iter().map(ToString::to_string).collect())),
            ("criteria", list(spec.knobs.iter().map(|knob| knob.rule().to_owned()).collect())),
            ("hook", list(layers.iter().map(|l| l.hook.to_string()).collect())),
        ];
        if let Some(layer) = layers.last() {
            settings.push(("passes", passes(layer)));
        }
        settings.push(("knee", knee::RULE.into()));
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Tokens done and in all, over all layers.
    fn tokens(&self) -> (usize, usize) {
        let tokens = self.rows.batches.iter().flatten().map(Vec::len).sum::<usize>();
        let now = self.current.as_ref().map_or(0, |(_, run)| run.progress().0);
        (self.done.len() * tokens + now, self.layers.len() * tokens)
    }

    /// What it is doing, for people.
    fn note(&self) -> String {
        let layer = match self.layers.get(self.done.len()) {
            None => return String::new(),
            Some(Some(layer)) => format!("layer {layer}, "),
            Some(None) => String::new(),
        };
        match &self.current {
            None => format!("{layer}ranking weights"),
            Some((_, run)) => format!("{layer}{} SAEs at once", run.points()),
        }
    }
}

impl Job for SweepJob {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        let Some(&layer) = self.layers.get(self.done.len()) else { return Ok(Step::Done) };
        match &mut self.current {
            None => {
                let session = self.at_layer(layer)?;
                let mut run = LayerRun::new(&session, &self.spec, &self.options.variants, &self.rows, tick)?;
                if let Some(saved) = &self.saved {
                    run.restore(saved)?;
                    self.saved = None;
                }
                self.current = Some((session, run));
            }
            Some((_, run)) => {
                if !run.step(tick)? {
                    self.done.push(run.finish()?);
                    self.blocks = run.blocks();
                    self.current = None;
                }
            }
        }
        Ok(Step::more_if(self.done.len() < self.layers.len()))
    }

    fn progress(&self) -> JobProgress {
        JobProgress::new(self.tokens(), "tokens", self.note())
    }

    fn table(&self) -> MetricTable {
        let layers = self.results();
        let (done, total) = self.tokens();
        let mut settings = Names::of(&self.session).settings();
        settings.extend(self.settings(&layers));
        // In paper mode rows are documents, as many as there are.
        let asked = self.options.rows.filter(|_| self.spec.mode == Mode::Masked);
        let fewer = core::fewer(asked, &self.rows.core);
        MetricTable {
            metric: "sweep".into(),
            settings,
            variants: summary::variants(&layers),
            rows: summary::rows(&layers),
            warnings: fewer.into_iter().chain(summary::warnings(&layers)).collect(),
            progress: done as f64 / total.max(1) as f64,
            // Those of several layers would not be told apart.
            blocks: if self.layers.len() == 1 { self.blocks.clone() } else { Vec::new() },
        }
    }

    fn details(&self) -> Vec<Detail> {
        summary::details(&self.results())
    }

    fn state(&self) -> Result<Vec<u8>> {
        let current = match &self.current {
            Some((_, run)) => Some(run.state()?),
            None => self.saved.clone(),
        };
        to_bytes(&State { done: self.done.clone(), blocks: self.blocks.clone(), current })
    }

    /// The layer under way is taken up by the next step.
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let state: State = from_bytes(state)?;
        let ratios = |layer: &LayerResult| {
            let fits = layer.curves.iter().zip(&self.spec.knobs).all(|(curve, knob)| {
                let found = curve.points.iter().skip(1).map(|(ratio, _)| ratio);
                curve.knob == *knob && found.eq(&self.spec.settings)
            });
            fits && (layer.curves.is_empty() || layer.curves.len() == self.spec.knobs.len())
        };
        let more = state.done.len() < self.layers.len() || state.current.is_none();
        if state.done.len() > self.layers.len() || !more || !state.done.iter().all(ratios) {
            return Err(Error::invalid("the saved state is of another sweep; start it anew"));
        }
        (self.done, self.blocks, self.saved, self.current) = (state.done, state.blocks, state.current, None);
        Ok(())
    }

    /// One result file below `folder` for each layer and variant.
    fn finish(&mut self, folder: &Path) -> Result<Vec<PathBuf>> {
        if self.done.len() < self.layers.len() {
            return Err(Error::invalid("the sweep is not finished"));
        }
        check_comparable(&self.done)?;
        let (stamp, names) = (RunStamp::now(), Names::of(&self.session));
        let common = Common {
            spec: &self.spec,
            rows: &self.rows.core,
            documents: self.rows.batches.iter().map(Vec::len).sum(),
            dtype: self.session.models.original.dtype,
            stamp: &stamp,
        };
        let mut files = Vec::new();
        for (layer, result) in self.layers.iter().zip(&self.done) {
            let session = self.at_layer(*layer)?;
            for variant in summary::variants(std::slice::from_ref(result)) {
                // A curve is named without a ratio.
                let as_it_is = if variant == Variant::Pruned { Variant::Transfer } else { variant };
                let Some(mut reader) = session.reader(as_it_is, session.setting)? else { continue };
                reader.variant = variant;
                let identity = names.identity(&reader);
                files.extend(result_file(&common, &identity, variant, result).map(|file| (identity, file)));
            }
        }
        write_results(folder, files.iter().map(|(identity, file)| (identity, file.clone())))
    }
}

/// What the settings of a knob are called.
fn settings_of(knob: Knob) -> &'static str {
    match knob {
        Knob::Ratio(_) => "ratios",
        Knob::Bits => "bits",
        Knob::Rank => "ranks",
        Knob::Latents(_) => "shares of latents",
    }
}

/// Passes that a row of text costs, and what it would cost to measure point by point.
fn passes(layer: &LayerResult) -> String {
    let pruned: usize = layer.curves.iter().map(|c| c.points.len() - 1).sum();
    let start = usize::from(!layer.curves.is_empty() && !layer.fixed.iter().any(|(v, _)| *v == Variant::Transfer));
    let points = layer.fixed.len() + pruned + start;
    let original = usize::from(layer.fixed.iter().any(|(v, _)| *v == Variant::Original));
    let models = original + usize::from(points > original);
    format!(
        "a row is read to the hook {models} times, read on without SAE {models} times and with one {points} times; point by point it would be {points} times each"
    )
}

fn check_layers(session: &Session, options: &SweepOptions) -> Result<Vec<Option<usize>>> {
    let usage = |message: String| Err(Error::Usage(message));
    if options.layers.is_empty() {
        return match [&options.sae, &options.trained_sae].into_iter().flatten().next() {
            Some(path) => {
                usage(format!("{} stands for one SAE a layer; say which layers", safe(&path.display().to_string())))
            }
            None => Ok(vec![None]),
        };
    }
    let wanted = options.layers();
    if let Some(layer) = wanted.iter().find(|l| **l >= session.models.original.config.n_layers) {
        let last = session.models.original.config.n_layers - 1;
        return usage(format!("layer {layer} does not exist: {} has layers 0 to {last}", session.models.original.name));
    }
    let Some(pattern) = &options.sae else {
        if wanted == [session.hook.layer] {
            return Ok(vec![None]);
        }
        return usage(format!(
            "an SAE reads one layer, and this session's reads {}; to sweep others give a path of SAEs with {} in it",
            session.hook.layer,
            layers::PLACE
        ));
    };
    if session.trained.is_some() && options.trained_sae.is_none() {
        return usage(format!(
            "the session's trained SAE is of one layer; give a path of trained SAEs with {} in it, or leave it out",
            layers::PLACE
        ));
    }
    if let Some(path) =
        [Some(pattern), options.trained_sae.as_ref()].into_iter().flatten().find(|p| !layers::is_pattern(p))
    {
        let path = safe(&path.display().to_string());
        return usage(format!("{path} has no {} in it to stand for the layer's number", layers::PLACE));
    }
    for &layer in &wanted {
        for path in [Some(pattern), options.trained_sae.as_ref()].into_iter().flatten() {
            let path = layers::at(path, layer);
            if !path.exists() {
                return Err(Error::file(&path, format!("does not exist; it is the SAE of layer {layer}")));
            }
        }
    }
    Ok(wanted.into_iter().map(Some).collect())
}

/// Rows in a batch of the released script.
const PAPER_BATCH: usize = 8;

fn rows(session: &Session, options: &SweepOptions) -> Result<SweepRows> {
    if options.mode == Mode::Paper {
        return documents(session, options);
    }
    let options = CoreOptions {
        text: options.text.clone(),
        rows: options.rows,
        context: options.context,
        batch: options.batch,
        ..CoreOptions::default()
    };
    let (core, rows) = core::rows(session, &options)?;
    Ok(SweepRows { core, batches: vec![rows], special: session.models.tokenizer.specials() })
}

/// Documents one by one, cut at the context and padded to the longest of their batch.
fn documents(session: &Session, options: &SweepOptions) -> Result<SweepRows> {
    let config = &session.models.original.config;
    let context = options.context.unwrap_or(default_context(session));
    let wanted = options.rows.unwrap_or_else(|| default_rows(&session.models.original));
    let batch = options.batch.unwrap_or(PAPER_BATCH);
    if context < 2 || context > config.n_ctx || wanted == 0 || batch == 0 {
        return Err(Error::Usage(format!(
            "{wanted} rows of {context} tokens in batches of {batch} cannot be; expected at least 1 row, a context of 2 to {} and a batch of at least 1",
            config.n_ctx
        )));
    }
    let (corpus, dataset) = match options.text.as_ref().or(session.spec.text.as_ref()) {
        Some(path) => (read_corpus(path)?, safe(&path.display().to_string())),
        None => (Corpus::Texts(demo::held_out()?), "built-in held-out text".to_owned()),
    };
    let batches = match corpus {
        // Batches made elsewhere keep their padding.
        Corpus::Tokens(batches) => batches.into_iter().map(|b| b.rows).collect(),
        Corpus::Texts(texts) => {
            let mut documents = Vec::new();
            for text in &texts {
                let mut ids = session.models.tokenizer.encode(text, session.spec.bos)?;
                ids.truncate(context);
                documents.extend(Some(ids).filter(|ids| ids.len() > 1));
                if documents.len() == wanted {
                    break;
                }
            }
            PaperRun::pad(documents, batch)
        }
    };
    for batch in &batches {
        prunelens_core::data::rows::check_rows(batch, config.d_vocab)?;
    }
    let lengths = || batches.iter().flatten().map(Vec::len);
    let (shortest, longest) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
    if shortest < 2 || longest > config.n_ctx {
        return Err(Error::invalid(format!(
            "{dataset} gives rows of {shortest} to {longest} tokens; expected 2 to {}",
            config.n_ctx
        )));
    }
    let core = CoreSpec {
        exclude_special_tokens_from_reconstruction: false,
        ..CoreSpec::over(lengths().count(), longest, batch, dataset)
    };
    Ok(SweepRows { core, batches, special: HashSet::new() })
}
