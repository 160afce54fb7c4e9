//! Which SAEs a sweep of one layer measures: a reader each, all on the same rows.

use std::collections::HashSet;

use prunelens_core::{
    compare::{Reader, Variant},
    error::{Error, Result},
    model::HookPoint,
    progress::Tick,
    sae::{Knob, Pruning},
    session::Session,
};

use super::{Curve, LayerResult, Mode, PointFigures, SweepSpec, paper::PaperRun};
use crate::{
    Measure,
    core::{Blocks, CoreRun, CoreSpec},
};

/// Text for a sweep.
#[derive(Clone, Debug)]
pub struct SweepRows {
    /// Batch, context, and where the text comes from.
    pub core: CoreSpec,
    /// In masked mode of `core.context_size` tokens; in paper mode batches of documents.
    pub batches: Vec<Vec<Vec<u32>>>,
    /// Tokens that reconstructions are not measured on.
    pub special: HashSet<u32>,
}

/// One layer under way.
pub struct LayerRun {
    hook: HookPoint,
    /// Place of each variant without a ratio among the readers.
    fixed: Vec<(Variant, usize)>,
    curves: Vec<(Knob, Vec<(f64, usize)>)>,
    run: Run,
}

enum Run {
    Masked(Box<CoreRun>),
    Paper(PaperRun),
}

impl LayerRun {
    /// Rank the SAE's weights and set up a reader for each point.
    pub fn new(
        session: &Session,
        spec: &SweepSpec,
        variants: &[Variant],
        rows: &SweepRows,
        tick: Tick,
    ) -> Result<Self> {
        let wanted = |variant| variants.is_empty() || variants.contains(&variant);
        let mut readers: Vec<Reader> = Vec::new();
        let mut fixed = Vec::new();
        for variant in [Variant::Original, Variant::Transfer, Variant::Trained] {
            if !wanted(variant) {
                continue;
            }
            match session.reader(variant, session.setting)? {
                Some(reader) => {
                    fixed.push((variant, readers.len()));
                    readers.push(reader);
                }
                None if variants.is_empty() => {}
                None => return Err(Error::invalid(format!("variant {variant} is not part of this session"))),
            }
        }
        let mut curves = Vec::new();
        if wanted(Variant::Pruned) {
            let transfer = session.reader(Variant::Transfer, session.setting)?;
            let unpruned = transfer.ok_or_else(|| Error::invalid("the session has no SAE to sweep"))?;
            // The SAE as it is begins every curve.
            let start = fixed.iter().find(|(variant, _)| *variant == Variant::Transfer).map(|(_, at)| *at);
            let start = start.unwrap_or_else(|| {
                readers.push(unpruned.clone());
                readers.len() - 1
            });
            for &knob in &spec.knobs {
                let order = session.order(knob, tick)?;
                let mut points = vec![(knob.scale(session.sae.d_in()).untouched(), start)];
                for &at in &spec.settings {
                    let mut reader = unpruned.clone();
                    reader.variant = Variant::Pruned;
                    reader.pruning = Some(Pruning { order: order.clone(), at });
                    points.push((at, readers.len()));
                    readers.push(reader);
                }
                curves.push((knob, points));
            }
        }
        let run = match spec.mode {
            Mode::Masked => {
                let all = rows.batches.concat();
                let run = CoreRun::new(rows.core.clone(), readers, all, rows.special.clone())?;
                Run::Masked(Box::new(run.without_weights()))
            }
            Mode::Paper => Run::Paper(PaperRun::new(readers, rows.batches.clone())?),
        };
        Ok(Self { hook: session.hook, fixed, curves, run })
    }

    /// Do the next part; false when all is done.
    pub fn step(&mut self, tick: Tick) -> Result<bool> {
        match &mut self.run {
            Run::Masked(run) => run.step(tick),
            Run::Paper(run) => run.step(tick),
        }
    }

    /// Tokens done and in all.
    pub fn progress(&self) -> (usize, usize) {
        match &self.run {
            Run::Masked(run) => run.progress(),
            Run::Paper(run) => run.progress(),
        }
    }

    /// SAEs that are measured.
    pub fn points(&self) -> usize {
        let pruned: usize = self.curves.iter().map(|(_, points)| points.len() - 1).sum();
        let start = usize::from(!self.curves.is_empty() && !self.fixed.iter().any(|(v, _)| *v == Variant::Transfer));
        self.fixed.len() + pruned + start
    }

    /// What is known so far.
    pub fn result(&self) -> LayerResult {
        let figures = |reader: usize| match &self.run {
            Run::Masked(run) => PointFigures::from(&run.result(reader)),
            Run::Paper(run) => run.figures(reader),
        };
        let curve = |(knob, points): &(Knob, Vec<(f64, usize)>)| Curve {
            knob: *knob,
            points: points.iter().map(|&(at, reader)| (at, figures(reader))).collect(),
        };
        LayerResult {
            hook: self.hook,
            fixed: self.fixed.iter().map(|&(variant, reader)| (variant, figures(reader))).collect(),
            curves: self.curves.iter().map(curve).collect(),
        }
    }

    /// What the rows add up to for each SAE, once all are read; nothing in paper mode, where a figure is a mean of batches.
    pub fn blocks(&self) -> Vec<Blocks> {
        let Run::Masked(run) = &self.run else { return Vec::new() };
        let fixed = self.fixed.iter().map(|&(variant, reader)| (variant, None, reader));
        let pruned = self.curves.iter().flat_map(|(knob, points)| {
            points.iter().map(|&(at, reader)| (Variant::Pruned, Some((knob.to_string(), at)), reader))
        });
        let of = |(variant, at, reader): (Variant, Option<(String, f64)>, usize)| {
            run.blocks(reader).map(|blocks| Blocks { variant, at, ..blocks })
        };
        fixed.chain(pruned).filter_map(of).collect()
    }

    /// The result when all is done, checked.
    pub fn finish(&self) -> Result<LayerResult> {
        if let Run::Masked(run) = &self.run {
            run.finish()?;
        }
        Ok(self.result())
    }

    /// What is done, for `restore`.
    pub fn state(&self) -> Result<Vec<u8>> {
        match &self.run {
            Run::Masked(run) => run.state(),
            Run::Paper(run) => run.state(),
        }
    }

    /// Go on from the state of a run over the same data, settings and variants.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        match &mut self.run {
            Run::Masked(run) => run.restore(state),
            Run::Paper(run) => run.restore(state),
        }
    }
}
