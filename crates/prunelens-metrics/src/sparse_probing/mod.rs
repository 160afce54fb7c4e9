//! Sparse probing: how well one, two or five latents tell the classes of texts apart.
//!
//! Names, formulas and draws are SAEBench's. One difference: it draws other rows against a class for every probe; here the
//! model's and all variants' probes of one kind are measured against the same rows.

pub mod top_k;

use prunelens_core::{
    compare::Reader,
    error::{Error, Result},
    progress::Tick,
    rng::Rng,
    session::Session,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::texts::{
    Draw, LinearProbe, TextJob, TextMetric, TextOptions, Unit, UnitResult,
    choice::Sizes,
    collect::{Rows, Summary},
    linear::{Dense, Examples, Training},
    options::params,
    plan::{Plan, chosen, cost},
    report::Layout,
    run::Column,
};
use crate::{Better, Cost, Kind, Metric, Param, report::llm_dtype};

/// What can be asked for: the fields of SAEBench's files.
pub const K_VALUES: [usize; 7] = [1, 2, 5, 10, 20, 50, 100];

/// Probes on everything, not on a few columns.
pub const FULL: Training = Training { epochs: 100, batch: 250, lr: 1e-2, l1_penalty: 0.0, patience: 10 };

/// Probes on few latents.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseProbing {
    /// Numbers of latents.
    pub k_values: Vec<usize>,
    /// Names of the data sets.
    pub datasets: Vec<String>,
    /// Real sizes: of the largest data set.
    pub sizes: Sizes,
}

/// Accuracies of a class: with everything, then for each k. First the model's, then those of each SAE.
#[derive(Default, Serialize, Deserialize)]
pub struct Work(Vec<Vec<f64>>);

const LATENTS: Param = Param {
    name: "k",
    help: "Numbers of latents that a probe reads, of 1,2,5,10,20,50,100 [default: 1,2,5]",
    kind: Kind::Counts { least: 1, most: 100 },
    default: |_| "1,2,5".into(),
    of_session: false,
};

impl Metric for TextJob<SparseProbing> {
    const NAME: &'static str = "sparse_probing";
    const TITLE: &'static str = "What one, two or five latents tell about the classes of texts";
    const PARAMS: &'static [Param] = &params(LATENTS);
    type Options = TextOptions;

    fn cost(session: &Session, options: &TextOptions) -> Result<Cost> {
        cost(session, options, false)
    }

    fn new(session: &Session, options: &TextOptions) -> Result<Self> {
        let k_values = chosen("--k", &options.k_values, &K_VALUES, &[1, 2, 5])?;
        let columns = session.sae.d_in().min(session.sae.d_sae());
        if let Some(k) = k_values.iter().find(|k| **k > columns) {
            let what = format!("--k {k}: activations or latents have {columns} columns, of which no {k} can be chosen");
            return Err(Error::Usage(what));
        }
        let plan = Plan::new(session, options)?;
        let units = plan.of_classes(session)?;
        let family = SparseProbing { k_values, datasets: plan.names(), sizes: plan.real_sizes(&units) };
        plan.job(session, options, family, units)
    }
}

impl TextMetric for SparseProbing {
    type Work = Work;

    fn name(&self) -> &'static str {
        TextJob::<Self>::NAME
    }

    fn summary(&self, _: bool) -> Summary {
        Summary::Mean
    }

    fn columns(&self) -> Vec<Column> {
        let of = |category: &'static str, better: Better| {
            let names = std::iter::once(format!("{category}_test_accuracy"))
                .chain(K_VALUES.iter().map(move |k| format!("{category}_top_{k}_test_accuracy")));
            names.map(move |name| Column { category, name, better })
        };
        of("llm", Better::Neither).chain(of("sae", Better::Higher)).collect()
    }

    fn compute(&self, unit: &Unit, rows: &Rows, readers: &[&Reader], work: &mut Work, tick: Tick) -> Result<bool> {
        let classes = unit.train.len();
        let (who, class) = (work.0.len() / classes, work.0.len() % classes);
        if who > readers.len() {
            return Ok(false);
        }
        work.0.push(match who {
            0 => self.accuracies(unit, class, "llm", &Dense { values: &rows.means, width: rows.width }, tick)?,
            sae => self.accuracies(unit, class, "sae", &rows.latents[sae - 1], tick)?,
        });
        Ok(work.0.len() < classes * (readers.len() + 1))
    }

    fn progress(&self, unit: &Unit, readers: usize, work: &Work) -> (f64, String) {
        (work.0.len() as f64 / (unit.train.len() * (readers + 1)) as f64, "probes".into())
    }

    /// Probes on everything stop when ten epochs bring nothing: with one or two steps an epoch that is before they begin.
    fn warning(&self, unit: &Unit) -> Option<String> {
        const STEADY: usize = 4;
        let steps = unit.train_size.div_ceil(FULL.batch);
        (steps < STEADY).then(|| {
            format!(
                "{} training texts are {steps} steps an epoch (SAEBench: 16), so probes on everything (llm_test_accuracy, sae_test_accuracy) may stop before they have learnt anything",
                unit.train_size
            )
        })
    }

    fn finish(&self, unit: &Unit, readers: usize, work: &Work) -> Result<Vec<UnitResult>> {
        let classes = unit.train.len();
        Ok((1..=readers)
            .map(|sae| self.result(unit, &work.0[..classes], &work.0[sae * classes..][..classes]))
            .collect())
    }
}

