//! TPP on one data set: a probe a class, and what becomes of all of them when the latents of one are ablated.

use prunelens_core::{compare::Reader, error::Result, progress::Tick, rng::Rng, session::Session};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Ablations, N_VALUES, PARAMS, TRAINING,
    ablate::{DecoderDots, Effect, Logits, effects, strongest},
    scores,
};
use crate::{
    Better, Cost, Metric, Param,
    texts::{
        Draw, LinearProbe, Permutations, TextJob, TextMetric, TextOptions, Unit, UnitResult,
        collect::{Rows, Summary},
        linear::Dense,
        plan::{Plan, chosen, cost},
        report::{Layout, by_class},
        run::Column,
    },
};

/// Targeted probe perturbation.
#[derive(Clone, Debug, PartialEq)]
pub struct Tpp(pub Ablations);

/// Probes of the classes, then figures of the SAEs.
#[derive(Default, Serialize, Deserialize)]
pub struct Work {
    probes: Vec<LinearProbe>,
    results: Vec<UnitResult>,
}

/// Rows that everything is measured on: drawn before anything is measured, in SAEBench's order.
pub struct Draws {
    /// One a class, of the test rows.
    pub clean: Vec<Draw>,
    /// One a class, of the training rows.
    pub effects: Vec<Draw>,
    /// Ablated class, number of latents, evaluated class.
    pub ablated: Vec<Vec<Vec<Draw>>>,
}

impl Draws {
    /// Draws balanced sets for each class from these texts.
    pub fn new(train: &[Vec<usize>], test: &[Vec<usize>], n_values: usize, chance: &mut impl Permutations) -> Self {
        let mut all = |sets: &[Vec<usize>]| -> Vec<Draw> {
            (0..sets.len()).map(|class| Draw::one_against_rest(sets, class, chance)).collect()
        };
        let (clean, effects) = (all(test), all(train));
        let ablated = test.iter().map(|_| (0..n_values).map(|_| all(test)).collect()).collect();
        Self { clean, effects, ablated }
    }
}

/// Accuracies of all probes.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracies {
    /// Of each class's probe, without ablation.
    pub clean: Vec<f64>,
    /// Ablated class, number of latents, evaluated class.
    pub ablated: Vec<Vec<Vec<f64>>>,
}

impl Accuracies {
    /// Ablate the latents of one class after the other in the texts of `draws`. `sae` is the place of the reader's latents
    /// in `rows`.
    pub fn measure(
        (rows, sae): (&Rows, usize),
        reader: &Reader,
        probes: &[LinearProbe],
        draws: &Draws,
        n_values: &[usize],
        tick: Tick,
    ) -> Result<Self> {
        let latents = &rows.latents[sae];
        let dots = DecoderDots::new(reader, probes, tick)?;
        let (mut clean, mut ablated) = (Vec::new(), Vec::new());
        for class in 0..probes.len() {
            let effects = effects(latents, &draws.effects[class], &dots.stored[class], Effect::Signed);
            let order = strongest(&effects, n_values.last().copied().unwrap_or(0));
            tick()?;
            let mut texts: Vec<usize> =
                draws.clean.iter().flat_map(|draw| draw.0.iter().map(|(row, _)| *row)).collect();
            texts.extend(draws.ablated[class].iter().flatten().flat_map(|draw| draw.0.iter().map(|(row, _)| *row)));
            texts.sort_unstable();
            texts.dedup();
            let logits = Logits::new(rows, latents, texts.into_iter(), probes, &dots, &order, n_values);
            clean = (0..probes.len()).map(|probe| logits.accuracy(&draws.clean[probe], 0, probe)).collect();
            let of_level = |(level, draws): (usize, &Vec<Draw>)| {
                draws.iter().enumerate().map(|(probe, draw)| logits.accuracy(draw, level + 1, probe)).collect()
            };
            ablated.push(draws.ablated[class].iter().enumerate().map(of_level).collect());
            tick()?;
        }
        Ok(Self { clean, ablated })
    }

    /// Scores of every class and their means.
    pub fn result(&self, classes: &[String], n_values: &[usize]) -> UnitResult {
        let mut result = UnitResult::default();
        for (class, name) in classes.iter().enumerate() {
            let of_n = n_values.iter().enumerate().flat_map(|(level, n)| {
                let score = scores::tpp(&self.clean, &self.ablated[class][level], class);
                let values = [score.total, score.intended, score.unintended];
                names(*n).into_iter().zip(values)
            });
            result.classes.push((name.clone(), of_n.collect()));
        }
        for (at, name) in n_values.iter().flat_map(|n| names(*n)).enumerate() {
            let sum: f64 = result.classes.iter().map(|(_, values)| values[at].1).sum();
            result.figures.push((name, sum / classes.len() as f64));
        }
        let clean = classes.iter().zip(&self.clean).map(|(class, accuracy)| (format!("class {class}"), *accuracy));
        result.of_model = clean.collect();
        result
    }
}

