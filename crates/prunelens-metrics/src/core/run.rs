//! The run over all batches and variants, a few rows at a time.

use std::{collections::HashSet, sync::Arc};

use candle_core::Tensor;

use super::{
    CoreResult, CoreSpec,
    activation::ActivationSums,
    blocks::{Blocks, blocks},
    downstream::DownstreamSums,
    inputs::Inputs,
    pass::{Ablated, Measured, Plan, measure},
    report::result_file,
    summary,
    weights::{WeightFigures, WeightRun},
};
use prunelens_core::{
    compare::{Reader, Variant},
    data::encode_ids,
    error::{Error, Result},
    model::tokens_at_once,
    progress::Tick,
    sae::Activation,
};
use serde::{Deserialize, Serialize};

use crate::{
    MetricTable,
    job::{Measure, from_bytes, to_bytes},
    readers::{groups, partition},
    report::{Identity, ResultFile, RunStamp},
};

/// A core run that can be stopped and gone on with after every few rows.
pub struct CoreRun {
    spec: CoreSpec,
    readers: Vec<Reader>,
    rows: Vec<Vec<u32>>,
    special: HashSet<u32>,
    /// Readers of the same model at the same hook in the same space, by their place in `readers`.
    groups: Vec<Vec<usize>>,
    /// What each group's model makes of zeros at the hook.
    ablated: Vec<Ablated>,
    sums: Vec<Sums>,
    /// Where the work is: rows of batch `batch` before `row` are done for the model of group `group`, with what they gave.
    batch: usize,
    group: usize,
    row: usize,
    measured: Measured,
    weights: Vec<WeightTask>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sums {
    downstream: DownstreamSums,
    activation: ActivationSums,
}

/// What a run goes on from: batches before `batch`, and models before `group` in it, are in `sums`.
#[derive(Serialize, Deserialize)]
struct State {
    batch: usize,
    group: usize,
    sums: Vec<Sums>,
    weights: Vec<Option<WeightFigures>>,
}

/// Figures of one SAE's weights, shared by the readers that have these weights.
struct WeightTask {
    readers: Vec<usize>,
    /// Made when its turn comes: it holds copies of the weights.
    run: Option<WeightRun>,
    done: Option<Arc<WeightFigures>>,
}

impl CoreRun {
    /// Measure `readers` on `rows`, leaving out the tokens in `special` as the metric's mask does.
    pub fn new(spec: CoreSpec, readers: Vec<Reader>, rows: Vec<Vec<u32>>, special: HashSet<u32>) -> Result<Self> {
        if readers.is_empty() {
            return Err(Error::invalid("there is no variant to measure; the session has no SAE"));
        }
        if spec.batch_size_prompts == 0 || spec.batches() == 0 {
            return Err(Error::invalid("the core metric needs at least one batch of at least one row"));
        }
        if rows.len() < spec.rows() {
            return Err(Error::invalid(format!(
                "the core metric needs {} rows of {} tokens, the text has {}; give more text or ask for fewer or shorter rows",
                spec.rows(),
                spec.context_size,
                rows.len()
            )));
        }
        let (_, length) = encode_ids(&rows)?;
        if length != spec.context_size || length < 2 {
            return Err(Error::invalid(format!("rows of {length} tokens for a context of {}", spec.context_size)));
        }
        let sums = readers.iter().map(|reader| Sums {
            downstream: DownstreamSums::default(),
            activation: ActivationSums::new(reader.sae.config.d_in, reader.sae.config.d_sae),
        });
        let groups = groups(&readers);
        Ok(Self {
            sums: sums.collect(),
            ablated: vec![None; groups.len()],
            groups,
            weights: partition(&readers, same_weights)
                .into_iter()
                .map(|readers| WeightTask { readers, run: None, done: None })
                .collect(),
            spec,
            readers,
            rows,
            special,
            batch: 0,
            group: 0,
            row: 0,
            measured: Measured::default(),
        })
    }

