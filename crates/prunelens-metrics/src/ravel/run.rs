//! The run over all prompts, attributes and variants, a batch at a time.

mod measure;

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use prunelens_core::{
    compare::{Reader, Variant},
    digest::{Fnv1a, fnv1a_of},
    error::{Error, Result},
    model::{HookPoint, Model, Site, Tokenizer, ragged::cross_entropy},
    progress::Tick,
    rng::Rng,
};

use super::{
    RavelSpec,
    mask::{Inputs, Mask, answers, first_tokens, temperature, train_step, unchanged_answers},
    pairs::{Pair, Pairs, pairs},
    prompts::{Answer, Asking, Prefixes, Prompt, known},
    state::{Cursor, Outcome, State},
};
use crate::readers::partition;

/// The prompts of one entity class.
pub struct Class {
    /// Such as `city`.
    pub name: String,
    /// All attributes of the class.
    pub attributes: Vec<String>,
    /// Those measured, by their place.
    pub chosen: Vec<usize>,
    /// All that may be part of a pair.
    pub prompts: Vec<Prompt>,
}

/// One attribute of one class.
struct Task {
    class: usize,
    attribute: usize,
    pairs: Pairs,
}

/// A RAVEL run that can be stopped and gone on with after every batch.
pub struct RavelRun {
    spec: RavelSpec,
    classes: Vec<Class>,
    tokenizer: Tokenizer,
    /// The model whose answers decide which prompts are used, and what the right tokens are.
    asked: Arc<Model>,
    readers: Vec<Reader>,
    /// Where the SAEs were meant to read.
    hook: HookPoint,
    /// Readers of the same model, by their place in `readers`.
    groups: Vec<Vec<usize>>,
    state: State,
    /// Made once all prompts are asked.
    tasks: Vec<Task>,
    prefixes: Vec<(Arc<Model>, Prefixes)>,
    /// The batch at work, for the readers of a group that follow.
    inputs: Option<(Cursor, Inputs)>,
}

/// Prompts asked at a time.
const AT_ONCE: usize = 32;

/// What a variant's run gave: class by class, attribute by attribute.
pub type Outcomes<'a> = Vec<(&'a str, Vec<(&'a str, &'a Outcome)>)>;

impl RavelRun {
    /// Measure `readers`, all of the residual stream after one block, on prompts that `asked` answers right; `hook` is
    /// where their SAEs were meant to read. The models must be [`readable`](prunelens_core::model::ragged::readable).
    pub fn new(
        spec: RavelSpec,
        classes: Vec<Class>,
        tokenizer: Tokenizer,
        asked: Arc<Model>,
        readers: Vec<Reader>,
        hook: HookPoint,
    ) -> Result<Self> {
        let Some(first) = readers.first() else {
            return Err(Error::invalid("there is no variant to measure; the session has no SAE"));
        };
        if readers.iter().any(|r| r.hook != first.hook || r.hook.site != Site::ResidPost) {
            return Err(Error::invalid("RAVEL changes the residual stream after one block, the same for all variants"));
        }
        if spec.llm_batch_size == 0 || spec.n_generated_tokens == 0 || !(0.0..1.0).contains(&spec.train_test_split) {
            return Err(Error::invalid("RAVEL needs batches, answers and a share to train on"));
        }
        let asking = Asking { tokenizer: &tokenizer, count: spec.n_generated_tokens };
        for class in &classes {
            if class.chosen.len() < 2 {
                return Err(Error::invalid(format!("{}: RAVEL needs at least two attributes", class.name)));
            }
            asking.check(&asked, &class.prompts)?;
        }
        let groups = partition(&readers, |a, b| Arc::ptr_eq(&a.model, &b.model));
        let state = State {
            of: fingerprint(&spec, &classes, &asked, &readers),
            answers: vec![Vec::new(); classes.len()],
            ..State::default()
        };
        let mut run = Self {
            spec,
            classes,
            tokenizer,
            asked,
            readers,
            hook,
            groups,
            state,
            tasks: Vec::new(),
            prefixes: Vec::new(),
            inputs: None,
        };
        run.reset_masks();
        Ok(run)
    }

