//! What to do with the SAE of each layer, by rules that can be set.

use std::fmt;

use prunelens_core::{compare::Variant, session::layers::ranges};
use serde::{Deserialize, Serialize};

use super::{
    VariantAt,
    layer::LayerFigures,
    reading::{Reading, between},
    results::{Results, SessionResults},
};

/// When a variant still holds. Figures are those of the metric core, or of sweep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Rules {
    /// By how much `mse_per_element` may be above the original's, as a share of it.
    pub error_rise: f64,
    /// The largest `kl_div_with_sae`: between the logits of the model with and without the reconstruction, in nats.
    pub kl: f64,
    /// By how much `mean_absorption_fraction_score` may be above the original's, where the study measures absorption.
    pub absorption_rise: f64,
    /// A pruned SAE is preferred to an untouched one that holds from so many nats of `ce_loss_with_sae` less.
    pub gain: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { error_rise: 0.2, kl: 1.0, absorption_rise: 0.05, gain: 0.01 }
    }
}

/// What to do with an SAE.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Keep,
    Prune {
        criterion: String,
        ratio: f64,
    },
    Train,
    /// What is missing for one.
    Open(Vec<String>),
}

/// A layer's decision with the numbers that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decided {
    pub session: String,
    pub compress: String,
    pub layer: Option<usize>,
    pub decision: Decision,
    /// The metric whose figures decide.
    pub by: &'static str,
    pub transfer: Option<Reading>,
    pub pruned: Vec<Reading>,
    pub trained: Option<Reading>,
    /// By criterion.
    pub knees: Vec<(String, f64)>,
    pub notes: Vec<String>,
}

/// Decisions on all layers of all sessions, in the order of the study.
pub fn decide(results: &Results, rules: &Rules) -> Vec<Decided> {
    let mut all = Vec::new();
    for session in results.sessions() {
        all.extend(LayerFigures::of(&session).iter().map(|layer| Decided::of(layer, &session, rules)));
    }
    all
}

/// The decisions of each session, which [`decide`] gives one after the other, with its name and compression.
pub fn by_session(decided: &[Decided]) -> impl Iterator<Item = (String, &[Decided])> {
    let sessions = decided.chunk_by(|a, b| (&a.session, &a.compress) == (&b.session, &b.compress));
    sessions.map(|layers| (format!("{}, {}", layers[0].session, layers[0].compress), layers))
}

impl Decided {
    fn of(layer: &LayerFigures, session: &SessionResults, rules: &Rules) -> Self {
        let by = layer.decisive();
        let reading = |of: VariantAt| Reading::new(layer, by, of, rules);
        let transfer = reading(Variant::Transfer.into());
        // A sweep's first point is the untouched SAE.
        let pruned = layer.pruned(by).into_iter().filter(|(_, ratio)| *ratio > 0.0);
        let pruned = pruned.filter_map(|(criterion, ratio)| reading(VariantAt::pruned(&criterion, ratio))).collect();
        let trained = reading(Variant::Trained.into());
        let mut decided = Self {
            session: session.name.to_owned(),
            compress: session.compress.to_owned(),
            layer: layer.layer,
            decision: Decision::Train,
            by,
            knees: layer.knees(),
            notes: layer.notes.clone(),
            transfer,
            pruned,
            trained,
        };
        decided.decision = decided.choose(layer, rules);
        decided.note(layer, rules);
        decided
    }

    fn choose(&self, layer: &LayerFigures, rules: &Rules) -> Decision {
        let mut missing = layer.missing.clone();
        match &self.transfer {
            None if missing.is_empty() => missing.push(format!(
                "mse_per_element, kl_div_with_sae and ce_loss_with_sae of original and transfer ({} has none)",
                if self.by.is_empty() { "no metric of the study" } else { self.by }
            )),
            _ => {}
        }
        let Some(transfer) = self.transfer.as_ref().filter(|_| missing.is_empty()) else {
            return Decision::Open(missing);
        };
        let holds = self.pruned.iter().filter(|reading| reading.holds());
        let best = holds.min_by(|a, b| a.loss.total_cmp(&b.loss));
        let prune = |reading: &Reading| Decision::Prune {
            criterion: reading.of.criterion.clone().unwrap_or_default(),
            ratio: reading.of.ratio.unwrap_or_default(),
        };
        match best {
            Some(best) if !transfer.holds() || best.loss <= transfer.loss - rules.gain => prune(best),
            _ if transfer.holds() => Decision::Keep,
            _ => Decision::Train,
        }
    }

