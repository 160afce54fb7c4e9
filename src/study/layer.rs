//! The figures of one layer, over all its cells: the ground of a decision, of curves and of tables.

use prunelens_core::compare::Variant;
use prunelens_metrics::{
    core::Blocks,
    statistics::{Interval, Spread},
    sweep::knee::knee,
};

use super::{
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
    /// (metric, what the rows of one SAE add up to), one a seed.
    blocks: Vec<(&'static str, Blocks)>,
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
                let known = bases.iter().find(|(l, m, _)| *l == layer && *m == metric);
                match known {
                    Some((.., basis)) if **basis != cell.basis => {
                        let note = format!(
                            "{metric} was measured on other grounds too, which are left out here: {}",
                            basis.differences(&cell.basis).join(", ")
                        );
                        if !all[at].notes.contains(&note) {
                            all[at].notes.push(note);
                        }
                        continue;
                    }
                    Some(_) => {}
                    None => bases.push((layer, metric, &cell.basis)),
                }
                all[at].points.push((metric, point));
                taken = Some(at);
            }
            if let Some(at) = taken {
                all[at].blocks.extend(cell.blocks().into_iter().map(|blocks| (metric, blocks)));
            }
        }
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
    pub fn value(
        &self,
        metric: &str,
        figure: &str,
        variant: Variant,
        criterion: Option<&str>,
        ratio: Option<f64>,
    ) -> Option<Spread> {
        let is_it = |point: &&Point| {
            point.figure == figure
                && point.variant == variant
                && (variant != Variant::Pruned || (point.criterion.as_deref() == criterion && point.ratio == ratio))
        };
        let of = self.points.iter().filter(|(m, _)| *m == metric).map(|(_, point)| point);
        let values: Vec<f64> = of.filter(is_it).filter_map(|point| point.value).collect();
        (!values.is_empty()).then(|| Spread::of(values.into_iter()))
    }

    /// How far what `of` makes of a figure of each of these SAEs may lie on other rows of the text.
    pub fn rows(
        &self,
        metric: &str,
        figure: &str,
        each: &[(Variant, Option<&str>, Option<f64>)],
        of: impl Fn(&[f64]) -> f64 + Sync,
    ) -> Option<Interval> {
        let blocks = |(variant, criterion, ratio): &(Variant, Option<&str>, Option<f64>)| {
            let at = |blocks: &Blocks| match (&blocks.at, *variant) {
                (Some((c, r)), Variant::Pruned) => Some(c.as_str()) == *criterion && Some(*r) == *ratio,
                (_, variant) => variant != Variant::Pruned,
            };
            let is_it = |(m, blocks): &&(&str, Blocks)| *m == metric && blocks.variant == *variant && at(blocks);
            self.blocks.iter().filter(is_it).map(|(_, blocks)| blocks).collect::<Vec<_>>()
        };
        interval(&each.iter().map(blocks).collect::<Vec<_>>(), figure, of)
    }

    /// Criteria and ratios of the pruned variant, ratios ascending.
    pub fn pruned(&self, metric: &str) -> Vec<(String, f64)> {
        let mut all: Vec<(String, f64)> = Vec::new();
        for (_, point) in self.points.iter().filter(|(m, _)| *m == metric) {
            let (Some(criterion), Some(ratio)) = (&point.criterion, point.ratio) else { continue };
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
            let known = |variant| self.value(metric, "mse_per_element", variant, None, None).is_some();
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
            let Some(value) = self.value(metric, figure, Variant::Pruned, Some(&criterion), Some(ratio)) else {
                continue;
            };
            if all.last().is_none_or(|(last, _)| *last != criterion) {
                let untouched = self.value(metric, figure, Variant::Transfer, None, None).filter(|_| ratio > 0.0);
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
    pub fn absorption(&self, variant: Variant, criterion: Option<&str>, ratio: Option<f64>) -> Option<Spread> {
        let unknown = Spread { mean: f64::NAN, low: f64::NAN, high: f64::NAN };
        let original = self.value(ABSORPTION, ABSORBED, Variant::Original, None, None)?.mean;
        let Some(found) = self.value(ABSORPTION, ABSORBED, variant, criterion, ratio) else { return Some(unknown) };
        Some(Spread { mean: found.mean - original, low: found.low - original, high: found.high - original })
    }

    /// Absorption above the original's against the ratio, by criterion.
    pub fn absorbed(&self) -> Vec<(String, Vec<(f64, Spread)>)> {
        let mut all: Vec<(String, Vec<(f64, Spread)>)> = Vec::new();
        for (criterion, ratio) in self.pruned(ABSORPTION) {
            let Some(rise) = self.absorption(Variant::Pruned, Some(&criterion), Some(ratio)) else { continue };
            match all.last_mut().filter(|(last, _)| *last == criterion) {
                Some((_, points)) => points.push((ratio, rise)),
                None => all.push((criterion, vec![(ratio, rise)])),
            }
        }
        all
    }
}

fn place_of(all: &mut Vec<LayerFigures>, layer: Option<usize>) -> usize {
    all.iter().position(|figures| figures.layer == layer).unwrap_or_else(|| {
        all.push(LayerFigures {
            layer,
            points: Vec::new(),
            blocks: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
        });
        all.len() - 1
    })
}