    /// What the run was asked to do.
    pub fn spec(&self) -> &RavelSpec {
        &self.spec
    }

    /// The variants that are measured.
    pub fn readers(&self) -> &[Reader] {
        &self.readers
    }

    /// The class whose prompts are not all asked.
    fn unasked(&self) -> Option<usize> {
        (0..self.classes.len()).find(|&c| self.state.answers[c].len() < self.classes[c].prompts.len())
    }

    fn ask(&mut self, class: usize, tick: Tick) -> Result<()> {
        let prompts = &self.classes[class].prompts;
        let start = self.state.answers[class].len();
        let some: Vec<&Prompt> = prompts[start..].iter().take(AT_ONCE).collect();
        let asking = Asking { tokenizer: &self.tokenizer, count: self.spec.n_generated_tokens };
        let model = self.asked.clone();
        let said = asking.ask(&model, prefixes(&mut self.prefixes, &model), &some, tick)?;
        self.state.answers[class].extend(said);
        Ok(())
    }

    /// Draw the pairs of all attributes: the same for all variants.
    fn pair(&mut self) -> Result<()> {
        let mut tasks = Vec::new();
        for (at, class) in self.classes.iter().enumerate() {
            let known = known(&class.prompts, &self.state.answers[at], self.spec.top_n_entities);
            for &attribute in &class.chosen {
                let mut rng = Rng::new(self.spec.random_seed, 1 + tasks.len() as u64);
                let names = (class.name.as_str(), &class.attributes[..]);
                let pairs = pairs(&class.prompts, &known, attribute, &class.chosen, &self.spec, names, &mut rng)?;
                tasks.push(Task { class: at, attribute, pairs });
            }
        }
        self.state.outcomes.resize(tasks.len(), vec![Outcome::default(); self.readers.len()]);
        self.state.unchanged.resize(tasks.len(), vec![(0, 0); self.groups.len()]);
        self.tasks = tasks;
        Ok(())
    }

    /// One batch for one reader, or for the unchanged model.
    fn work(&mut self, tick: Tick) -> Result<()> {
        let at = self.state.at;
        let task = &self.tasks[at.task];
        let group = &self.groups[at.group];
        let size = self.spec.llm_batch_size;
        let batches = task.pairs.train.len() / size;
        let of = if at.testing { &task.pairs.test } else { &task.pairs.train };
        let which = if at.testing { at.batch } else { at.batch % batches };
        let some = &of[which * size..(which + 1) * size];
        let prompts = &self.classes[task.class].prompts;
        let model = self.readers[group[0]].model.clone();
        let place = Cursor { member: 0, ..at };
        let inputs = match self.inputs.take() {
            Some((kept, inputs)) if kept == place => inputs,
            _ => {
                let side = |of: fn(&Pair) -> usize| some.iter().map(|p| &prompts[of(p)]).collect::<Vec<_>>();
                let (base, source) = (side(|p| p.base), side(|p| p.source));
                let hook = self.readers[group[0]].hook;
                Inputs::read(&model, prefixes(&mut self.prefixes, &model), hook, &base, &source, tick)?
            }
        };
        let inputs = &self.inputs.insert((place, inputs)).1;
        let targets: Vec<u32> = some.iter().map(|p| p.target).collect();
        let how = (self.spec.n_generated_tokens, self.tokenizer.eos);
        let asking = Asking { tokenizer: &self.tokenizer, count: how.0 };
        let right = |pair: &Pair, said: &[u32]| {
            asking.is_right(&prompts[pair.base].text, &prompts[pair.labelled()].label, said)
        };
        if let Some(&member) = group.get(at.member) {
            let (reader, mask) = (&self.readers[member], &mut self.state.masks[at.member]);
            let outcome = &mut self.state.outcomes[at.task][member];
            if at.testing {
                let (logits, said) = answers(&model, reader, inputs, mask, how, tick)?;
                outcome.losses.push(cross_entropy(&logits, &targets)?.0);
                outcome.first.merge(first_tokens(&*model.ops, &logits, some)?);
                for (pair, said) in some.iter().zip(&said) {
                    outcome.tally.add(pair.is_cause(), right(pair, said));
                }
                outcome.selected = mask.selected();
                outcome.done = (at.batch + 1) * size == of.len();
            } else {
                let heat = temperature(at.batch, batches * self.spec.num_epochs);
                let rate = self.spec.learning_rate;
                outcome.training_loss = train_step(&model, reader, inputs, &targets, mask, heat, rate, tick)?;
            }
            outcome.seen = fnv1a_of(&(outcome.seen, at.testing, some));
        } else {
            let (_, said) = unchanged_answers(&model, inputs, None, how, tick)?;
            let (rights, all) = &mut self.state.unchanged[at.task][at.group];
            for (pair, said) in some.iter().zip(&said).filter(|(pair, _)| !pair.cause) {
                *rights += usize::from(right(pair, said));
                *all += 1;
            }
        }
        self.advance();
        Ok(())
    }