    /// What else the numbers say.
    fn note(&mut self, layer: &LayerFigures, rules: &Rules) {
        let all = self.transfer.iter().chain(&self.pruned).chain(&self.trained);
        let unsure: Vec<String> = all.filter(|reading| reading.unsure).map(|reading| reading.of.to_string()).collect();
        if !unsure.is_empty() {
            self.notes.push(format!("seeds disagree on {}", unsure.join(", ")));
        }
        let all = self.transfer.iter().chain(&self.pruned).chain(&self.trained);
        let open = all.filter(|reading| !reading.open.is_empty());
        let open: Vec<String> = open.map(|r| format!("{} ({})", r.of, r.open.join(", "))).collect();
        if !open.is_empty() {
            self.notes.push(format!("other rows could decide otherwise on {}", open.join(", ")));
        }
        let less_than = |a: &Reading, b: &Reading| {
            let rows = layer.rows(self.by, "ce_loss_with_sae", &[&a.of, &b.of], |of| of[0] - of[1]);
            format!("{:.3}{} nats less", a.loss - b.loss, between(rows, 3))
        };
        match (&self.decision, &self.trained) {
            (Decision::Train, None) => self.notes.push("no SAE trained on the compressed model was measured".into()),
            (Decision::Train, Some(trained)) if !trained.holds() => {
                self.notes.push(format!("the trained one does not hold either: {}", trained.words(rules)));
            }
            _ => {}
        }
        let chosen = match &self.decision {
            Decision::Prune { criterion, ratio } => {
                let of = VariantAt::pruned(criterion, *ratio);
                self.pruned.iter().find(|reading| reading.of == of)
            }
            Decision::Keep => self.transfer.as_ref(),
            _ => None,
        };
        if let Some(chosen) = chosen {
            let untouched = self.transfer.iter().filter(|r| r.holds() && r.of.variant != chosen.of.variant);
            let gains: Vec<String> = untouched
                .map(|untouched| {
                    format!("it has {} cross-entropy than the untouched one", less_than(untouched, chosen))
                })
                .chain(
                    self.trained
                        .iter()
                        .filter(|trained| trained.holds() && chosen.loss - trained.loss >= rules.gain)
                        .map(|trained| format!("one trained anew has {} cross-entropy", less_than(chosen, trained))),
                )
                .collect();
            self.notes.extend(gains);
        }
        if self.transfer.is_some() && !layer.has_absorption() {
            self.notes.push("absorption is not measured".into());
        }
    }

    /// The largest ratio at which the pruned SAE holds, by criterion.
    pub fn holds_up_to(&self) -> Vec<(String, f64)> {
        let mut all: Vec<(String, f64)> = Vec::new();
        for reading in self.pruned.iter().filter(|reading| reading.holds()) {
            let (Some(criterion), Some(ratio)) = (&reading.of.criterion, reading.of.ratio) else { continue };
            match all.iter_mut().find(|(c, _)| c == criterion) {
                Some((_, most)) => *most = most.max(ratio),
                None => all.push((criterion.clone(), ratio)),
            }
        }
        all
    }

    /// The variant that the decision is for or against first: its numbers say why.
    pub fn numbers(&self, rules: &Rules) -> Vec<String> {
        let chosen = |reading: &&Reading| match &self.decision {
            Decision::Prune { criterion, ratio } => reading.of == VariantAt::pruned(criterion, *ratio),
            // The one with the lowest loss, where none holds.
            Decision::Train => self.pruned.iter().all(|other| reading.loss <= other.loss),
            _ => false,
        };
        let trained = self.trained.iter().filter(|_| self.decision == Decision::Train);
        let readings = self.transfer.iter().chain(self.pruned.iter().find(chosen)).chain(trained);
        readings.map(|reading| format!("{}: {}", reading.of, reading.words(rules))).collect()
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep the SAE as it is"),
            Self::Prune { criterion, ratio } => write!(f, "prune at {ratio} by {criterion}"),
            Self::Train => f.write_str("train anew"),
            Self::Open(_) => f.write_str("no decision, figures are missing"),
        }
    }
}

