//! The run as others see it: steps, what it is doing, figures so far, state, files.

use prunelens_core::{
    compare::Variant,
    error::{Error, Result},
    progress::Tick,
};

use super::{Class, Outcomes, RavelRun, Task};
use crate::{
    Detail, MetricTable,
    job::{Measure, from_bytes, to_bytes},
    ravel::{
        pairs::Pair,
        report::{Circumstances, result_file},
        state::State,
        summary,
    },
    report::{Identity, ResultFile, RunStamp},
};

impl Measure for RavelRun {
    const UNIT: &'static str = "prompts";

    /// Do the next batch. False when all is done. An error from `tick` loses at most this step's work, and the next call takes it
    /// up again.
    fn step(&mut self, tick: Tick) -> Result<bool> {
        if let Some(class) = self.unasked() {
            self.ask(class, tick)?;
            return Ok(true);
        }
        if self.tasks.is_empty() {
            self.pair()?;
        }
        if self.state.at.task < self.tasks.len() {
            self.work(tick)?;
        }
        Ok(self.state.at.task < self.tasks.len())
    }

    /// Passes of single prompts done, and in all as far as it is known. A step of training counts as three.
    fn progress(&self) -> (usize, usize) {
        let asked: usize = self.state.answers.iter().map(Vec::len).sum();
        let to_ask: usize = self.classes.iter().map(|c| c.prompts.len()).sum();
        let work = |train: usize, test: usize| {
            3 * train * self.spec.num_epochs * self.readers.len() + test * (self.readers.len() + self.groups.len())
        };
        if self.tasks.is_empty() {
            let most = |class: &Class, attribute: usize| {
                let mine = class.prompts.iter().filter(|p| p.attribute == attribute).count();
                let pairs = 2 * mine.min(self.spec.num_pairs_per_attribute);
                let train = (pairs as f64 * self.spec.train_test_split) as usize;
                work(train, pairs - train)
            };
            let all: usize = self.classes.iter().flat_map(|c| c.chosen.iter().map(|&a| most(c, a))).sum();
            return (asked, to_ask + all);
        }
        let of = |task: &Task| work(task.pairs.train.len(), task.pairs.test.len());
        let at = self.state.at;
        let mut done: usize = asked + self.tasks[..at.task].iter().map(of).sum::<usize>();
        if let Some(task) = self.tasks.get(at.task) {
            let size = self.spec.llm_batch_size;
            let train = 3 * task.pairs.train.len() * self.spec.num_epochs;
            for group in &self.groups[..at.group] {
                done += train * group.len() + task.pairs.test.len() * (group.len() + 1);
            }
            let members = self.groups[at.group].len();
            done += if at.testing {
                train * members + size * (at.batch * (members + 1) + at.member)
            } else {
                3 * size * (at.batch * members + at.member)
            };
        }
        (done, to_ask + self.tasks.iter().map(of).sum::<usize>())
    }

    /// What it is doing, for people.
    fn note(&self) -> String {
        if let Some(class) = self.unasked() {
            let (done, all) = (self.state.answers[class].len(), self.classes[class].prompts.len());
            let right = self.state.answers[class].iter().filter(|a| a.right).count();
            return format!("{}: {done} of {all} prompts asked, {right} known", self.classes[class].name);
        }
        let at = self.state.at;
        if self.tasks.is_empty() {
            return "drawing pairs".into();
        }
        let Some(task) = self.tasks.get(at.task) else { return String::new() };
        let class = &self.classes[task.class];
        let size = self.spec.llm_batch_size;
        let variants: Vec<&str> = self.groups[at.group].iter().map(|&r| self.readers[r].variant.name()).collect();
        let batches = |pairs: &[Pair]| pairs.len() / size;
        let doing = if at.testing {
            format!("testing, batch {} of {}", at.batch + 1, batches(&task.pairs.test))
        } else {
            format!("training, batch {} of {}", at.batch + 1, batches(&task.pairs.train) * self.spec.num_epochs)
        };
        format!("{} {}, {}: {doing}", class.name, class.attributes[task.attribute], variants.join(" "))
    }

    /// Figures so far, with the same names and order from the first batch to the last.
    fn table(&self) -> MetricTable {
        let (done, total) = self.progress();
        summary::table(self, done as f64 / total.max(1) as f64)
    }

    fn details(&self) -> Vec<Detail> {
        summary::details(self)
    }

    /// What is done, for [`restore`](Self::restore).
    fn state(&self) -> Result<Vec<u8>> {
        to_bytes(&self.state)
    }

    /// Go on from the state of a run over the same prompts, settings and readers.
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let other = || Error::invalid("the saved state is of another RAVEL run; start it anew");
        let state: State = from_bytes(state)?;
        let fits = state.of == self.state.of
            && state.answers.len() == self.classes.len()
            && state.answers.iter().zip(&self.classes).all(|(a, c)| a.len() <= c.prompts.len());
        if !fits {
            return Err(other());
        }
        let fresh = std::mem::replace(&mut self.state, state);
        (self.inputs, self.tasks) = (None, Vec::new());
        let paired = if self.unasked().is_none() { self.pair() } else { Ok(()) };
        let checked = paired.and_then(|()| self.check_state().ok_or_else(other));
        if checked.is_err() {
            (self.state, self.tasks) = (fresh, Vec::new());
        }
        checked
    }

    /// One result file a variant.
    fn files(&self, identities: &[Identity], stamp: &RunStamp) -> Result<Vec<Option<ResultFile>>> {
        let results = self.finish()?;
        let file = |(at, (identity, (_, outcomes))): (usize, (&Identity, &(Variant, Outcomes)))| {
            let around = Circumstances {
                asked: self.asked.name.clone(),
                hooks: [self.hook, self.readers[at].hook].map(|hook| hook.to_string()),
                prompts: self.known().into_iter().map(|(class, all, known)| (class.into(), all, known)).collect(),
                pairs: self.pair_counts(),
                unchanged: self.unchanged(at),
            };
            Some(result_file(&self.spec, identity, stamp, outcomes, &around))
        };
        Ok(identities.iter().zip(&results).enumerate().map(file).collect())
    }
}