    fn advance(&mut self) {
        let task = &self.tasks[self.state.at.task];
        let size = self.spec.llm_batch_size;
        let members = self.groups[self.state.at.group].len();
        let at = &mut self.state.at;
        at.member += 1;
        // When testing, the unchanged model comes last.
        if at.member < members + usize::from(at.testing) {
            return;
        }
        (at.member, at.batch) = (0, at.batch + 1);
        self.inputs = None;
        let train = task.pairs.train.len() / size * self.spec.num_epochs;
        if at.testing && at.batch * size == task.pairs.test.len() {
            (at.testing, at.batch, at.group) = (false, 0, at.group + 1);
            if at.group == self.groups.len() {
                (at.group, at.task) = (0, at.task + 1);
            }
            self.reset_masks();
        } else if !at.testing && at.batch >= train {
            (at.testing, at.batch) = (true, 0);
        }
    }

    fn reset_masks(&mut self) {
        let group = &self.groups[self.state.at.group];
        self.state.masks = group.iter().map(|&r| Mask::new(self.readers[r].sae.d_sae())).collect();
    }

    /// Whether every index of the state is in its bounds.
    fn check_state(&self) -> Option<()> {
        let at = self.state.at;
        let group = self.groups.get(at.group)?;
        let widths: Vec<usize> = group.iter().map(|&r| self.readers[r].sae.d_sae()).collect();
        let masks = self.state.masks.iter().map(|m| m.is_whole().then_some(m.logits.len()));
        let mut ok = masks.collect::<Option<Vec<_>>>()? == widths && at.member <= group.len();
        ok &= self.state.outcomes.iter().all(|o| o.len() == self.readers.len());
        ok &= self.state.unchanged.iter().all(|u| u.len() == self.groups.len());
        if self.tasks.is_empty() {
            return (ok && at == Cursor::default()).then_some(());
        }
        ok &= self.state.outcomes.len() == self.tasks.len() && self.state.unchanged.len() == self.tasks.len();
        if let Some(task) = self.tasks.get(at.task) {
            let of = if at.testing { task.pairs.test.len() } else { task.pairs.train.len() * self.spec.num_epochs };
            ok &= at.batch * self.spec.llm_batch_size < of;
        } else {
            ok &= at == Cursor { task: self.tasks.len(), ..Cursor::default() };
        }
        ok.then_some(())
    }

