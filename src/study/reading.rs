//! What the figures of one SAE at one point say by the rules of a study.

use prunelens_core::compare::Variant;
use prunelens_metrics::statistics::{Interval, Spread};
use serde::Serialize;

use super::{VariantAt, decide::Rules, layer::LayerFigures};

/// What a variant's figures say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    #[serde(flatten)]
    pub of: VariantAt,
    /// Cross-entropy with the reconstruction in place, nats.
    pub loss: f64,
    pub kl: f64,
    /// Over the original's, as a share of it.
    pub error_rise: f64,
    pub absorption_rise: Option<f64>,
    /// Rules that it breaks.
    pub breaks: Vec<&'static str>,
    /// Seeds disagree on whether it holds.
    pub unsure: bool,
    /// Over other rows.
    pub rows: OverRows,
    /// Rules whose limit lies within the interval over rows.
    pub open: Vec<&'static str>,
}

/// Intervals of 95 % over rows, of the figures of the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OverRows {
    pub loss: Option<Interval>,
    pub kl: Option<Interval>,
    pub error_rise: Option<Interval>,
}

impl Reading {
    /// `None` where figures are missing.
    pub fn new(layer: &LayerFigures, metric: &str, of: VariantAt, rules: &Rules) -> Option<Self> {
        let before = Variant::Original.into();
        let error = layer.value(metric, "mse_per_element", &of)?;
        let original = layer.value(metric, "mse_per_element", &before)?;
        let kl = layer.value(metric, "kl_div_with_sae", &of)?;
        let absorption = layer.absorption(&of);
        let rise = |error: f64| error / original.mean - 1.0;
        let mut breaks = Vec::new();
        let mut unsure = false;
        let mut judge = |name: &'static str, of: Spread, limit: f64| {
            // What is no number does not hold.
            if !matches!(of.mean.partial_cmp(&limit), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)) {
                breaks.push(name);
            }
            unsure |= of.low <= limit && of.high > limit;
        };
        let errors = Spread { mean: rise(error.mean), low: rise(error.low), high: rise(error.high) };
        judge("reconstruction error", errors, rules.error_rise);
        judge("KL", kl, rules.kl);
        if let Some(absorption) = absorption {
            judge("absorption", absorption, rules.absorption_rise);
        }
        let rows = OverRows {
            loss: layer.rows(metric, "ce_loss_with_sae", &[&of], |of| of[0]),
            kl: layer.rows(metric, "kl_div_with_sae", &[&of], |of| of[0]),
            error_rise: layer.rows(metric, "mse_per_element", &[&of, &before], |of| of[0] / of[1] - 1.0),
        };
        let holds_limit = |rows: Option<Interval>, limit: f64| rows.is_some_and(|r| r.low <= limit && limit < r.high);
        let open = [("reconstruction error", rows.error_rise, rules.error_rise), ("KL", rows.kl, rules.kl)];
        let open = open.into_iter().filter(|(_, rows, limit)| holds_limit(*rows, *limit)).map(|(name, ..)| name);
        Some(Self {
            loss: layer.value(metric, "ce_loss_with_sae", &of)?.mean,
            kl: kl.mean,
            error_rise: errors.mean,
            absorption_rise: absorption.map(|spread| spread.mean),
            breaks,
            unsure,
            open: open.collect(),
            rows,
            of,
        })
    }

    pub fn holds(&self) -> bool {
        self.breaks.is_empty()
    }

    /// Its numbers with their intervals over rows, those that break a rule with the limit.
    pub fn words(&self, rules: &Rules) -> String {
        let limit = |name: &str, limit: String| match self.breaks.contains(&name) {
            true => format!(" (limit {limit})"),
            false => String::new(),
        };
        let mut words = vec![
            format!(
                "reconstruction error {:+.1}{} %{}",
                100.0 * self.error_rise,
                between(self.rows.error_rise.map(percent), 1),
                limit("reconstruction error", format!("{:+} %", 100.0 * rules.error_rise))
            ),
            format!("KL {:.3}{}{}", self.kl, between(self.rows.kl, 3), limit("KL", rules.kl.to_string())),
        ];
        words.extend(self.absorption_rise.map(|rise| {
            format!("absorption {rise:+.3}{}", limit("absorption", format!("{:+}", rules.absorption_rise)))
        }));
        words.push(format!("CE {:.4}{}", self.loss, between(self.rows.loss, 4)));
        words.join(", ")
    }
}

/// " [1.2, 3.4]", or nothing.
pub fn between(interval: Option<Interval>, digits: usize) -> String {
    interval.map(|found| format!(" [{:.digits$}, {:.digits$}]", found.low, found.high)).unwrap_or_default()
}

fn percent(interval: Interval) -> Interval {
    Interval { low: 100.0 * interval.low, high: 100.0 * interval.high }
}
