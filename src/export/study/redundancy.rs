//! Cost of pruning against redundancy, over SAEs that differ.

use std::path::Path;

use prunelens_core::error::Result;
use prunelens_metrics::{
    statistics::Spread,
    study::redundancy::{FOUND, Setting, noise},
};

use super::{head, row};
use crate::{
    export::{
        charts::lines::{Line, lines},
        table::{csv_line, escape},
    },
    output,
    study::redundancy::RedundancyReport,
};

/// A figure of a setting.
type Measure = fn(&Setting) -> f64;

/// Ratios in the table: those nearest to these.
const SHOWN: [f64; 3] = [0.25, 0.5, 0.8];

impl RedundancyReport {
    /// All files, by name.
    pub fn files(&self) -> Result<Vec<(String, String)>> {
        Ok(vec![
            ("redundancy.md".into(), self.markdown()),
            ("redundancy.csv".into(), self.csv()),
            ("redundancy.json".into(), output::json(self)? + "\n"),
            ("cost.svg".into(), self.costs()),
            ("against-redundancy.svg".into(), self.against()),
        ])
    }

    /// For a terminal.
    pub fn text(&self, report: &Path) -> String {
        let mut out =
            format!("{:<24} {:>8} {:>10} {:>10} {:>8} {:>8}", "", "latents", "max cosine", "eff. rank", "L0", "EV");
        for at in self.shown() {
            out += &format!(" {:>9}", format!("cost {}", self.ratio(at)));
        }
        for setting in &self.settings {
            out += &format!(
                "\n{:<24} {:>8} {:>10.3} {:>10.1} {:>8.1} {:>8.4}",
                setting.name,
                setting.d_sae,
                setting.mean_max_cosine.mean,
                setting.effective_rank.mean,
                setting.l0.mean,
                setting.variance_explained.mean
            );
            for at in self.shown() {
                out += &format!(" {:>9.4}", setting.costs[at].1.mean);
            }
        }
        out + &format!("\ncosts in nats of cross-entropy; written: {}", report.display())
    }

    /// Places of the ratios in the table.
    fn shown(&self) -> Vec<usize> {
        let Some(setting) = self.settings.first() else { return Vec::new() };
        let nearest = |ratio: f64| {
            let far = |at: &usize| (setting.costs[*at].0 - ratio).abs();
            (1..setting.costs.len()).min_by(|a, b| far(a).total_cmp(&far(b)))
        };
        let mut all: Vec<usize> = SHOWN.into_iter().filter_map(nearest).collect();
        all.dedup();
        all
    }

    fn ratio(&self, at: usize) -> f64 {
        self.settings.first().map_or(f64::NAN, |setting| setting.costs[at].0)
    }

    fn markdown(&self) -> String {
        let tokens = self.trained.iter().map(|trained| trained.tokens).max().unwrap_or(0);
        let seeds = self.settings.iter().map(|setting| setting.saes.len()).max().unwrap_or(0);
        let mut out = format!(
            "# Does pruning an SAE cost more where there is less to spare?\n\n- {} SAEs at `{}` of {}, each trained on the same {tokens} \
             tokens of the original model\n- read on the model compressed by {}; SAEs pruned by {}\n- {} rows of {} held-out tokens\n- \
             *cost*: cross-entropy with the reconstruction in place, less that of the same SAE untouched, in nats\n- mean over {seeds} \
             seeds, and from the least to the largest\n\n",
            self.saes.len(),
            escape(&self.hook),
            escape(&self.model),
            escape(&self.compression),
            escape(&self.criterion),
            self.rows,
            self.context,
        );
        out += &self.table();
        out += "\n*max cosine*: of each decoder row the largest cosine with another row of the same SAE, on average. *effective rank*: \
                the exponential of the entropy of the singular values of the decoder with rows of length 1 (Roy and Vetterli 2007). \
                *EV*: variance explained, L0, alive: of the untouched SAE on the compressed model.\n\n![Cost against the \
                ratio](cost.svg)\n\n![Cost against redundancy](against-redundancy.svg)\n\n## What differs beyond seeds\n\n";
        out += &self.differences();
        out += &self.likeness();
        out + "\n## What this does not say\n\nThe settings differ in more than redundancy: in how well they reconstruct, and in how many \
               latents fire. A cost in nats is also smaller where the untouched SAE is worse already.\n"
    }

    fn table(&self) -> String {
        let names = ["SAE", "latents", "max cosine", "effective rank", "L0", "alive", "EV", "CE, nats"];
        let costs = self.shown().into_iter().map(|at| format!("cost at {}", self.ratio(at)));
        let mut out = head(&names.into_iter().map(String::from).chain(costs).collect::<Vec<_>>());
        for setting in &self.settings {
            let cells = [
                escape(&setting.name),
                setting.d_sae.to_string(),
                spread(&setting.mean_max_cosine, 3),
                spread(&setting.effective_rank, 1),
                spread(&setting.l0, 1),
                spread(&setting.alive, 3),
                spread(&setting.variance_explained, 3),
                spread(&setting.ce, 3),
            ];
            out += &row(cells.into_iter().chain(self.shown().into_iter().map(|at| spread(&setting.costs[at].1, 4))));
        }
        out
    }

