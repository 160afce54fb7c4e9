//! The figures of one layer, over all its cells: the ground of a decision, of curves and of tables.

use prunelens_core::{
    compare::Variant,
    sae::{Criterion, Knob},
};
use prunelens_metrics::{
    core::Blocks,
    statistics::{Interval, Spread},
    sweep::knee::knee,
};

use super::{
    VariantAt,
    basis::Basis,
    results::{Point, SessionResults},
    rows::interval,
};

/// Figures that are drawn against the ratio, with their units.
pub const AGAINST_RATIO: [(&str, &str); 3] =
    [("ce_loss_with_sae", "nats"), ("kl_div_with_sae", "nats"), ("mse_per_element", "mean squared error of a number")];

/// Metrics that have reconstruction error, divergence and loss.
const DECISIVE: [&str; 2] = ["core", "sweep"];
const ABSORPTION: &str = "absorption";
const ABSORBED: &str = "mean_absorption_fraction_score";

/// What was measured at a layer, of each metric on one basis.
pub struct LayerFigures {
    pub layer: Option<usize>,
    /// (metric, point), one a seed.
    points: Vec<(&'static str, Point)>,
    /// (metric, build that measured it, what the rows of one SAE add up to), one a seed.
    blocks: Vec<(&'static str, String, Blocks)>,
    /// (metric, build) of all points.
    builds: Vec<(&'static str, String)>,
    /// Cells that a decision waits for.
    pub missing: Vec<String>,
    pub notes: Vec<String>,
}

impl LayerFigures {
    /// Those of a session's layers, in the order of the study.
    pub fn of(session: &SessionResults) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut bases: Vec<(Option<usize>, &'static str, &Basis)> = Vec::new();
        for cell in &session.measured {
            let Some(metric) = DECISIVE.into_iter().chain([ABSORPTION]).find(|metric| *metric == cell.table.metric)
            else {
                continue;
            };
            let mut taken = None;
            for point in cell.points() {
                let (layer, at) = (point.layer, place_of(&mut all, point.layer));
                if let Some(knob) = other_scale(point.of.criterion.as_deref()) {
                    all[at].note(format!(
                        "{metric} at settings of {knob} stands in tables alone: charts and decisions are by ratios"
                    ));
                    continue;
                }
                let known = bases.iter().find(|(l, m, _)| *l == layer && *m == metric);
                match known {
                    Some((.., basis)) if **basis != cell.basis => {
                        all[at].note(format!(
                            "{metric} was measured on other grounds too, which are left out here: {}",
                            basis.differences(&cell.basis).join(", ")
                        ));
                        continue;
                    }
                    Some(_) => {}
                    None => bases.push((layer, metric, &cell.basis)),
                }
                all[at].points.push((metric, point));
                taken = Some(at);
            }
            if let Some(at) = taken {
                let built = (metric, cell.build());
                let of_ratios = |blocks: &Blocks| other_scale(blocks.at.as_ref().map(|(c, _)| c.as_str())).is_none();
                let blocks = cell.blocks().into_iter().filter(of_ratios);
                all[at].blocks.extend(blocks.map(|blocks| (metric, built.1.clone(), blocks)));
                if !all[at].builds.contains(&built) {
                    all[at].builds.push(built);
                }
            }
        }
        all.iter_mut().for_each(Self::note_builds);
        for missing in &session.missing {
            let counts = DECISIVE.contains(&missing.metric.as_str()) || missing.metric == ABSORPTION;
            if counts || missing.metric == "train" {
                // A session without layers has one, which only what is measured names.
                let at = match (missing.place.layer, all.len()) {
                    (None, 1) => 0,
                    (layer, _) => place_of(&mut all, layer),
                };
                all[at].missing.push(format!("{}: {}", missing.name, missing.why));
            }
        }
        all
    }

    /// Over seeds; `None` where no seed has it.
    pub fn value(&self, metric: &str, figure: &str, of: &VariantAt) -> Option<Spread> {
        let is_it = |point: &&Point| point.figure == figure && point.of == *of;
        let points = self.points.iter().filter(|(m, _)| *m == metric).map(|(_, point)| point);
        let values: Vec<f64> = points.filter(is_it).filter_map(|point| point.value).collect();
        (!values.is_empty()).then(|| Spread::of(values.into_iter()))
    }

    /// How far what `of` makes of a figure of each of these SAEs may lie on other rows of the text.
    pub fn rows(
        &self,
        metric: &str,
        figure: &str,
        each: &[&VariantAt],
        of: impl Fn(&[f64]) -> f64 + Sync,
    ) -> Option<Interval> {
        let blocks = |of: &&VariantAt| {
            let is_it = |(m, _, blocks): &&(&str, String, Blocks)| *m == metric && of.has(blocks);
            self.blocks.iter().filter(is_it).collect::<Vec<_>>()
        };
        let each: Vec<_> = each.iter().map(blocks).collect();
        // What two builds make of the same rows differs by more than the rows.
        let mut builds = each.iter().flatten().map(|(_, build, _)| build);
        let first = builds.next()?;
        let alike = builds.all(|build| build == first);
        let each: Vec<Vec<&Blocks>> =
            each.into_iter().map(|of| of.into_iter().map(|(.., blocks)| blocks).collect()).collect();
        if alike { interval(&each, figure, of) } else { None }
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn note_builds(&mut self) {
        for metric in DECISIVE {
            let of = self.builds.iter().filter(|(m, _)| *m == metric);
            let builds: Vec<&str> = of.map(|(_, build)| build.as_str()).collect();
            if builds.len() > 1 {
                let builds = builds.join(", ");
                self.note(format!(
                    "{metric} was measured by several builds ({builds}): no interval over rows is given between two of them"
                ));
            }
        }
    }

    /// Criteria and ratios of the pruned variant, ratios ascending.
    pub fn pruned(&self, metric: &str) -> Vec<(String, f64)> {
        let mut all: Vec<(String, f64)> = Vec::new();
        for (_, point) in self.points.iter().filter(|(m, _)| *m == metric) {
            let (Some(criterion), Some(ratio)) = (&point.of.criterion, point.of.ratio) else { continue };
            if !all.iter().any(|(c, r)| c == criterion && *r == ratio) {
                all.push((criterion.clone(), ratio));
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        all
    }

    /// The metric with the most ratios, of those that have original and transfer.
    pub fn decisive(&self) -> &'static str {
        let has = |metric: &&&str| {
            let known = |variant: Variant| self.value(metric, "mse_per_element", &variant.into()).is_some();
            known(Variant::Original) && known(Variant::Transfer)
        };
        // Of equals the first: core.
        let all = DECISIVE.iter().filter(has);
        all.rev().max_by_key(|metric| self.pruned(metric).len()).copied().unwrap_or_default()
    }

    /// The decisive one, or while there is none yet, the one with the most ratios.
    pub fn widest(&self) -> &'static str {
        match self.decisive() {
            "" => DECISIVE.into_iter().rev().max_by_key(|metric| self.pruned(metric).len()).unwrap_or_default(),
            metric => metric,
        }
    }

    /// A figure of the pruned SAE against the ratio, by criterion, the untouched one first.
    pub fn curves(&self, metric: &str, figure: &str) -> Vec<(String, Vec<(f64, Spread)>)> {
        let mut all: Vec<(String, Vec<(f64, Spread)>)> = Vec::new();
        for (criterion, ratio) in self.pruned(metric) {
            let Some(value) = self.value(metric, figure, &VariantAt::pruned(&criterion, ratio)) else { continue };
            if all.last().is_none_or(|(last, _)| *last != criterion) {
                let untouched = self.value(metric, figure, &Variant::Transfer.into()).filter(|_| ratio > 0.0);
                all.push((criterion.clone(), untouched.map(|value| (0.0, value)).into_iter().collect()));
            }
            if let Some((_, points)) = all.last_mut() {
                points.push((ratio, value));
            }
        }
        all
    }

    /// Where the loss takes off, by criterion: as the sweep says, else by the same rule on the ratios there are.
    pub fn knees(&self) -> Vec<(String, f64)> {
        let metric = self.decisive();
        let of = |(criterion, points): (String, Vec<(f64, Spread)>)| {
            let points: Vec<_> = points.into_iter().map(|(ratio, loss)| (ratio, loss.mean)).collect();
            // A straight line has none, and fewer points are one.
            let at = if points.len() > 2 { knee(&points) } else { None };
            at.map(|at| (criterion, points[at].0))
        };
        self.curves(metric, "ce_loss_with_sae").into_iter().filter_map(of).collect()
    }

    pub fn has_absorption(&self) -> bool {
        self.points.iter().any(|(metric, point)| *metric == ABSORPTION && point.value.is_some())
    }

    /// Above the original's; where the study measures absorption and this variant has none, it is no number.
    pub fn absorption(&self, of: &VariantAt) -> Option<Spread> {
        let unknown = Spread { mean: f64::NAN, low: f64::NAN, high: f64::NAN };
        let original = self.value(ABSORPTION, ABSORBED, &Variant::Original.into())?.mean;
        let Some(found) = self.value(ABSORPTION, ABSORBED, of) else { return Some(unknown) };
        Some(Spread { mean: found.mean - original, low: found.low - original, high: found.high - original })
    }

    /// Absorption above the original's against the ratio, by criterion.
    pub fn absorbed(&self) -> Vec<(String, Vec<(f64, Spread)>)> {
        let mut all: Vec<(String, Vec<(f64, Spread)>)> = Vec::new();
        for (criterion, ratio) in self.pruned(ABSORPTION) {
            let Some(rise) = self.absorption(&VariantAt::pruned(&criterion, ratio)) else { continue };
            match all.last_mut().filter(|(last, _)| *last == criterion) {
                Some((_, points)) => points.push((ratio, rise)),
                None => all.push((criterion, vec![(ratio, rise)])),
            }
        }
        all
    }
}

/// The knob of a point that is at bits or at a rank, where more is nearer to the untouched SAE: no ratio.
fn other_scale(criterion: Option<&str>) -> Option<&str> {
    // Only a knob's name counts here: the criterion goes into those that are of ratios.
    criterion.filter(|name| Knob::named(name, Criterion::Wanda).is_some_and(Knob::is_whole))
}

fn place_of(all: &mut Vec<LayerFigures>, layer: Option<usize>) -> usize {
    all.iter().position(|figures| figures.layer == layer).unwrap_or_else(|| {
        all.push(LayerFigures {
            layer,
            points: Vec::new(),
            blocks: Vec::new(),
            builds: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
        });
        all.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use prunelens_metrics::core::Block;

    use super::*;
    use crate::study::{
        decide::{Decision, Rules, decide},
        made::{self, cell, place},
        results::{Measured, Results},
    };

    const GOOD: (f64, f64, f64) = (1.0, 0.1, 3.0);

    fn layer(measured: Vec<Measured>) -> LayerFigures {
        let results = Results { measured, missing: Vec::new() };
        results.sessions().iter().flat_map(LayerFigures::of).next_back().unwrap()
    }

    /// A sweep of a knob, whose rows begin with the untouched SAE.
    fn sweep(knob: &str, settings: &[f64]) -> Measured {
        let name = |figure: &str, at: &f64| format!("{figure} {knob} {at}");
        let figures = [("mse_per_element", 1.0), ("kl_div_with_sae", 0.1), ("ce_loss_with_sae", 3.0)];
        let rows: Vec<(String, Vec<Option<f64>>)> = figures
            .iter()
            .flat_map(|(figure, value)| {
                settings.iter().enumerate().map(move |(n, at)| {
                    let pruned = value + 0.01 * (n * n) as f64;
                    (name(figure, at), vec![Some(*value), Some(1.1 * value), Some(pruned)])
                })
            })
            .collect();
        let rows: Vec<_> = rows.iter().map(|(name, values)| (name.as_str(), values.clone())).collect();
        cell(place(3), "sweep", None, None, &[Variant::Original, Variant::Transfer, Variant::Pruned], &rows)
    }

    #[test]
    fn bits_and_ranks_are_no_ratios() {
        let by_ratio = layer(vec![sweep("latents wanda", &[0.0, 0.25, 0.5, 0.75])]);
        assert_eq!(by_ratio.curves("sweep", "ce_loss_with_sae")[0].1.len(), 4);
        for (knob, settings) in [("bits", [32.0, 8.0, 4.0, 2.0]), ("rank", [192.0, 96.0, 48.0, 24.0])] {
            let of = layer(vec![sweep(knob, &settings)]);
            assert!(of.curves("sweep", "ce_loss_with_sae").is_empty() && of.knees().is_empty(), "{knob}");
            assert_eq!(of.notes.len(), 1, "{:?}", of.notes);
            assert!(of.notes[0].starts_with(&format!("sweep at settings of {knob}")), "{:?}", of.notes);
            let results = Results { measured: vec![sweep(knob, &settings)], missing: Vec::new() };
            let decided = decide(&results, &Rules::default()).pop().unwrap();
            assert!(decided.pruned.is_empty() && decided.holds_up_to().is_empty() && decided.knees.is_empty());
            assert_eq!(decided.decision, Decision::Keep, "the variants without a setting decide");
            // A metric that has ratios is not put aside by one with more settings.
            let mut both = made::core(place(3), [GOOD; 5]);
            both.push(sweep(knob, &settings));
            assert_eq!(layer(both).decisive(), "core");
        }
    }

    #[test]
    fn what_two_builds_measured_has_no_interval_between_them() {
        let blocks = |variant, at, loss: f64| {
            let block = |n: usize| Block { predicted: 4.0, ce_sae: 4.0 * (loss + (n % 5) as f64), ..Block::default() };
            Blocks { variant, at, d_in: 2, sums: (0..16).map(block).collect() }
        };
        let measured = || {
            let mut measured = made::core(place(3), [GOOD; 5]);
            measured[0].table.blocks = vec![blocks(Variant::Transfer, None, 3.0), blocks(Variant::Original, None, 2.9)];
            measured[1].table.blocks = vec![blocks(Variant::Pruned, None, 3.1)];
            measured
        };
        let (transfer, pruned) = (&Variant::Transfer.into(), &VariantAt::pruned("wanda", 0.5));
        let rows = |layer: &LayerFigures, each: &[&VariantAt]| {
            layer.rows("core", "ce_loss_with_sae", each, |of| of[0] - of.get(1).unwrap_or(&0.0)).is_some()
        };
        let one = layer(measured());
        assert!(rows(&one, &[transfer, pruned]) && one.notes.is_empty());
        let changes: [fn(&mut Measured); 2] =
            [|cell| cell.version = "1.1.0".into(), |cell| cell.device = "cuda".into()];
        for change in changes {
            let mut measured = measured();
            change(&mut measured[1]);
            let two = layer(measured);
            assert!(!rows(&two, &[transfer, pruned]));
            let original = &Variant::Original.into();
            assert!(rows(&two, &[transfer, original]) && rows(&two, &[pruned]), "each build by itself");
            assert_eq!(two.notes.len(), 1, "{:?}", two.notes);
            assert!(two.notes[0].contains("1.0.0 on cpu, "), "{:?}", two.notes);
        }
    }
}
