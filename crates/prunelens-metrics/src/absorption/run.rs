//! The run over all models and variants, in small steps.

mod measure;

use std::{ops::Range, sync::Arc};

use prunelens_core::{
    compare::Reader,
    digest::fnv1a,
    error::{Error, Result},
    model::{HookPoint, Site, Tokenizer, tokens_at_once},
    progress::Tick,
    rng::Rng,
    sae::Latents,
};

use super::{
    AbsorptionSpec, LETTERS,
    calculator::absorption,
    directions::Directions,
    latents::{activations, encode},
    probe::{Probe, Recipe, Rows, Training},
    prompts::Prompts,
    result::{AbsorptionResult, Basis, LetterResult, Mean, check_comparable},
    scores::Confusion,
    sparse,
    state::{ModelWork, VariantWork, Work},
};
use crate::readers::groups;

/// An absorption run that can be stopped and gone on with after every few prompts.
pub struct AbsorptionRun {
    spec: AbsorptionSpec,
    /// All at the block's output, whatever the SAE was trained on.
    readers: Vec<Reader>,
    /// Where the SAEs were meant to read.
    hook: HookPoint,
    tokenizer: Tokenizer,
    bos: bool,
    prompts: Option<Arc<Prompts>>,
    /// Readers of the same activations, by their place in `readers`.
    groups: Vec<Vec<usize>>,
    work: Work,
    /// By model, once its probe is trained.
    truths: Vec<Option<Truth>>,
    /// Of the reader that is being worked on; made again after a break.
    current: Option<Current>,
}

/// What a model's own probe knows of the test words.
struct Truth {
    /// By letter.
    letters: Vec<Confusion>,
    /// Words, by their place among the test words, whose letter it sees, of letters that count; none if too few count.
    known: Vec<usize>,
}

struct Current {
    reader: usize,
    directions: Directions,
    /// Of training words and of test words.
    train: Latents,
    test: Latents,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Task {
    Prompts,
    Read { group: usize, from: usize },
    Probe { group: usize },
    ReadAgain { group: usize, from: usize },
    Encode { reader: usize },
    OnLatents { reader: usize },
    Letter { reader: usize, class: usize },
    Words { reader: usize, from: usize },
}

impl AbsorptionRun {
    /// Measure `readers`. Their words come from `tokenizer`, their activations from the output of the block they read in.
    pub fn new(spec: AbsorptionSpec, readers: Vec<Reader>, tokenizer: Tokenizer, bos: bool) -> Result<Self> {
        let Some(hook) = readers.first().map(|r| r.hook) else {
            return Err(Error::invalid("there is no variant to measure; the session has no SAE"));
        };
        if spec.max_k_value == 0 || spec.k_sparse_probe_batch_size == 0 || spec.k_sparse_probe_num_epochs == 0 {
            return Err(Error::Usage("absorption needs at least one latent, one epoch and a batch of one word".into()));
        }
        let at_output = |reader: Reader| {
            let hook = HookPoint { layer: reader.hook.layer, site: Site::ResidPost };
            Reader::new(reader.variant, reader.model, reader.sae, reader.pruning, hook, reader.space)
        };
        let readers = readers.into_iter().map(at_output).collect::<Result<Vec<_>>>()?;
        let groups = groups(&readers);
        let work = Work {
            digest: 0,
            models: vec![ModelWork::default(); groups.len()],
            variants: vec![VariantWork::default(); readers.len()],
        };
        let truths = groups.iter().map(|_| None).collect();
        Ok(Self { spec, readers, hook, tokenizer, bos, prompts: None, groups, work, truths, current: None })
    }

    /// What the run was asked to do.
    pub fn spec(&self) -> &AbsorptionSpec {
        &self.spec
    }

    /// The variants that are measured.
    pub fn readers(&self) -> &[Reader] {
        &self.readers
    }

    /// Where the SAEs were meant to read.
    pub fn hook(&self) -> HookPoint {
        self.hook
    }

    /// Words and prompts, once they are made.
    pub fn prompts(&self) -> Option<&Prompts> {
        self.prompts.as_deref()
    }

    /// Readers of the same activations.
    pub fn groups(&self) -> &[Vec<usize>] {
        &self.groups
    }