    /// Of the least redundant and the most redundant setting, by either measure, at each ratio that is shown.
    fn differences(&self) -> String {
        let mut out = String::new();
        let measures: [(&str, Measure); 2] = [
            ("mean max cosine", |setting| setting.mean_max_cosine.mean),
            ("latents per dimension of effective rank", |setting| setting.d_sae as f64 / setting.effective_rank.mean),
        ];
        if self.settings.len() < 2 {
            return "One setting alone: nothing to compare.\n".into();
        }
        for (name, of) in measures {
            let by = |a: &&Setting, b: &&Setting| of(a).total_cmp(&of(b));
            let (Some(least), Some(most)) = (self.settings.iter().min_by(by), self.settings.iter().max_by(by)) else {
                continue;
            };
            out += &format!(
                "By {name}, {} has the least to spare ({:.3}), {} the most ({:.3}).\n\n",
                escape(&least.name),
                of(least),
                escape(&most.name),
                of(most)
            );
            out += &format!("Cost of {} less that of {}, in nats:\n\n", escape(&least.name), escape(&most.name));
            for at in self.shown() {
                let difference = least.costs[at].1.mean - most.costs[at].1.mean;
                let said = match noise(&self.settings, at) {
                    None => "with one seed each it is not known what of it is noise".to_owned(),
                    Some(noise) if difference.abs() <= noise => {
                        format!("within noise: seeds of one setting are up to {noise:.4} apart")
                    }
                    Some(noise) => format!("beyond noise: seeds of one setting are up to {noise:.4} apart"),
                };
                out += &format!("- at ratio {}: {difference:+.4}, {said}\n", self.ratio(at));
            }
            out.push('\n');
        }
        out
    }

    fn likeness(&self) -> String {
        let known: Vec<_> = self.settings.iter().filter_map(|s| s.likeness.map(|found| (s, found))).collect();
        if known.is_empty() {
            return String::new();
        }
        let columns = ["SAE", "mean cosine", "mutual", "found again"].map(String::from);
        let mut out = format!(
            "## Two seeds of one setting\n\nThe noise of every figure of matching: latents of the first seed matched in the second by \
             decoder cosine. *mutual*: both are each other's best; *found again*: cosine {FOUND} or more.\n\n{}",
            head(&columns)
        );
        for (setting, found) in known {
            out += &row([
                escape(&setting.name),
                format!("{:.3}", found.mean_cosine),
                format!("{:.1} %", 100.0 * found.mutual),
                format!("{:.1} %", 100.0 * found.found),
            ]);
        }
        out
    }

    /// A line a SAE and ratio, numbers in full.
    fn csv(&self) -> String {
        let names = [
            "sae",
            "d_sae",
            "mean_max_cosine",
            "effective_rank",
            "ratio",
            "ce_loss_with_sae",
            "cost",
            "kl_div_with_sae",
            "variance_explained",
            "l0",
            "frac_alive",
        ];
        let mut out = csv_line(names.into_iter().map(String::from));
        for (name, figures) in &self.saes {
            for ((ratio, point), (_, cost)) in figures.points().iter().zip(figures.costs()) {
                let numbers = [
                    figures.d_sae as f64,
                    figures.redundancy.mean_max_cosine,
                    figures.redundancy.effective_rank,
                    *ratio,
                    point.ce_loss_with_sae,
                    cost,
                    point.kl_div_with_sae,
                    point.variance_explained,
                    point.l0,
                    point.frac_alive,
                ];
                let number = |v: f64| if v.is_finite() { v.to_string() } else { String::new() };
                out += &csv_line([name.clone()].into_iter().chain(numbers.into_iter().map(number)));
            }
        }
        out
    }

    fn costs(&self) -> String {
        let line = |setting: &Setting| Line {
            name: setting.name.clone(),
            points: setting.costs.iter().map(|(ratio, cost)| (*ratio, cost.mean)).collect(),
            band: setting.costs.iter().map(|(_, cost)| (cost.low, cost.high)).collect(),
        };
        let all: Vec<Line> = self.settings.iter().map(line).collect();
        lines("What pruning an SAE costs", "ratio", "nats of cross-entropy", &all)
    }

    fn against(&self) -> String {
        let mut order: Vec<&Setting> = self.settings.iter().collect();
        order.sort_by(|a, b| a.mean_max_cosine.mean.total_cmp(&b.mean_max_cosine.mean));
        let line = |at: usize| Line {
            name: format!("at ratio {}", self.ratio(at)),
            points: order.iter().map(|setting| (setting.mean_max_cosine.mean, setting.costs[at].1.mean)).collect(),
            band: order.iter().map(|setting| (setting.costs[at].1.low, setting.costs[at].1.high)).collect(),
        };
        let all: Vec<Line> = self.shown().into_iter().map(line).collect();
        lines("Cost of pruning against redundancy", "mean max decoder cosine", "nats of cross-entropy", &all)
    }
}

fn spread(of: &Spread, digits: usize) -> String {
    match of.width() > 0.0 {
        true => format!("{:.digits$} ({:.digits$} to {:.digits$})", of.mean, of.low, of.high),
        false => format!("{:.digits$}", of.mean),
    }
}