fn names(n: usize) -> [String; 3] {
    ["total_metric", "intended_diff_only", "unintended_diff_only"].map(|what| format!("tpp_threshold_{n}_{what}"))
}

fn sets(sets: &[crate::texts::TextSet]) -> Vec<Vec<usize>> {
    sets.iter().map(|set| set.rows.clone()).collect()
}

impl Tpp {
    fn chance(&self, unit: &Unit, what: &str) -> Rng {
        Rng::named(self.0.sizes.seed, &format!("{}/tpp/{what}", unit.name))
    }

    fn train(&self, unit: &Unit, class: usize, rows: &Rows, tick: Tick) -> Result<LinearProbe> {
        let mut chance = self.chance(unit, &unit.train[class].name);
        let train = Draw::one_against_rest(&sets(&unit.train), class, &mut chance);
        let test = Draw::one_against_rest(&sets(&unit.test), class, &mut chance);
        let examples = Dense { values: &rows.means, width: rows.width };
        let start = LinearProbe::random(rows.width, &mut chance);
        Ok(start.train(&examples, &train, &test, TRAINING, &mut chance, tick)?.0)
    }
}

impl Metric for TextJob<Tpp> {
    const NAME: &'static str = "tpp";
    const TITLE: &'static str = "Whether ablating a class's latents hurts its probe and no other";
    const PARAMS: &'static [Param] = PARAMS;
    type Options = TextOptions;

    fn cost(session: &Session, options: &TextOptions) -> Result<Cost> {
        cost(session, options, false)
    }

    fn new(session: &Session, options: &TextOptions) -> Result<Self> {
        let n_values = chosen("--latents", &options.n_values, &N_VALUES, &N_VALUES)?;
        let plan = Plan::new(session, options)?;
        let units = plan.of_classes(session)?;
        let family = Tpp(Ablations::of(n_values, &plan, &units));
        plan.job(session, options, family, units)
    }
}

impl TextMetric for Tpp {
    type Work = Work;

    fn name(&self) -> &'static str {
        TextJob::<Self>::NAME
    }

    fn summary(&self, train: bool) -> Summary {
        if train { Summary::Mean } else { Summary::Sum }
    }

    fn columns(&self) -> Vec<Column> {
        let better = [Better::Higher, Better::Higher, Better::Lower];
        let of_n = |n: &usize| names(*n).into_iter().zip(better);
        let column = |(name, better)| Column { category: "tpp_metrics", name, better };
        N_VALUES.iter().flat_map(of_n).map(column).collect()
    }

    fn compute(&self, unit: &Unit, rows: &Rows, readers: &[&Reader], work: &mut Work, tick: Tick) -> Result<bool> {
        if work.probes.len() < unit.train.len() {
            let probe = self.train(unit, work.probes.len(), rows, tick)?;
            work.probes.push(probe);
        } else if let Some(reader) = readers.get(work.results.len()) {
            let n_values = &self.0.n_values;
            let mut chance = self.chance(unit, "draws");
            let draws = Draws::new(&sets(&unit.train), &sets(&unit.test), n_values.len(), &mut chance);
            let at = work.results.len();
            let accuracies = Accuracies::measure((rows, at), reader, &work.probes, &draws, n_values, tick)?;
            let classes: Vec<String> = unit.train.iter().map(|set| set.name.clone()).collect();
            work.results.push(accuracies.result(&classes, n_values));
        }
        Ok(work.results.len() < readers.len())
    }

    fn progress(&self, unit: &Unit, readers: usize, work: &Work) -> (f64, String) {
        let done = work.probes.len() + work.results.len();
        let what = if work.probes.len() < unit.train.len() { "probes" } else { "ablations" };
        (done as f64 / (unit.train.len() + readers) as f64, what.into())
    }

    fn finish(&self, _: &Unit, _: usize, work: &Work) -> Result<Vec<UnitResult>> {
        Ok(work.results.clone())
    }
}

impl Layout for Tpp {
    const OF_CLASS: &'static str = "total_metric";

    fn config(&self, reader: &Reader, model_name: &str) -> Value {
        self.0.config(false, reader, model_name)
    }

    fn detail_name(&self, unit: &str) -> String {
        format!("{unit}_tpp_results")
    }

    /// Data set, class, figure.
    fn unstructured(&self, name: &str, result: &UnitResult, out: &mut Map<String, Value>) {
        out.insert(name.to_owned(), Value::Object(by_class(result)));
    }
}
