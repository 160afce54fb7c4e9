//! SCR on one pair of classes: three probes, one of them on texts in which the two labels go together.

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
        Draw, LinearProbe, TextJob, TextMetric, TextOptions, TextSet, Unit, UnitResult,
        choice::SCR_SETS,
        collect::{Rows, Summary},
        linear::Dense,
        plan::{Plan, chosen, cost},
        report::Layout,
        run::Column,
    },
};

/// Spurious correlation removal.
#[derive(Clone, Debug, PartialEq)]
pub struct Scr(pub Ablations);

/// The three probes: of the second label, of the class, and of both at once.
pub const PROBES: usize = 3;
const SECOND: usize = 0;
const CLASS: usize = 1;
const BIASED: usize = 2;

/// Probes of a pair of classes, then figures of the SAEs.
#[derive(Default, Serialize, Deserialize)]
pub struct Work {
    probes: Vec<LinearProbe>,
    results: Vec<UnitResult>,
}

/// What all probes are tested on and effects are taken over: one draw a probe.
pub struct Draws {
    /// Draws that probes are trained on.
    pub train: Vec<Draw>,
    /// Draws that probes are tested on.
    pub test: Vec<Draw>,
}

impl Draws {
    /// All rows of a set against all of its partner's. The order means nothing but to the training of the probes.
    pub fn new(train: &[Vec<usize>], test: &[Vec<usize>], chance: &mut Rng) -> Self {
        let mut draw = |sets: &[Vec<usize>]| -> Vec<Draw> {
            let (pairs, _) = sets.as_chunks::<2>();
            pairs.iter().map(|[set, partner]| Draw::pair(set, partner, chance)).collect()
        };
        Self { train: draw(train), test: draw(test) }
    }
}

/// `[data][probe]`: what each probe makes of each couple of sets.
pub type Table = [[f64; PROBES]; PROBES];

/// What probes tell, with and without ablation.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracies {
    /// Without ablation.
    pub clean: Table,
    /// For each probe whose latents are ablated, and each number of them.
    pub ablated: Vec<Vec<Table>>,
}

impl Accuracies {
    /// `sae` is the place of the reader's latents in `rows`.
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
        let mut texts: Vec<usize> = draws.test.iter().flat_map(|draw| draw.0.iter().map(|(row, _)| *row)).collect();
        texts.sort_unstable();
        texts.dedup();
        let (mut clean, mut ablated) = ([[f64::NAN; PROBES]; PROBES], Vec::new());
        for probe in 0..PROBES {
            let effects = effects(latents, &draws.train[probe], &dots.stored[probe], Effect::Absolute);
            let order = strongest(&effects, n_values.last().copied().unwrap_or(0));
            let logits = Logits::new(rows, latents, texts.iter().copied(), probes, &dots, &order, n_values);
            let mut levels = (0..=n_values.len()).map(|level| table(&logits, &draws.test, level));
            clean = levels.next().unwrap_or(clean);
            ablated.push(levels.collect());
            tick()?;
        }
        Ok(Self { clean, ablated })
    }

    /// Scores at each number of ablated latents.
    pub fn result(&self, n_values: &[usize]) -> UnitResult {
        // Direction 1: without the latents of the second label, how well does the biased probe know the class?
        let directions = [(SECOND, CLASS), (CLASS, SECOND)];
        let chosen = scores::scr_direction(self.clean[CLASS][BIASED], self.clean[SECOND][BIASED]);
        let mut result = UnitResult::default();
        for (level, n) in n_values.iter().enumerate() {
            let score = directions.map(|(ablated, data)| {
                let found = self.ablated[ablated][level][data][BIASED];
                scores::scr(self.clean[data][data], self.clean[data][BIASED], found)
            });
            let [first, metric, second] = names(*n);
            result.figures.push((first, score[0]));
            result.figures.extend(chosen.map(|direction| (metric, score[direction])));
            result.figures.push((second, score[1]));
        }
        for (name, probe, data) in [
            ("second label", SECOND, SECOND),
            ("class", CLASS, CLASS),
            ("both", BIASED, BIASED),
            ("both, tested on the class", BIASED, CLASS),
            ("both, tested on the second label", BIASED, SECOND),
        ] {
            result.of_model.push((format!("probe of {name}"), self.clean[data][probe]));
        }
        result
    }
}