    /// Outcomes of one variant, in the order of classes and attributes; those not begun are empty.
    pub(super) fn outcomes(&self, reader: usize) -> Outcomes<'_> {
        static NONE: Outcome = Outcome::NONE;
        let mut all = Vec::new();
        let mut at = 0;
        for class in &self.classes {
            let of = |(at, attribute): (usize, &usize)| {
                let outcome = self.state.outcomes.get(at).and_then(|o| o.get(reader)).unwrap_or(&NONE);
                (class.attributes[*attribute].as_str(), outcome)
            };
            let attributes = class.chosen.iter().enumerate().map(|(i, a)| of((at + i, a))).collect();
            at += class.chosen.len();
            all.push((class.name.as_str(), attributes));
        }
        all
    }

    /// Of the unchanged model that a variant reads: right answers to base prompts of pairs that must stay, and all, by task.
    pub(super) fn unchanged(&self, reader: usize) -> Vec<(usize, usize)> {
        let group = self.groups.iter().position(|g| g.contains(&reader)).unwrap_or_default();
        let tasks: usize = self.classes.iter().map(|c| c.chosen.len()).sum();
        (0..tasks).map(|t| self.state.unchanged.get(t).map_or((0, 0), |u| u[group])).collect()
    }

    /// Of each class: its name, its prompts, and how many of them are known so far.
    pub(super) fn known(&self) -> Vec<(&str, usize, usize)> {
        let right = |answers: &Vec<Answer>| answers.iter().filter(|a| a.right).count();
        let classes = self.classes.iter().zip(&self.state.answers);
        classes.map(|(class, answers)| (class.name.as_str(), class.prompts.len(), right(answers))).collect()
    }

    /// Of each task: pairs to train and to test on.
    pub(super) fn pair_counts(&self) -> Vec<(usize, usize)> {
        self.tasks.iter().map(|t| (t.pairs.train.len(), t.pairs.test.len())).collect()
    }

    /// The outcomes of all variants, once [`step`](crate::job::Measure::step) has nothing left to do.
    pub fn finish(&self) -> Result<Vec<(Variant, Outcomes<'_>)>> {
        if self.tasks.is_empty() || self.state.at.task < self.tasks.len() {
            return Err(Error::invalid("RAVEL is not finished"));
        }
        let all: Vec<_> = (0..self.readers.len()).map(|r| (self.readers[r].variant, self.outcomes(r))).collect();
        check_comparable(&all)?;
        Ok(all)
    }
}

/// Every variant must have been trained and tested on the same pairs in the same order: otherwise comparing them means
/// nothing.
pub fn check_comparable(all: &[(Variant, Outcomes)]) -> Result<()> {
    let Some((first, expected)) = all.first() else { return Ok(()) };
    for (variant, outcomes) in &all[1..] {
        let pairs =
            expected.iter().zip(outcomes).flat_map(|((class, a), (_, b))| a.iter().zip(b).map(move |p| (class, p)));
        for (class, ((attribute, a), (_, b))) in pairs {
            let counts = |o: &Outcome| (o.tally.cause.1, o.tally.isolation.1);
            if a.seen != b.seen || counts(a) != counts(b) {
                return Err(Error::invalid(format!(
                    "{first} and {variant} were not measured on the same pairs of {class} {attribute}: the figures cannot be compared; start the run anew"
                )));
            }
        }
    }
    Ok(())
}

fn prefixes<'a>(all: &'a mut Vec<(Arc<Model>, Prefixes)>, model: &Arc<Model>) -> &'a mut Prefixes {
    let at = all.iter().position(|(m, _)| Arc::ptr_eq(m, model)).unwrap_or_else(|| {
        all.push((model.clone(), Prefixes::default()));
        all.len() - 1
    });
    &mut all[at].1
}

/// All that makes one run another.
fn fingerprint(spec: &RavelSpec, classes: &[Class], asked: &Model, readers: &[Reader]) -> u64 {
    let mut hasher = Fnv1a::default();
    format!("{spec:?} {}", asked.name).hash(&mut hasher);
    for class in classes {
        (&class.name, &class.attributes, &class.chosen).hash(&mut hasher);
        class.prompts.iter().for_each(|p| (&p.ids, p.at, p.attribute, &p.label).hash(&mut hasher));
    }
    for r in readers {
        let pruning = r.pruning.as_ref().map(|p| (p.order.knob.to_string(), p.at.to_bits()));
        (r.variant, &r.model.name, &r.sae.config.name, r.hook, pruning, r.space.name()).hash(&mut hasher);
    }
    hasher.finish()
}