    fn next(&self) -> Option<Task> {
        let Some(prompts) = &self.prompts else { return Some(Task::Prompts) };
        for (group, readers) in self.groups.iter().enumerate() {
            let model = &self.work.models[group];
            let from = model.x.len() / self.width(group);
            if from < prompts.rows.len() {
                return Some(Task::Read { group, from });
            }
            if !model.trained {
                return Some(Task::Probe { group });
            }
            let from = model.again.len() / self.width(group);
            let again = self.known_words(group).len();
            if from < again {
                return Some(Task::ReadAgain { group, from });
            }
            for &reader in readers {
                let variant = &self.work.variants[reader];
                let (letters, words) = (variant.letters.len(), variant.words.len());
                if letters == LETTERS && words == again {
                    continue;
                }
                if self.current.as_ref().is_none_or(|c| c.reader != reader) {
                    return Some(Task::Encode { reader });
                }
                return Some(match (variant.trained, letters) {
                    (false, _) => Task::OnLatents { reader },
                    (true, LETTERS) => Task::Words { reader, from: words },
                    (true, class) => Task::Letter { reader, class },
                });
            }
        }
        None
    }

    fn perform(&mut self, task: Task, tick: Tick) -> Result<()> {
        if task == Task::Prompts {
            let prompts = Prompts::new(&self.tokenizer, &self.spec, self.bos, tick)?;
            self.check(&prompts)?;
            self.work.digest = prompts.digest;
            self.prompts = Some(Arc::new(prompts));
            return Ok(());
        }
        let Some(prompts) = self.prompts.clone() else { return Ok(()) };
        match task {
            Task::Prompts => Ok(()),
            Task::Read { group, from } => {
                let end = self.some_prompts(group, from, prompts.rows.len(), &prompts);
                let x = activations(self.first(group), &prompts.rows[from..end], prompts.position(), tick)?;
                self.work.models[group].x.extend(x);
                Ok(())
            }
            Task::Probe { group } => self.train_probe(group, &prompts, tick),
            Task::ReadAgain { group, from } => {
                let known = self.known_words(group);
                let end = self.some_prompts(group, from, known.len(), &prompts);
                let rows: Vec<_> = known[from..end].iter().map(|&at| prompts.calculator[at].clone()).collect();
                let x = activations(self.first(group), &rows, prompts.position(), tick)?;
                self.work.models[group].again.extend(x);
                Ok(())
            }
            Task::Encode { reader } => {
                self.current = None;
                let (model, probe) = self.model_of(reader)?;
                let directions = Directions::new(&self.readers[reader], &probe, tick)?;
                let (train, test) = model.x.split_at(prompts.training * self.readers[reader].sae.d_in());
                let train = encode(&self.readers[reader], &directions, train, tick)?;
                let test = encode(&self.readers[reader], &directions, test, tick)?;
                self.current = Some(Current { reader, directions, train, test });
                Ok(())
            }
            Task::OnLatents { reader } => self.train_on_latents(reader, &prompts, tick),
            Task::Letter { reader, class } => self.train_letter(reader, class, &prompts, tick),
            Task::Words { reader, from } => self.look_at_words(reader, from, &prompts, tick),
        }
    }

    /// How many prompts go through a reader's model between two looks at what the user wants.
    pub fn prompts_at_once(&self, reader: &Reader) -> usize {
        let d_model = reader.model.config.d_model as f64;
        let length = self.prompts.as_ref().map_or(1, |p| p.length()).max(1);
        (tokens_at_once(24.0 * d_model * d_model, &reader.model.device) / length).max(1)
    }

    /// Whether the models can read the prompts.
    fn check(&self, prompts: &Prompts) -> Result<()> {
        for reader in &self.readers {
            let config = &reader.model.config;
            if prompts.length() > config.n_ctx {
                return Err(Error::invalid(format!(
                    "prompts of the first-letter task have {} tokens, {} reads at most {}",
                    prompts.length(),
                    reader.model.name,
                    config.n_ctx
                )));
            }
            prunelens_core::data::rows::check_rows(&prompts.rows, config.d_vocab)?;
        }
        Ok(())
    }

    fn first(&self, group: usize) -> &Reader {
        &self.readers[self.groups[group][0]]
    }

    fn width(&self, group: usize) -> usize {
        self.first(group).sae.d_in()
    }

    fn group_of(&self, reader: usize) -> usize {
        self.groups.iter().position(|group| group.contains(&reader)).unwrap_or(0)
    }