impl SparseProbing {
    fn accuracies(
        &self,
        unit: &Unit,
        class: usize,
        whose: &str,
        examples: &impl Examples,
        tick: Tick,
    ) -> Result<Vec<f64>> {
        let draws = |what: &str| {
            let mut chance = self.chance(unit, class, what);
            [&unit.train, &unit.test].map(|sets| {
                let rows: Vec<Vec<usize>> = sets.iter().map(|set| set.rows.clone()).collect();
                Draw::one_against_rest(&rows, class, &mut chance)
            })
        };
        let [train, test] = draws("full");
        let mut chance = self.chance(unit, class, whose);
        let start = LinearProbe::random(examples.width(), &mut chance);
        let (_, accuracy) = start.train(examples, &train, &test, FULL, &mut chance, tick)?;
        let mut accuracies = vec![accuracy];
        for &k in &self.k_values {
            let [train, test] = draws(&k.to_string());
            accuracies.push(top_k::fit(examples, &train, k).accuracy(examples, &test));
            tick()?;
        }
        Ok(accuracies)
    }

    fn chance(&self, unit: &Unit, class: usize, what: &str) -> Rng {
        Rng::named(self.sizes.seed, &format!("{}/{}/{what}", unit.name, unit.train[class].name))
    }

    fn names(&self, whose: &str) -> Vec<String> {
        let tops = self.k_values.iter().map(|k| format!("{whose}_top_{k}_test_accuracy"));
        std::iter::once(format!("{whose}_test_accuracy")).chain(tops).collect()
    }

    /// From accuracies of the model and of one SAE, class by class.
    fn result(&self, unit: &Unit, llm: &[Vec<f64>], sae: &[Vec<f64>]) -> UnitResult {
        let mut result = UnitResult::default();
        for (whose, accuracies) in [("llm", llm), ("sae", sae)] {
            for (at, name) in self.names(whose).into_iter().enumerate() {
                let sum: f64 = accuracies.iter().map(|of_class| of_class[at]).sum();
                result.figures.push((name, sum / accuracies.len() as f64));
            }
        }
        for (set, (llm, sae)) in unit.train.iter().zip(llm.iter().zip(sae)) {
            let of =
                |whose: &str, values: &[f64]| self.names(whose).into_iter().zip(values.to_vec()).collect::<Vec<_>>();
            result.classes.push((set.name.clone(), [of("llm", llm), of("sae", sae)].concat()));
            result.of_model.push((format!("class {}", set.name), llm[0]));
        }
        result
    }
}

impl Layout for SparseProbing {
    const OF_CLASS: &'static str = "sae_";

    fn config(&self, reader: &Reader, model_name: &str) -> Value {
        json!({
            "random_seed": self.sizes.seed,
            "dataset_names": self.datasets,
            "probe_train_set_size": self.sizes.train,
            "probe_test_set_size": self.sizes.test,
            "context_length": self.sizes.context,
            "sae_batch_size": 125,
            "llm_batch_size": null,
            "llm_dtype": llm_dtype(reader.model.dtype),
            "model_name": model_name,
            "k_values": self.k_values,
            "lower_vram_usage": false,
        })
    }

    fn detail_name(&self, unit: &str) -> String {
        format!("{unit}_results")
    }

    /// Data set, figure, class.
    fn unstructured(&self, name: &str, result: &UnitResult, out: &mut Map<String, Value>) {
        let mut figures = Map::new();
        for (figure, _) in &result.figures {
            let of = |values: &[(String, f64)]| values.iter().find(|(name, _)| name == figure).map(|(_, value)| *value);
            let classes = result.classes.iter().map(|(class, values)| (class.clone(), json!(of(values))));
            figures.insert(figure.clone(), Value::Object(classes.collect()));
        }
        out.insert(format!("{name}_results"), Value::Object(figures));
    }
}