    /// Leave out the figures of the SAEs' weights: they take long, and only the core metric has use for them.
    pub fn without_weights(mut self) -> Self {
        self.weights.clear();
        self
    }

    /// What the run was asked to do.
    pub fn spec(&self) -> &CoreSpec {
        &self.spec
    }

    /// The variants that are measured.
    pub fn readers(&self) -> &[Reader] {
        &self.readers
    }

    fn measure_rows(&mut self, tick: Tick) -> Result<()> {
        let size = self.spec.batch_size_prompts;
        let readers: Vec<_> = self.groups[self.group].iter().map(|&r| &self.readers[r]).collect();
        let plan = Plan {
            downstream: self.batch < self.spec.n_eval_reconstruction_batches,
            activations: self.batch < self.spec.n_eval_sparsity_variance_batches,
            exclude_special: self.spec.exclude_special_tokens_from_reconstruction,
        };
        let start = self.batch * size + self.row;
        // In equal parts: a short last one would waste the matrix products.
        let left = size - self.row;
        let rows = left.div_ceil(left.div_ceil(rows_at_once(readers[0], self.spec.context_size)));
        let ablated = &mut self.ablated[self.group];
        let measured = measure(&readers, &self.rows[start..start + rows], &self.special, plan, ablated, tick)?;
        self.measured.extend(measured);
        self.row += rows;
        if self.row == size {
            self.take_batch()?;
        }
        Ok(())
    }

    /// One model is through a batch: add it to the sums of its readers and go on to the next model or batch.
    fn take_batch(&mut self) -> Result<()> {
        let measured = std::mem::take(&mut self.measured);
        let group = &self.groups[self.group];
        if let Some(losses) = &measured.losses {
            for (&reader, sae) in group.iter().zip(&losses.sae) {
                let sums = &mut self.sums[reader].downstream;
                sums.add(&losses.clean, &losses.ablation, sae, &measured.kept, self.spec.context_size);
            }
        }
        if !measured.errors.is_empty() {
            let spread = self.readers[group[0]].model.ops.spread(&Tensor::cat(&measured.x, 0)?, &measured.kept)?;
            let inputs = Inputs::new(spread, self.spec.context_size, measured.kept);
            for ((&reader, errors), firing) in group.iter().zip(&measured.errors).zip(&measured.firing) {
                self.sums[reader].activation.add(&inputs, errors, firing);
            }
        }
        self.row = 0;
        self.group = (self.group + 1) % self.groups.len();
        if self.group == 0 {
            self.batch += 1;
        }
        Ok(())
    }

    fn weigh(&mut self, at: usize, tick: Tick) -> Result<()> {
        let task = &mut self.weights[at];
        let run = match &mut task.run {
            Some(run) => run,
            None => {
                let reader = &self.readers[task.readers[0]];
                tick()?;
                let sae = reader.sae.pruned(reader.pruning.as_ref())?;
                let bias = match &sae.activation {
                    Activation::Gated { b_mag, .. } => b_mag,
                    _ => &sae.b_enc,
                };
                task.run.insert(WeightRun::new(&sae.w_enc, &sae.w_dec, bias, reader.model.ops.clone())?)
            }
        };
        if !run.step(tick)? {
            task.done = task.run.take().map(|run| Arc::new(run.figures()));
        }
        Ok(())
    }

    /// The results of all variants, once [`step`](Self::step) has nothing left to do.
    pub fn finish(&self) -> Result<Vec<(Variant, CoreResult)>> {
        let (done, total) = self.progress();
        if done < total || self.weights.iter().any(|task| task.done.is_none()) {
            return Err(Error::invalid("the core metric is not finished"));
        }
        let results: Vec<_> = (0..self.readers.len()).map(|r| (self.readers[r].variant, self.result(r))).collect();
        for group in &self.groups {
            check_comparable(group.iter().map(|&r| &results[r]))?;
        }
        Ok(results)
    }