/// Layers of one session that share a decision, put together: "layers 4-9: keep the SAE as it is; 0-3: train anew".
pub fn sentence(layers: &[Decided]) -> String {
    let mut together: Vec<(String, Vec<usize>)> = Vec::new();
    for decided in layers {
        let said = decided.decision.to_string();
        let at = together.iter().position(|(other, _)| *other == said).unwrap_or_else(|| {
            together.push((said, Vec::new()));
            together.len() - 1
        });
        together[at].1.extend(decided.layer);
    }
    for (_, numbers) in &mut together {
        numbers.sort_unstable();
    }
    together.sort_by_key(|(_, numbers)| numbers.first().copied());
    let mut parts = Vec::new();
    for (at, (said, numbers)) in together.iter().enumerate() {
        let word = if numbers.len() > 1 { "layers" } else { "layer" };
        parts.push(match (numbers.is_empty(), at) {
            (true, _) => said.clone(),
            (false, 0) => format!("{word} {}: {said}", ranges(numbers)),
            (false, _) => format!("{}: {said}", ranges(numbers)),
        });
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::made::{self, cell, place};

    /// Error, KL and loss of the original, transfer, pruned 0.25, pruned 0.5, trained.
    fn decided(values: [(f64, f64, f64); 5]) -> Decided {
        let results = Results { measured: made::core(place(3), values), missing: Vec::new() };
        decide(&results, &Rules::default()).pop().unwrap()
    }

    const GOOD: (f64, f64, f64) = (1.0, 0.1, 3.0);
    const BAD: (f64, f64, f64) = (1.5, 0.1, 3.2);

    #[test]
    fn the_untouched_sae_is_kept_while_it_holds() {
        let kept = decided([GOOD, (1.2, 1.0, 3.1), (1.19, 0.5, 3.095), BAD, GOOD]);
        assert_eq!(kept.decision, Decision::Keep, "at the limit it holds");
        assert_eq!(kept.holds_up_to(), [("wanda".to_owned(), 0.25)]);
        assert!(kept.notes[0].contains("0.100 nats less"), "{:?}", kept.notes);
        let pruned = decided([GOOD, (1.2, 1.0, 3.1), (1.19, 0.5, 3.08), BAD, GOOD]);
        assert_eq!(pruned.decision, Decision::Prune { criterion: "wanda".into(), ratio: 0.25 }, "0.02 nats less");
    }

    #[test]
    fn a_pruned_one_that_holds_comes_before_training() {
        let pruned = decided([GOOD, BAD, (1.1, 0.2, 3.3), (1.0, 0.2, 3.2), GOOD]);
        assert_eq!(pruned.decision, Decision::Prune { criterion: "wanda".into(), ratio: 0.5 }, "the lower loss");
        let train = decided([GOOD, BAD, BAD, (1.0, 1.1, 3.0), (1.9, 0.1, 3.0)]);
        assert_eq!(train.decision, Decision::Train);
        assert!(train.notes[0].contains("does not hold either: reconstruction error +90.0 % (limit +20 %)"));
        let numbers = train.numbers(&Rules::default());
        assert_eq!(numbers[0], "transfer: reconstruction error +50.0 % (limit +20 %), KL 0.100, CE 3.2000");
        assert!(numbers[1].starts_with("pruned wanda 0.5") && numbers[2].starts_with("trained"), "{numbers:?}");
    }

    #[test]
    fn without_figures_there_is_no_decision() {
        let mut results = Results { measured: made::core(place(3), [GOOD; 5]), missing: Vec::new() };
        results.missing.push(made::missing(place(3), "absorption"));
        let open = decide(&results, &Rules::default()).pop().unwrap();
        let Decision::Open(missing) = &open.decision else { panic!("{open:?}") };
        assert_eq!(*missing, ["absorption: not measured yet"]);
        // Undefined figures count as missing.
        let undefined = decided([(f64::NAN, 0.1, 3.0), GOOD, GOOD, GOOD, GOOD]);
        let Decision::Open(missing) = &undefined.decision else { panic!("{undefined:?}") };
        assert!(missing[0].contains("mse_per_element"), "{missing:?}");
    }

    #[test]
    fn absorption_decides_where_it_is_measured() {
        let mut measured = made::core(place(3), [GOOD; 5]);
        let variants = [Variant::Original, Variant::Transfer, Variant::Pruned];
        for (seed, values) in [(0, [0.1, 0.12, 0.3]), (1, [0.1, 0.20, 0.3])] {
            let figures = [("mean_absorption_fraction_score", values.map(Some).to_vec())];
            measured.push(cell(place(3), "absorption", Some(("wanda", 0.25)), Some(seed), &variants, &figures));
        }
        let decided = decide(&Results { measured, missing: Vec::new() }, &Rules::default()).pop().unwrap();
        let transfer = decided.transfer.as_ref().unwrap();
        assert!((transfer.absorption_rise.unwrap() - 0.06).abs() < 1e-12 && transfer.unsure, "{transfer:?}");
        assert_eq!(transfer.breaks, ["absorption"]);
        assert_eq!(decided.pruned[0].breaks, ["absorption"]);
        assert_eq!(decided.decision, Decision::Train, "absorption of the one pruned to 0.5 is not known");
        assert!(decided.notes.iter().any(|note| note == "seeds disagree on transfer"), "{:?}", decided.notes);
    }

    #[test]
    fn layers_of_one_decision_stand_together() {
        let decided = |layer: usize, decision: Decision| Decided { layer: Some(layer), decision, ..decided([GOOD; 5]) };
        let prune = || Decision::Prune { criterion: "wanda".into(), ratio: 0.25 };
        let all: Vec<Decided> = (0..13)
            .map(|layer| {
                decided(
                    layer,
                    [Decision::Train, Decision::Keep, prune()][(layer > 3) as usize + (layer > 9) as usize].clone(),
                )
            })
            .collect();
        assert_eq!(sentence(&all), "layers 0-3: train anew; 4-9: keep the SAE as it is; 10-12: prune at 0.25 by wanda");
    }
}