    /// The activations that a reader gets, and the probe trained on them.
    fn model_of(&self, reader: usize) -> Result<(&ModelWork, Probe)> {
        let model = &self.work.models[self.group_of(reader)];
        let probe = model.training.as_ref().filter(|_| model.trained).map(|t| t.probe.clone());
        Ok((model, probe.ok_or_else(|| Error::invalid("the ground-truth probe is not trained"))?))
    }

    /// Prompts that go through a model together, in equal parts.
    fn some_prompts(&self, group: usize, from: usize, all: usize, prompts: &Prompts) -> usize {
        let at_once = self.prompts_at_once(self.first(group)).min(prompts.rows.len());
        from + (all - from).div_ceil((all - from).div_ceil(at_once))
    }

    fn train_probe(&mut self, group: usize, prompts: &Prompts, tick: Tick) -> Result<()> {
        let width = self.width(group);
        let model = &mut self.work.models[group];
        let recipe = Recipe::ground_truth(self.spec.random_seed);
        // Variants on both models start from the same weights.
        let start = || Training::new(Probe::random(width, &mut Rng::new(recipe.seed, u64::MAX)));
        let training = model.training.get_or_insert_with(start);
        let rows = Rows::Dense(&model.x[..prompts.training * width], width);
        model.trained = !training.step(&recipe, rows, &classes(prompts, 0..prompts.training), tick)?;
        self.truths[group] = self.find_truth(group, prompts);
        Ok(())
    }

    fn train_on_latents(&mut self, reader: usize, prompts: &Prompts, tick: Tick) -> Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        let recipe = self.recipe_on_latents(prompts);
        let variant = &mut self.work.variants[reader];
        let start = || Training::new(Probe::random(current.train.d_sae, &mut Rng::new(recipe.seed, u64::MAX)));
        let training = variant.training.get_or_insert_with(start);
        let more =
            training.step(&recipe, Rows::Sparse(&current.train), &classes(prompts, 0..prompts.training), tick)?;
        variant.trained = !more;
        Ok(())
    }

    fn recipe_on_latents(&self, prompts: &Prompts) -> Recipe {
        let (spec, l1) = (&self.spec, self.spec.k_sparse_probe_l1_decay);
        let batch = prompts.latent_batch(spec.k_sparse_probe_batch_size);
        Recipe::on_latents(batch, spec.k_sparse_probe_num_epochs, l1, spec.random_seed)
    }