    /// Of one reader, so far.
    pub fn result(&self, reader: usize) -> CoreResult {
        let sums = &self.sums[reader];
        let weights = self.weights.iter().find(|task| task.readers.contains(&reader));
        let tokens = |batches: usize| batches * self.spec.batch_size_prompts * self.spec.context_size;
        CoreResult {
            downstream: sums.downstream.figures(),
            activation: sums.activation.figures(),
            total_tokens_eval_reconstruction: tokens(self.spec.n_eval_reconstruction_batches),
            total_tokens_eval_sparsity_variance: tokens(self.spec.n_eval_sparsity_variance_batches),
            density: sums.activation.density(),
            weights: weights.and_then(|task| task.done.clone()).unwrap_or_default(),
        }
    }
}

impl CoreRun {
    /// What the rows of one reader add up to; nothing before all are read, or where losses and errors are of other rows.
    pub fn blocks(&self, reader: usize) -> Option<Blocks> {
        let (Reader { variant, .. }, sums) = (&self.readers[reader], &self.sums[reader]);
        let (losses, errors) = (sums.downstream.rows(), sums.activation.rows());
        let whole = self.batch == self.spec.batches() && losses.len() == errors.len();
        let rows: Vec<_> = losses.iter().zip(errors).map(|(losses, errors)| losses.and(*errors)).collect();
        let d_in = self.readers[reader].sae.config.d_in;
        whole.then(|| Blocks { variant: *variant, at: None, d_in, sums: blocks(&rows) })
    }
}

impl Measure for CoreRun {
    const UNIT: &'static str = "tokens";

    /// Do the next few rows of one model, or the next part of one SAE's weights. False when all is done. An error from `tick` loses
    /// at most this step's work, and the next call takes it up again.
    fn step(&mut self, tick: Tick) -> Result<bool> {
        if self.batch < self.spec.batches() {
            self.measure_rows(tick)?;
        } else if let Some(at) = self.weights.iter().position(|task| task.done.is_none()) {
            self.weigh(at, tick)?;
        }
        Ok(self.batch < self.spec.batches() || self.weights.iter().any(|task| task.done.is_none()))
    }

    /// Tokens of rows done for all models, and in all.
    fn progress(&self) -> (usize, usize) {
        let (rows, groups) = (self.spec.batch_size_prompts, self.groups.len());
        let done = self.batch * rows * groups + self.group * rows + self.row;
        (done * self.spec.context_size / groups, self.spec.rows() * self.spec.context_size)
    }

    /// What it is doing, for people.
    fn note(&self) -> String {
        if self.batch < self.spec.batches() {
            return format!("batch {} of {}", self.batch + 1, self.spec.batches());
        }
        match self.weights.iter().find(|task| task.done.is_none()) {
            Some(task) => {
                let name = self.readers[task.readers[0]].variant;
                let (done, total) = task.run.as_ref().map_or((0, 1), WeightRun::progress);
                format!("cosines of {name} {} %", 100 * done / total.max(1))
            }
            None => String::new(),
        }
    }

    /// Figures so far, with the same names and order from the first batch to the last.
    fn table(&self) -> MetricTable {
        let (done, total) = self.progress();
        let results: Vec<_> = (0..self.readers.len()).map(|r| self.result(r)).collect();
        let table = summary::table(&self.spec, &self.readers, &results, done as f64 / total as f64);
        MetricTable { blocks: (0..self.readers.len()).filter_map(|r| self.blocks(r)).collect(), ..table }
    }

    /// What is done, for [`restore`](Self::restore). A batch half done is left out: it is done again.
    fn state(&self) -> Result<Vec<u8>> {
        to_bytes(&State {
            batch: self.batch,
            group: self.group,
            sums: self.sums.clone(),
            weights: self.weights.iter().map(|task| task.done.as_deref().cloned()).collect(),
        })
    }

