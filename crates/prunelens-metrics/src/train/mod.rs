//! Training of an SAE on a session's pruned model, as a job like any other: what comes of it is the session's `trained` variant.

pub mod options;

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

use prunelens_core::{
    compare::Variant,
    data::{Corpus, read_corpus},
    demo,
    error::{Error, Result},
    files::{create_folder, write_atomic},
    progress::Tick,
    session::Session,
    text::safe,
    train::{
        DeviceState, Report, TrainFigures, TrainSpec, Trainer, Training,
        activations::ModelActivations,
        curve,
        finish::Trainee,
        report::{self, Rows},
    },
};

use self::options::{PARAMS, TrainOptions, context};
use crate::{
    Better, Cost, Detail, Extent, Job, JobProgress, Metric, MetricRow, MetricTable, Param, Step,
    details::Series,
    job::{from_bytes, to_bytes},
    readers::Names,
};

/// The job of this family.
pub struct TrainJob {
    training: Training,
    spec: TrainSpec,
    session: Session,
    /// Tokens in a row, and the text in words.
    context: usize,
    text: String,
    /// What decides the outcome beside the settings, for the report.
    data: serde_json::Value,
    settings: Vec<(String, String)>,
    curve: Vec<TrainFigures>,
    /// Tokens of a buffer that is being read.
    filling: Option<(usize, usize)>,
    trained: Option<PathBuf>,
}

/// Memory for activations that are met again, in bytes.
const CACHE: u64 = 1 << 30;

impl Metric for TrainJob {
    const NAME: &'static str = "train";
    const TITLE: &'static str = "An SAE on the pruned model's activations; when it is done it is the variant `trained`";
    const PARAMS: &'static [Param] = PARAMS;
    type Options = TrainOptions;

    fn cost(session: &Session, options: &TrainOptions) -> Result<Cost> {
        let spec = options.spec(session)?;
        // Pre-activations of all latents; what goes back is little where few are chosen, else as much again for
        // each matrix's gradient, and Adam's pass through all weights.
        let steps = if spec.architecture.has_auxiliary() { 1.25 } else { 3.0 };
        let d_in = session.sae.d_in();
        let weights = (spec.d_sae * d_in) as f64;
        let tokens = options.tokens.unwrap_or(match spec.budget {
            prunelens_core::train::Budget::Tokens(tokens) => tokens,
            prunelens_core::train::Budget::Minutes(_) => 0,
        });
        Ok(Cost {
            tokens,
            passes: Extent::of(session, &[Variant::Transfer]).before,
            shared: 0.0,
            encodings: 0.0,
            other: tokens as f64 * weights * steps,
            bytes: 4 * (spec.buffer * d_in) as u64
                + CACHE
                + match session.models.pruned.device.is_cpu() {
                    true => Trainer::bytes(&spec, d_in),
                    false => DeviceState::bytes(&spec, d_in),
                },
        })
    }

    fn new(session: &Session, options: &TrainOptions) -> Result<Self> {
        let (spec, context) = (options.spec(session)?, context(options.context, session));
        let n_ctx = session.models.original.config.n_ctx;
        if context < 2 || context > n_ctx {
            return Err(Error::Usage(format!("a context of {context} tokens does not fit; expected 2 to {n_ctx}")));
        }
        let path = options.corpus.as_ref().or(session.spec.corpus.as_ref()).or(session.spec.calibration.as_ref());
        let (corpus, text) = match path {
            Some(path) => (read_corpus(path)?, safe(&path.display().to_string())),
            None => (Corpus::Texts(demo::calibration()?), "built-in calibration text".to_owned()),
        };
        let d_vocab = session.models.original.config.d_vocab;
        let rows = corpus.rows(&session.models.tokenizer, d_vocab, context, session.spec.bos, usize::MAX)?;
        if rows.is_empty() {
            return Err(Error::invalid(format!(
                "{text} does not fill one row of {context} tokens; give more text or a smaller context"
            )));
        }
        let specials = session.models.tokenizer.specials();
        let (model, seed) = (session.models.pruned.clone(), spec.data_seed);
        let source = ModelActivations::new(model, vec![session.hook], specials, rows, None, seed, CACHE);
        let rows = Rows { context, bos: session.spec.bos, exclude_bos: true, fingerprint: source.fingerprint() };
        let data = report::data(&session.models, session.hook, &rows)?;
        let mut settings = Names::of(session).settings();
        let tokens = source.tokens();
        settings.push(("kind".into(), format!("{} of {} latents", spec.architecture, spec.d_sae)));
        settings
            .push(("text".into(), format!("{text}, {tokens} tokens in rows of {context}, special tokens left out")));
        settings.push(("seed".into(), spec.seed.to_string()));
        Ok(Self {
            training: Training::new(Box::new(source), vec![(spec.clone(), 0)])?,
            spec,
            session: session.clone(),
            context,
            text,
            data,
            settings,
            curve: Vec::new(),
            filling: None,
            trained: None,
        })
    }
}