fn table(logits: &Logits, draws: &[Draw], level: usize) -> Table {
    [0, 1, 2].map(|data| [0, 1, 2].map(|probe| logits.accuracy(&draws[data], level, probe)))
}

fn names(n: usize) -> [String; 3] {
    ["dir1", "metric", "dir2"].map(|what| format!("scr_{what}_threshold_{n}"))
}

fn sets(sets: &[TextSet]) -> Vec<Vec<usize>> {
    sets.iter().map(|set| set.rows.clone()).collect()
}

impl Scr {
    fn chance(&self, unit: &Unit, what: &str) -> Rng {
        Rng::named(self.0.sizes.seed, &format!("{}/{what}", unit.name))
    }

    fn draws(&self, unit: &Unit) -> Draws {
        Draws::new(&sets(&unit.train), &sets(&unit.test), &mut self.chance(unit, "draws"))
    }
}

impl Metric for TextJob<Scr> {
    const NAME: &'static str = "scr";
    const TITLE: &'static str = "Whether a probe loses a second label it should not go by when latents are ablated";
    const PARAMS: &'static [Param] = PARAMS;
    type Options = TextOptions;

    fn cost(session: &Session, options: &TextOptions) -> Result<Cost> {
        cost(session, options, true)
    }

    fn new(session: &Session, options: &TextOptions) -> Result<Self> {
        let n_values = chosen("--latents", &options.n_values, &N_VALUES, &N_VALUES)?;
        let mut plan = Plan::new(session, options)?;
        let units = plan.of_pairs(session, !options.datasets.is_empty())?;
        let family = Scr(Ablations::of(n_values, &plan, &units));
        plan.job(session, options, family, units)
    }
}

impl TextMetric for Scr {
    type Work = Work;

    fn name(&self) -> &'static str {
        TextJob::<Self>::NAME
    }

    fn summary(&self, train: bool) -> Summary {
        if train { Summary::Mean } else { Summary::Sum }
    }

    fn columns(&self) -> Vec<Column> {
        let column = |name| Column { category: "scr_metrics", name, better: Better::Higher };
        N_VALUES.iter().flat_map(|n| names(*n)).map(column).collect()
    }

    fn compute(&self, unit: &Unit, rows: &Rows, readers: &[&Reader], work: &mut Work, tick: Tick) -> Result<bool> {
        if work.probes.len() < PROBES {
            let (at, draws) = (work.probes.len(), self.draws(unit));
            let mut chance = self.chance(unit, SCR_SETS[2 * at]);
            let examples = Dense { values: &rows.means, width: rows.width };
            let start = LinearProbe::random(rows.width, &mut chance);
            let trained = start.train(&examples, &draws.train[at], &draws.test[at], TRAINING, &mut chance, tick)?;
            work.probes.push(trained.0);
        } else if let Some(reader) = readers.get(work.results.len()) {
            let (at, n_values) = (work.results.len(), &self.0.n_values);
            let accuracies = Accuracies::measure((rows, at), reader, &work.probes, &self.draws(unit), n_values, tick)?;
            work.results.push(accuracies.result(n_values));
        }
        Ok(work.results.len() < readers.len())
    }

    fn progress(&self, _: &Unit, readers: usize, work: &Work) -> (f64, String) {
        let done = work.probes.len() + work.results.len();
        let what = if work.probes.len() < PROBES { "probes" } else { "ablations" };
        (done as f64 / (PROBES + readers) as f64, what.into())
    }

    fn finish(&self, _: &Unit, _: usize, work: &Work) -> Result<Vec<UnitResult>> {
        Ok(work.results.clone())
    }
}

impl Layout for Scr {
    const OF_CLASS: &'static str = "scr_";

    fn config(&self, reader: &Reader, model_name: &str) -> Value {
        self.0.config(true, reader, model_name)
    }

    fn detail_name(&self, unit: &str) -> String {
        format!("{unit}_results")
    }

    fn unstructured(&self, _: &str, _: &UnitResult, _: &mut Map<String, Value>) {}
}
