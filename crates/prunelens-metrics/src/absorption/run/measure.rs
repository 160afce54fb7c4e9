//! The run as others see it: steps, what it is doing, figures so far, state, files.

use std::sync::Arc;

use prunelens_core::{
    compare::{Reader, Variant},
    error::{Error, Result},
    progress::Tick,
};

use super::{AbsorptionRun, Task};
use crate::{
    Detail, MetricTable,
    absorption::{
        AbsorptionResult, letter,
        probe::{Recipe, Training},
        prompts::Prompts,
        report::{Used, result_file},
        state::Work,
        summary,
    },
    job::{Measure, from_bytes, to_bytes},
    readers::groups,
    report::{Identity, ResultFile, RunStamp},
};

impl Measure for AbsorptionRun {
    const UNIT: &'static str = "prompts";

    /// Do the next part. False when all is done. An error from `tick` loses at most this step's work, and the next call takes
    /// it up again.
    fn step(&mut self, tick: Tick) -> Result<bool> {
        if let Some(task) = self.next() {
            self.perform(task, tick)?;
        }
        Ok(self.next().is_some())
    }

    /// Prompts read, and to be read for all models; the second ones are guessed until they are known.
    fn progress(&self) -> (usize, usize) {
        let guess = self.spec.max_words.unwrap_or(20_000).min(20_000);
        let mut total = (0, 0);
        for (group, model) in self.work.models.iter().enumerate() {
            let width = self.width(group);
            total.0 += (model.x.len() + model.again.len()) / width;
            total.1 += match &self.prompts {
                None => guess * 6 / 5,
                Some(prompts) if model.trained => prompts.rows.len() + self.known_words(group).len(),
                Some(prompts) => prompts.rows.len() + prompts.calculator.len(),
            };
        }
        total
    }

    /// What it is doing, for people.
    fn note(&self) -> String {
        let percent = |training: Option<&Training>, recipe: Recipe| {
            let rows = self.prompts.as_ref().map_or(0, |p| p.training);
            training.map_or(0, |t| (100.0 * t.progress(&recipe, rows)) as usize)
        };
        let name = |reader: usize| self.readers[reader].variant;
        let model = |group: usize| if name(self.groups[group][0]) == Variant::Original { "original" } else { "pruned" };
        match self.next() {
            None => String::new(),
            Some(Task::Prompts) => "choosing words".into(),
            Some(Task::Read { group, .. }) => format!("reading words, {} model", model(group)),
            Some(Task::Probe { group }) => {
                let recipe = Recipe::ground_truth(self.spec.random_seed);
                let done = percent(self.work.models[group].training.as_ref(), recipe);
                format!("probe of the {} model {done} %", model(group))
            }
            Some(Task::ReadAgain { group, .. }) => format!("reading known words, {} model", model(group)),
            Some(Task::Encode { reader }) => format!("latents of {}", name(reader)),
            Some(Task::OnLatents { reader }) => {
                let training = self.work.variants[reader].training.as_ref();
                let done = self.prompts.as_ref().map_or(0, |p| percent(training, self.recipe_on_latents(p)));
                format!("probe on latents of {} {done} %", name(reader))
            }
            Some(Task::Letter { reader, class }) => {
                format!("latents of letter {} of {}", letter(class), name(reader))
            }
            Some(Task::Words { reader, .. }) => format!("absorption in {}", name(reader)),
        }
    }

    /// Figures so far.
    fn table(&self) -> MetricTable {
        let results: Vec<_> = (0..self.readers.len()).map(|reader| self.result(reader)).collect();
        let (done, total) = self.progress();
        let share = if self.next().is_none() { 1.0 } else { (done as f64 / total.max(1) as f64).min(0.999) };
        summary::table(self, &results, share)
    }

    /// Letters and absorbed words so far.
    fn details(&self) -> Vec<Detail> {
        let results: Vec<_> = (0..self.readers.len()).map(|reader| self.result(reader)).collect();
        summary::details(&results)
    }

    /// What is done, for [`restore`](Self::restore).
    fn state(&self) -> Result<Vec<u8>> {
        to_bytes(&self.work)
    }

    /// Go on from the state of a run with the same words and readers.
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let work: Work = from_bytes(state)?;
        let other = || Error::invalid("the saved state is of another absorption run; start it anew");
        if work.models.len() != self.groups.len() || work.variants.len() != self.readers.len() {
            return Err(other());
        }
        if work.digest == 0 {
            return Ok(());
        }
        // The prompts are made again: they are the same or the state is not of this run.
        let prompts = Prompts::new(&self.tokenizer, &self.spec, self.bos, &mut || Ok(()))?;
        let widths: Vec<usize> = (0..self.groups.len()).map(|group| self.width(group)).collect();
        if !work.fits(&prompts, &widths, &self.readers) {
            return Err(other());
        }
        (self.work, self.current) = (work, None);
        self.truths = (0..self.groups.len()).map(|group| self.find_truth(group, &prompts)).collect();
        self.prompts = Some(Arc::new(prompts));
        Ok(())
    }

    fn join(self, other: Self) -> Option<Self> {
        if self.spec != other.spec || self.hook != other.hook || self.bos != other.bos {
            return None;
        }
        let readers = self.readers.into_iter().chain(other.readers).collect();
        Self::new(self.spec, readers, self.tokenizer, self.bos).map(|run| Self { hook: self.hook, ..run }).ok()
    }

    fn state_of(&self, variants: &[usize]) -> Result<Vec<u8>> {
        self.finish()?;
        let readers: Vec<Reader> = variants.iter().map(|&at| self.readers[at].clone()).collect();
        let models = groups(&readers).into_iter().map(|group| self.group_of(variants[group[0]]));
        to_bytes(&self.work.of(models, variants))
    }

    /// One result file a variant that could be evaluated.
    fn files(&self, identities: &[Identity], stamp: &RunStamp) -> Result<Vec<Option<ResultFile>>> {
        let results = self.finish()?;
        let Some(prompts) = &self.prompts else { return Ok(Vec::new()) };
        let file = |((result, reader), identity): ((&AbsorptionResult, &Reader), &Identity)| {
            let used = Used {
                prompt_token_pos: -(prompts.from_end as i64),
                llm_batch_size: self.prompts_at_once(reader),
                k_sparse_probe_batch_size: prompts.latent_batch(self.spec.k_sparse_probe_batch_size),
                dtype: reader.model.dtype,
                hook: reader.hook.to_string(),
            };
            Some(result_file(&self.spec, &used, identity, stamp, result, result.mean.as_ref()?))
        };
        Ok(results.iter().zip(&self.readers).zip(identities).map(file).collect())
    }
}