impl TrainJob {
    fn figures(&self) -> Option<TrainFigures> {
        self.training.trainers().first().and_then(Trainer::figures)
    }

    /// Make a folder of its own: another SAE of the same name stays as it is.
    fn folder(&self, results: &Path) -> Result<PathBuf> {
        let name = format!("{}-{}-{}", self.session.hook, self.spec.architecture, self.spec.d_sae);
        let results = results.join("saes");
        create_folder(&results)?;
        free_folder(&results, &name)
    }
}

/// A new folder of this name, or of the first number after it that is free. It is made while it is looked for, so that two that
/// look at once have one each.
fn free_folder(parent: &Path, name: &str) -> Result<PathBuf> {
    let mut at = 1_u32;
    loop {
        let folder = parent.join(if at == 1 { name.to_owned() } else { format!("{name}-{at}") });
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => at += 1,
            made => return made.map(|()| folder.clone()).map_err(|error| Error::io(folder, error)),
        }
    }
}

impl Job for TrainJob {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        let filling = &mut self.filling;
        let more = self.training.step(&mut |done, total| *filling = Some((done, total)), tick)?;
        self.filling = None;
        if let Some(error) = self.training.trainers_mut().first_mut().and_then(Trainer::take_error) {
            return Err(error);
        }
        let report = self.training.trainers().first().and_then(Trainer::report);
        if let Some(report) = report.filter(|new| self.curve.last().is_none_or(|last| last.step < new.step)) {
            self.curve.push(report);
        }
        Ok(Step::more_if(more))
    }

    fn progress(&self) -> JobProgress {
        let figures = self.figures();
        let note = match (self.filling, figures) {
            (Some((done, total)), _) => format!("reading activations: {done} of {total} tokens"),
            (None, None) => "reading activations".into(),
            (None, Some(f)) => format!(
                "loss {:.3}, {:.1} % of the variance, L0 {:.1}, {:.1} % dead",
                f.loss,
                100.0 * f.explained_variance,
                f.l0,
                100.0 * f.dead
            ),
        };
        let total = match self.spec.budget {
            prunelens_core::train::Budget::Tokens(tokens) => tokens as usize,
            prunelens_core::train::Budget::Minutes(_) => 0,
        };
        JobProgress::new((figures.map_or(0, |f| f.tokens as usize).min(total), total), "tokens", note)
    }

    fn table(&self) -> MetricTable {
        let figures = self.figures();
        let row = |name: &str, better, get: fn(&TrainFigures) -> f64| MetricRow {
            category: "training".into(),
            name: name.into(),
            better,
            values: vec![figures.as_ref().map(get).filter(|value| value.is_finite())],
        };
        MetricTable {
            metric: Self::NAME.into(),
            settings: self.settings.clone(),
            variants: vec![Variant::Trained],
            rows: vec![
                row("explained_variance", Better::Higher, |f| f.explained_variance),
                row("loss", Better::Lower, |f| f.loss),
                row("mse", Better::Lower, |f| f.mse),
                row("l0", Better::Neither, |f| f.l0),
                row("dead", Better::Lower, |f| f.dead),
                row("tokens_per_second", Better::Higher, |f| f.tokens_per_second),
            ],
            warnings: vec![
                "figures of the last 50 steps, on tokens as they were trained on; measure core for held-out text"
                    .into(),
            ],
            progress: figures.map_or(0.0, |f| f.progress),
            blocks: Vec::new(),
        }
    }

    fn details(&self) -> Vec<Detail> {
        curves(&self.curve)
    }

    fn state(&self) -> Result<Vec<u8>> {
        let state = self.training.trainers().first().map(Trainer::to_bytes).transpose()?.flatten();
        let reports = self.curve.iter().map(|f| serde_json::to_string(f).map_err(|e| Error::invalid(e.to_string())));
        to_bytes(&(state, reports.collect::<Result<Vec<_>>>()?))
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let (state, reports): (Option<Vec<u8>>, Vec<String>) = from_bytes(state)?;
        if let (Some(state), Some(trainer)) = (state, self.training.trainers_mut().first_mut()) {
            trainer.restore(&state, self.session.sae.d_in())?;
        }
        self.curve = reports.iter().filter_map(|report| serde_json::from_str(report).ok()).collect();
        Ok(())
    }

    fn finish(&mut self, results: &Path) -> Result<Vec<PathBuf>> {
        let trainer = self.training.trainers().first();
        let state = trainer.map_or(Ok(None), Trainer::state)?.map(Cow::into_owned);
        let state = state.ok_or_else(|| Error::invalid("nothing was trained"))?;
        let report = Report { settings: &self.spec, data: &self.data, text_tokens: None, training: self.figures() };
        let folder = self.folder(results)?;
        let trainee = Trainee {
            name: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            model: &self.session.models.pruned,
            hook: self.session.hook,
            bos: self.session.spec.bos,
            context: self.context,
            text: self.text.clone(),
        };
        let written = trainee
            .save(state, &report, &folder, candle_core::DType::F32)
            .and_then(|()| write_atomic(folder.join(curve::FILE), curve::text(&self.curve)?.as_bytes()));
        if let Err(error) = written {
            // Half an SAE is none; the job still has all of it.
            let _ = fs::remove_dir_all(&folder);
            return Err(error);
        }
        self.trained = Some(folder.clone());
        Ok(["cfg.json", "sae_weights.safetensors", report::FILE, curve::FILE].map(|name| folder.join(name)).to_vec())
    }

    fn trained(&self) -> Option<&Path> {
        self.trained.as_deref()
    }
}

