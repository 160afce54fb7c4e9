//! Rules of pruning the model beside each other: what each leaves of the latents.

use std::path::Path;

use prunelens_core::{compare::Variant, error::Result};
use prunelens_metrics::{
    study::rules::{EQUAL, FIRINGS, Share},
    sweep::PointFigures,
};

use super::{head, row};
use crate::{
    export::{
        charts::forest::{Row, forest},
        table::{csv_line, escape},
    },
    output,
    study::rules::{Rule, RulesReport},
};

impl Rule {
    /// The untouched SAE on the compressed model.
    fn transfer(&self) -> PointFigures {
        let found = self.figures.curves.fixed.iter().find(|(variant, _)| *variant == Variant::Transfer);
        found.map_or(PointFigures::UNKNOWN, |(_, figures)| *figures)
    }

    /// The SAE pruned alike.
    fn pruned(&self) -> PointFigures {
        let curve = self.figures.curves.curves.first();
        curve.and_then(|curve| curve.points.last()).map_or(PointFigures::UNKNOWN, |(_, figures)| *figures)
    }
}

impl RulesReport {
    /// All files, by name.
    pub fn files(&self) -> Result<Vec<(String, String)>> {
        Ok(vec![
            ("rules.md".into(), self.markdown()),
            ("rules.csv".into(), self.csv()),
            ("rules.json".into(), output::json(self)? + "\n"),
            ("rules.svg".into(), self.chart()),
        ])
    }

    /// For a terminal.
    pub fn text(&self, report: &Path) -> String {
        let mut out = format!(
            "{:<28} {:>7} {:>9} {:>9} {:>10} {:>7} {:>12}",
            "", "zeros", "model CE", "CE, SAE", "half kept", "dead", "pruned alike"
        );
        for rule in &self.rules {
            let (point, survival) = (rule.transfer(), &rule.survival);
            out += &format!(
                "\n{:<28} {:>6.1}% {:>9.4} {:>9.4} {:>9.1}% {:>6.1}% {:>11.1}%",
                rule.rule,
                100.0 * rule.figures.zeros,
                point.ce_loss_without_sae,
                point.ce_loss_with_sae,
                100.0 * survival.half.value,
                100.0 * survival.dead.value,
                100.0 * survival.half_pruned.value
            );
        }
        out + &format!(
            "\nlatents with half of their mass or more, and with less than 1 %; written: {}",
            report.display()
        )
    }

    fn markdown(&self) -> String {
        let latents = self.rules.first().map_or(0, |rule| rule.survival.latents);
        let mut out = format!(
            "# Which rule of pruning keeps latents alive?\n\n- SAE {} at `{}` of {}; {latents} latents fire {FIRINGS} times or more on \
             the original model, and count\n- text: {}, {} rows, {} positions\n- *half kept*: latents with half or more of their mass on \
             the compressed model; *dead*: with less than 1 % of it; *pruned alike*: half kept with the SAE pruned to {} by {} as well\n- \
             intervals: 1.96 standard errors to both sides, by resampling blocks of rows; differences are from the first rule, in the \
             same resamples\n\n",
            escape(&self.sae),
            escape(&self.hook),
            escape(&self.model),
            escape(&self.text),
            self.rows,
            self.positions,
            self.ratio,
            escape(&self.criterion),
        );
        let columns =
            ["rule", "zeros", "model's CE", "CE with SAE", "EV", "correlation", "half kept", "dead", "pruned alike"];
        out += &head(&columns.map(String::from));
        for rule in &self.rules {
            let (point, survival) = (rule.transfer(), &rule.survival);
            out += &row([
                format!("`{}`", escape(&rule.rule)),
                format!("{:.1} %", 100.0 * rule.figures.zeros),
                format!("{:.4}", point.ce_loss_without_sae),
                format!("{:.4}", point.ce_loss_with_sae),
                format!("{:.3}", point.variance_explained),
                format!("{:.3}", survival.correlation),
                percent(&survival.half),
                percent(&survival.dead),
                percent(&survival.half_pruned),
            ]);
        }
        out += "\n![Latents that keep half of their mass](rules.svg)\n\n## Against the first rule\n\n";
        out += &self.differences();
        out + &self.sparsity()
    }