    /// Go on from the state of a run over the same rows and readers.
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let state: State = from_bytes(state)?;
        let same = state.sums.len() == self.sums.len() && state.weights.len() == self.weights.len();
        if !same || state.batch > self.spec.batches() || state.group >= self.groups.len() {
            return Err(Error::invalid("the saved state is of another core run; start it anew"));
        }
        (self.batch, self.group, self.row, self.sums) = (state.batch, state.group, 0, state.sums);
        self.measured = Measured::default();
        for (task, done) in self.weights.iter_mut().zip(state.weights) {
            task.done = done.map(Arc::new);
        }
        Ok(())
    }

    fn join(self, other: Self) -> Option<Self> {
        if self.spec != other.spec || self.rows != other.rows || self.special != other.special {
            return None;
        }
        let readers = self.readers.into_iter().chain(other.readers).collect();
        Self::new(self.spec, readers, self.rows, self.special).ok()
    }

    fn state_of(&self, variants: &[usize]) -> Result<Vec<u8>> {
        self.finish()?;
        let readers: Vec<&Reader> = variants.iter().map(|&at| &self.readers[at]).collect();
        let weights = partition(&readers, |a, b| same_weights(a, b)).into_iter().map(|task| {
            let of_it = self.weights.iter().find(|other| other.readers.contains(&variants[task[0]]));
            of_it.and_then(|task| task.done.as_deref().cloned())
        });
        to_bytes(&State {
            batch: self.batch,
            group: 0,
            sums: variants.iter().map(|&at| self.sums[at].clone()).collect(),
            weights: weights.collect(),
        })
    }

    /// One result file a variant.
    fn files(&self, identities: &[Identity], stamp: &RunStamp) -> Result<Vec<Option<ResultFile>>> {
        let results = self.finish()?;
        let files = identities.iter().zip(&self.readers).zip(&results);
        let file = |((identity, reader), (_, result)): ((&Identity, &Reader), &(Variant, CoreResult))| {
            Some(result_file(&self.spec, reader.model.dtype, identity, stamp, result))
        };
        Ok(files.map(file).collect())
    }
}

/// What the model and the text alone decide must be the same for all variants that read the model: otherwise they were
/// not measured on the same thing, and comparing them means nothing.
pub fn check_comparable<'a>(results: impl IntoIterator<Item = &'a (Variant, CoreResult)>) -> Result<()> {
    let mut results = results.into_iter();
    let Some((first, expected)) = results.next() else { return Ok(()) };
    let fixed = |r: &CoreResult| {
        [
            ("ce_loss_without_sae", r.downstream.ce_loss_without_sae),
            ("ce_loss_with_ablation", r.downstream.ce_loss_with_ablation),
            ("l2_norm_in", r.activation.l2_norm_in),
        ]
    };
    for (variant, result) in results {
        for ((name, expected), (_, found)) in fixed(expected).into_iter().zip(fixed(result)) {
            if expected != found && !(expected.is_nan() && found.is_nan()) {
                return Err(Error::invalid(format!(
                    "{variant} and {first} read the same model, but {name} is {found} for one and {expected} for the other: they cannot be compared"
                )));
            }
        }
    }
    Ok(())
}

/// Rows that go through a model together between two looks at what the user wants: a block costs some
/// `24 d_model^2` a token.
pub fn rows_at_once(reader: &Reader, length: usize) -> usize {
    let d_model = reader.model.config.d_model as f64;
    (tokens_at_once(24.0 * d_model * d_model, &reader.model.device) / length).max(1)
}

fn same_weights(a: &Reader, b: &Reader) -> bool {
    let pruning =
        |r: &Reader| r.pruning.as_ref().filter(|p| !p.is_untouched(&r.sae)).map(|p| (Arc::as_ptr(&p.order), p.at));
    Arc::ptr_eq(&a.sae, &b.sae) && pruning(a) == pruning(b)
}