/// The curves of a run against the tokens trained on.
pub fn curves(reports: &[TrainFigures]) -> Vec<Detail> {
    if reports.len() < 2 {
        return Vec::new();
    }
    let line = |title: &str, label: &str, get: fn(&TrainFigures) -> f64| {
        let points = reports.iter().map(|report| (report.tokens as f64, get(report))).collect();
        let series = Series { name: "this run".into(), variant: Some(Variant::Trained), points, mark: None };
        Detail::lines(title, "tokens", label, vec![series])
    };
    vec![
        line("curve: explained variance", "EV", |f| f.explained_variance),
        line("curve: loss", "loss", |f| f.loss),
        line("curve: L0", "L0", |f| f.l0),
        line("curve: share of dead latents", "dead", |f| f.dead),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trainings_that_end_at_once_have_a_folder_each() {
        const ENDED: usize = 16;
        let parent = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(ENDED);
        let end = || {
            start.wait();
            free_folder(parent.path(), "sae").unwrap()
        };
        let mut folders: Vec<PathBuf> = std::thread::scope(|scope| {
            let ended: Vec<_> = (0..ENDED).map(|_| scope.spawn(end)).collect();
            ended.into_iter().map(|ended| ended.join().unwrap()).collect()
        });
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), ENDED);
        assert!(folders.contains(&parent.path().join("sae")) && folders.contains(&parent.path().join("sae-16")));
    }
}