    fn train_letter(&mut self, reader: usize, class: usize, prompts: &Prompts, tick: Tick) -> Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        let variant = &mut self.work.variants[reader];
        let Some(training) = &variant.training else { return Ok(()) };
        let best = sparse::largest(&training.probe, class, self.spec.max_k_value);
        let train = classes(prompts, 0..prompts.training);
        let probes = sparse::train(&current.train, &train, class, best, tick)?;
        let test = classes(prompts, prompts.training..prompts.words.len());
        variant.f1.push(probes.f1(&current.test, &test, class));
        variant.letters.push(probes);
        if variant.letters.len() == LETTERS {
            // The latents are chosen: their probe is of no more use, and large.
            variant.training = None;
        }
        Ok(())
    }

    fn look_at_words(&mut self, reader: usize, from: usize, prompts: &Prompts, tick: Tick) -> Result<()> {
        const AT_ONCE: usize = 64;
        let Some(current) = &self.current else { return Ok(()) };
        let (model, probe) = self.model_of(reader)?;
        let known = self.known_words(self.group_of(reader));
        let range = from..(from + AT_ONCE).min(known.len());
        let d_in = self.readers[reader].sae.d_in();
        let x = &model.again[range.start * d_in..range.end * d_in];
        let latents = encode(&self.readers[reader], &current.directions, x, tick)?;
        let variant = &self.work.variants[reader];
        let mut found = Vec::with_capacity(range.len());
        for (row, (&word, x)) in known[range].iter().zip(x.chunks(d_in)).enumerate() {
            let class = prompts.test_words()[word].class;
            let projection = onto(x, &probe.row(class));
            let main = variant.letters[class].main(&variant.f1[class], self.spec.f1_jump_threshold);
            found.push(absorption(projection, latents.row(row), &current.directions.cosines, class, main));
        }
        self.work.variants[reader].words.extend(found);
        Ok(())
    }

    fn known_words(&self, group: usize) -> &[usize] {
        self.truths[group].as_ref().map_or(&[], |truth| &truth.known)
    }

    /// Try a model's trained probe on the test words.
    fn find_truth(&self, group: usize, prompts: &Prompts) -> Option<Truth> {
        let (model, width) = (&self.work.models[group], self.width(group));
        let probe = &model.training.as_ref().filter(|_| model.trained)?.probe;
        let rows = Rows::Dense(&model.x[prompts.training * width..], width);
        let scores: Vec<_> = (0..rows.len()).map(|row| probe.scores(rows, row)).collect();
        let words = prompts.test_words();
        let confusion = |class: usize| {
            Confusion::above(0.0, scores.iter().zip(words).map(|(s, w)| (f64::from(s[class]), w.class == class)))
        };
        let letters: Vec<_> = (0..LETTERS).map(confusion).collect();
        let counts: Vec<bool> = letters.iter().map(|l| self.counts(l)).collect();
        let enough = counts.iter().filter(|c| **c).count() >= self.spec.min_feats_for_eval;
        let seen = |at: &usize| counts[words[*at].class] && scores[*at][words[*at].class] > 0.0;
        Some(Truth { letters, known: (0..words.len()).filter(|at| enough && seen(at)).collect() })
    }

    /// Whether the model tells a letter well enough for the letter to be evaluated.
    fn counts(&self, truth: &Confusion) -> bool {
        truth.f1() > self.spec.min_gt_probe_f1
    }

    /// What is known of a variant so far.
    pub fn result(&self, reader: usize) -> AbsorptionResult {
        let group = self.group_of(reader);
        let mut result = AbsorptionResult {
            variant: self.readers[reader].variant,
            letters: Vec::new(),
            mean: None,
            basis: Basis { prompts: self.work.digest, probe: 0, training_words: 0, test_words: 0 },
        };
        let Some(prompts) = &self.prompts else { return result };
        (result.basis.training_words, result.basis.test_words) = (prompts.training, prompts.test_words().len());
        let Some(truth) = &self.truths[group] else { return result };
        let variant = &self.work.variants[reader];
        let known = self.known_words(group);
        result.basis.probe = self.probe_digest(group);
        result.letters = truth
            .letters
            .iter()
            .enumerate()
            .map(|(class, truth)| {
                let (f1, probes) = (variant.f1.get(class), variant.letters.get(class));
                let main = probes.zip(f1).map(|(p, f1)| p.main(f1, self.spec.f1_jump_threshold).to_vec());
                let words = known.iter().map(|&at| &prompts.test_words()[at]).zip(&variant.words);
                let words = words.filter(|(word, _)| word.class == class);
                LetterResult {
                    class,
                    probe_f1: truth.f1(),
                    counts: self.counts(truth),
                    sparse_f1: f1.cloned().unwrap_or_default(),
                    main: main.unwrap_or_default(),
                    true_positives: truth.true_positives,
                    words: words.map(|(word, found)| (word.text.clone(), found.clone())).collect(),
                }
            })
            .collect();
        if variant.letters.len() == LETTERS && variant.words.len() == known.len() {
            result.mean = Mean::of(&result.letters, &self.spec);
        }
        result
    }

    fn probe_digest(&self, group: usize) -> u64 {
        let probe = self.work.models[group].training.as_ref().map(|t| &t.probe);
        let values = probe.into_iter().flat_map(|p| p.weights.iter().flatten().chain(&p.biases));
        fnv1a(values.map(|v| u64::from(v.to_bits())))
    }

    /// The results of all variants, once [`step`](crate::job::Measure::step) has nothing left to do.
    pub fn finish(&self) -> Result<Vec<AbsorptionResult>> {
        if self.next().is_some() {
            return Err(Error::invalid("the absorption metric is not finished"));
        }
        let results: Vec<_> = (0..self.readers.len()).map(|reader| self.result(reader)).collect();
        check_comparable(&results, &self.groups)?;
        Ok(results)
    }
}

fn classes(prompts: &Prompts, range: Range<usize>) -> Vec<usize> {
    prompts.words[range].iter().map(|word| word.class).collect()
}

/// Projection of an activation on a direction.
pub fn onto(x: &[f32], direction: &[f32]) -> f64 {
    let (mut dot, mut square) = (0.0, 0.0);
    for (&x, &d) in x.iter().zip(direction) {
        dot += f64::from(x) * f64::from(d);
        square += f64::from(d) * f64::from(d);
    }
    if square > 0.0 { dot / square.sqrt() } else { 0.0 }
}