    fn differences(&self) -> String {
        let mut out = head(&["rule", "half kept", "dead", "pruned alike"].map(String::from));
        for rule in self.rules.iter().skip(1) {
            let survival = &rule.survival;
            let cells = [&survival.half, &survival.dead, &survival.half_pruned].map(against);
            out += &row([format!("`{}`", escape(&rule.rule))].into_iter().chain(cells));
        }
        out + "\nPoints of per cent; *noise*: the interval holds 0.\n"
    }

    /// What is to be said where rules do not leave equally many weights.
    fn sparsity(&self) -> String {
        let zeros = || self.rules.iter().map(|rule| rule.figures.zeros);
        let (least, most) = (zeros().fold(1.0, f64::min), zeros().fold(0.0, f64::max));
        match most - least > EQUAL {
            true => format!(
                "\n**These rules are not of equal sparsity**: {:.1} % to {:.1} % of the weights are 0, and what is said of one against \
                 another is of that too.\n",
                100.0 * least,
                100.0 * most
            ),
            false => String::new(),
        }
    }

    fn csv(&self) -> String {
        let names = [
            "rule",
            "zeros",
            "ce_loss_without_sae",
            "ce_loss_with_sae",
            "variance_explained",
            "ce_loss_with_pruned_sae",
            "correlation",
            "half_kept",
            "half_kept_low",
            "half_kept_high",
            "dead",
            "half_kept_pruned",
        ];
        let mut out = csv_line(names.into_iter().map(String::from));
        for rule in &self.rules {
            let (point, survival) = (rule.transfer(), &rule.survival);
            let bounds = survival.half.interval.map_or([f64::NAN; 2], |interval| [interval.low, interval.high]);
            let numbers = [
                rule.figures.zeros,
                point.ce_loss_without_sae,
                point.ce_loss_with_sae,
                point.variance_explained,
                rule.pruned().ce_loss_with_sae,
                survival.correlation,
                survival.half.value,
                bounds[0],
                bounds[1],
                survival.dead.value,
                survival.half_pruned.value,
            ];
            let number = |v: f64| if v.is_finite() { v.to_string() } else { String::new() };
            out += &csv_line([rule.rule.clone()].into_iter().chain(numbers.into_iter().map(number)));
        }
        out
    }

    fn chart(&self) -> String {
        let series = ["untouched SAE", "SAE pruned alike"].map(String::from);
        let value = |share: &Share| {
            let bounds = share.interval.map_or((f64::NAN, f64::NAN), |interval| (interval.low, interval.high));
            Some((share.value, bounds.0, bounds.1))
        };
        let of = |rule: &Rule| (rule.rule.clone(), vec![value(&rule.survival.half), value(&rule.survival.half_pruned)]);
        let rows: Vec<Row> = self.rules.iter().map(of).collect();
        forest("Latents that keep half of their mass", "share, with the 95 % interval over rows", &series, &rows)
    }
}

fn percent(share: &Share) -> String {
    let bounds = share
        .interval
        .map_or(String::new(), |interval| format!(" [{:.1}, {:.1}]", 100.0 * interval.low, 100.0 * interval.high));
    format!("{:.1} %{bounds}", 100.0 * share.value)
}

fn against(share: &Share) -> String {
    let Some((difference, interval)) = share.against_first else { return "-".into() };
    let Some(interval) = interval else { return format!("{:+.1}", 100.0 * difference) };
    let noise = if interval.has_zero() { " noise" } else { "" };
    format!("{:+.1} [{:+.1}, {:+.1}]{noise}", 100.0 * difference, 100.0 * interval.low, 100.0 * interval.high)
}
