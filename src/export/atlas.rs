//! The atlas as it is looked at, as JSON, CSV, Markdown and SVG.

use std::{collections::BTreeMap, sync::Arc};

use prunelens_metrics::atlas::{Atlas, Fate};
use serde_json::{Map, Value, json};

use super::{
    Document, svg_chart,
    table::{csv_line, short},
};
use crate::safe;

/// Latents in the Markdown, and in the JSON.
const LISTED: usize = 50;

/// A place of the plot with its latents: 0 to 1 across and up, how many, and the fate that most of them have.
pub type Spot = (f64, f64, u32, Fate);

/// What is on screen of an atlas.
#[derive(Clone, Debug)]
pub struct AtlasFigures {
    pub atlas: Arc<Atlas>,
    /// Ratios, and how many latents have which fate at each.
    pub by_ratio: Arc<Vec<(f64, [usize; Fate::ALL.len()])>>,
    /// Columns of the plot, with the values at both ends as they are written there.
    pub axes: [(String, [String; 2]); 2],
    pub spots: Vec<Spot>,
    /// Latents in the order of a column.
    pub list: Vec<u32>,
    pub ranked: String,
    /// What is left out, in words.
    pub filters: Vec<String>,
    pub names: BTreeMap<u32, String>,
}

impl AtlasFigures {
    pub fn documents(&self) -> Vec<Document> {
        // A value of plain numbers and strings always serialises.
        let json = serde_json::to_string_pretty(&self.json()).unwrap_or_default() + "\n";
        let document = |extension: &str, text: String| Document { extension: extension.to_owned(), text };
        let [x, y] = &self.axes;
        vec![
            document("json", json),
            document("csv", self.csv()),
            document("md", self.markdown()),
            document("plot.svg", svg_chart::density(x, y, &self.spots)),
        ]
    }

    fn fate(&self, latent: u32) -> &'static str {
        self.atlas.fates.get(latent as usize).map_or("", |fate| fate.name())
    }

    fn json(&self) -> Value {
        let about = &self.atlas.about;
        let counts = |counts: &[usize]| -> Value {
            Fate::ALL
                .iter()
                .zip(counts)
                .map(|(fate, n)| (fate.name().to_owned(), json!(n)))
                .collect::<Map<_, _>>()
                .into()
        };
        json!({
            "atlas": self.atlas.path.display().to_string(),
            "positions": about.positions,
            "knob": about.knob,
            "ratio": about.ratio,
            "criterion": about.criterion,
            "hook": about.hook,
            "across": self.axes[0].0,
            "up": self.axes[1].0,
            "ordered_by": self.ranked,
            "only": self.filters,
            "latents": self.list.len(),
            "first": self.list.iter().take(LISTED).collect::<Vec<_>>(),
            "fates_by_ratio": self.by_ratio.iter().map(|(ratio, n)| json!({ "ratio": ratio, "fates": counts(n) })).collect::<Vec<_>>(),
        })
    }

    /// All columns of the latents listed.
    fn csv(&self) -> String {
        let columns = self.atlas.columns.iter().map(|(name, _)| name.clone());
        let head = ["latent".to_owned()].into_iter().chain(columns).chain(["fate".into(), "name".into()]);
        let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
        let mut out = csv_line(head);
        for latent in &self.list {
            let values = self
                .atlas
                .columns
                .iter()
                .map(|(_, values)| values.get(*latent as usize).copied().map_or_else(String::new, number));
            let name = self.names.get(latent).cloned().unwrap_or_default();
            out +=
                &csv_line([latent.to_string()].into_iter().chain(values).chain([self.fate(*latent).to_owned(), name]));
        }
        out
    }

    pub fn markdown(&self) -> String {
        let about = &self.atlas.about;
        let mut out = format!(
            "**Atlas** of {} latents at `{}` over {} positions, {}\n\n",
            about.d_sae,
            safe::line(&about.hook),
            about.positions,
            safe::line(&about.pruned())
        );
        if !self.filters.is_empty() {
            out += &format!("Only {}.\n\n", safe::line(&self.filters.join(", ")));
        }
        let shown = ["density.original", "dies_half", "importance", "corr.pruned"];
        let mut columns: Vec<&str> = vec![&self.ranked];
        columns.extend(shown.iter().filter(|name| **name != self.ranked));
        out += &format!("{} latents by {}", self.list.len(), safe::line(&self.ranked));
        out += if self.list.len() > LISTED { ", the first of them:\n\n" } else { ":\n\n" };
        out += &format!(
            "| latent | {} | fate | name |\n|---|{}---|---|\n",
            columns.join(" | "),
            "---:|".repeat(columns.len())
        );
        for latent in self.list.iter().take(LISTED) {
            let value = |name: &&str| {
                let value = self.atlas.column(name).and_then(|values| values.get(*latent as usize)).copied();
                value.filter(|v| v.is_finite()).map_or_else(|| "-".into(), short)
            };
            let values: Vec<String> = columns.iter().map(value).collect();
            let name = self.names.get(latent).map(|name| safe::line(name)).unwrap_or_default();
            out += &format!(
                "| #{latent} | {} | {} | {} |\n",
                values.join(" | "),
                self.fate(*latent),
                super::table::escape(&name)
            );
        }
        out += &format!(
            "\nLatents by fate at each ratio, told by mass alone:\n\n| ratio | {} |\n|---|{}\n",
            Fate::ALL.map(Fate::name).join(" | "),
            "---:|".repeat(Fate::ALL.len())
        );
        for (ratio, counts) in self.by_ratio.iter() {
            let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
            out += &format!("| {ratio} | {} |\n", counts.join(" | "));
        }
        out
    }
}
