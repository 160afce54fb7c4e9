//! The figures of a prompt and of finished metrics as JSON, CSV and Markdown.

use std::{fmt::Write, sync::Arc};

use prunelens_core::{
    compare::{
        Comparison, Variant,
        predict::{Candidate, Prediction, Predictions, Speaker},
    },
    edit::Edits,
    sae::{Knob, Setting},
};
use prunelens_metrics::MetricTable;
use serde_json::{Value, json};

use super::{
    comparison::{self, NAMES, values},
    pair::PairFigures,
    table,
};
use crate::safe;

/// Latents listed per token.
const TOP: usize = 10;

/// A file to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub extension: String,
    pub text: String,
}

/// Everything there is to export, and where it comes from.
#[derive(Clone, Debug)]
pub struct Figures {
    pub model: String,
    pub compression: String,
    pub sae: String,
    pub sae_name: String,
    pub comparison: Arc<Comparison>,
    pub tables: Vec<Arc<MetricTable>>,
    /// A second prompt, where there is one.
    pub pair: Option<PairFigures>,
    /// In force while the models predict. All other figures are those without them.
    pub edits: Edits,
    /// What the models say after the selected token, with these edits, if it is known.
    pub predictions: Option<Predictions>,
}

impl Figures {
    pub fn documents(&self) -> Vec<Document> {
        // A value of plain numbers and strings always serialises.
        let json = serde_json::to_string_pretty(&self.json()).unwrap_or_default() + "\n";
        let mut documents = vec![
            Document { extension: "json".into(), text: json },
            Document { extension: "csv".into(), text: self.csv() },
            Document { extension: "md".into(), text: self.markdown() },
        ];
        documents.extend(self.pair.iter().map(|pair| Document { extension: "pair.csv".into(), text: pair.csv() }));
        // Metrics have lines of their own, under a name that is short and ours.
        documents.extend(
            self.tables.iter().enumerate().map(|(at, metrics)| Document {
                extension: format!("metrics-{}.csv", at + 1),
                text: table::csv(metrics),
            }),
        );
        documents
    }

    /// The object of `inspect --json`, with edits, predictions, and the metrics measured so far.
    pub fn json(&self) -> Value {
        let mut object = comparison::json(&self.comparison, TOP);
        let rest = [
            (
                "models",
                json!({
                    "original": { "name": self.model },
                    "pruned": { "name": self.model, "compression": self.compression },
                }),
            ),
            ("sae", json!({ "name": self.sae_name, "label": self.sae })),
            ("edits", self.edits.list.iter().map(ToString::to_string).collect()),
            ("edit_error", json!(self.edits.error.to_string())),
            ("predictions", json!(self.predictions.as_ref().map(|said| predictions(&self.comparison, said)))),
            ("metrics", self.tables.iter().map(|t| table::json(t)).collect()),
        ];
        object.extend(rest.map(|(name, value)| (name.to_owned(), value)));
        object.extend(self.pair.iter().map(|pair| ("second_prompt".to_owned(), pair.json())));
        Value::Object(object)
    }

    /// One line a figure, one column a variant.
    pub fn csv(&self) -> String {
        let names: Vec<_> = self.comparison.views.iter().map(|v| v.variant.name()).collect();
        let columns: Vec<_> = self.comparison.views.iter().map(values).collect();
        let mut out = format!("figure,{}\n", names.join(","));
        for (at, name) in NAMES.iter().enumerate() {
            let cells: Vec<_> = columns.iter().map(|c| c[at].map(|v| v.to_string()).unwrap_or_default()).collect();
            let _ = writeln!(out, "{name},{}", cells.join(","));
        }
        out
    }

    pub fn markdown(&self) -> String {
        let c = &*self.comparison;
        let mut out = format!(
            "**{}**, {}, SAE {} at `{}`, {}\n\n> {}\n\n",
            safe::line(&self.model),
            safe::line(&self.compression),
            safe::line(&self.sae),
            c.hook,
            pruned_to(c.setting),
            safe::line(&c.prompt)
        );
        if !self.edits.list.is_empty() {
            let edits: Vec<String> = self.edits.list.iter().map(|edit| format!("#{edit}")).collect();
            let _ = writeln!(out, "Edits in force, of which these figures are without: {}\n", edits.join(", "));
        }
        let variants: Vec<Variant> = c.views.iter().map(|v| v.variant).collect();
        let columns: Vec<_> = c.views.iter().map(values).collect();
        let rows: Vec<_> = (0..NAMES.len()).map(|at| (NAMES[at], columns.iter().map(|c| c[at]).collect())).collect();
        push_table(&mut out, &variants, &rows);
        if let Some(pair) = &self.pair {
            let _ = write!(out, "\n{}", pair.markdown());
        }
        for metrics in &self.tables {
            let _ = write!(out, "\n{}", table::markdown(metrics));
        }
        out
    }
}

/// What is said after a token: by whom, and with what probability.
fn predictions(comparison: &Comparison, said: &Predictions) -> Value {
    let candidate = |next: &Candidate| {
        json!({
            "id": next.id,
            "string": String::from_utf8_lossy(&next.piece),
            "alone": next.alone,
            "probability": next.probability,
        })
    };
    let one = |prediction: &Prediction| {
        let (what, variant) = match prediction.of {
            Speaker::Model(variant) => ("model", variant),
            Speaker::Spliced(variant) => ("reconstruction", variant),
            Speaker::Edited(variant) => ("edited", variant),
        };
        json!({
            "of": what,
            "variant": variant.name(),
            "kl_div": prediction.kl,
            "ce_loss": prediction.ce,
            "top": prediction.top.iter().map(candidate).collect::<Vec<_>>(),
        })
    };
    let after = comparison.tokens.get(said.token).map(|token| String::from_utf8_lossy(&token.piece).into_owned());
    json!({ "token": said.token, "after": after, "list": said.list.iter().map(one).collect::<Vec<_>>() })
}

/// What was done to the SAE that is compressed as its model was.
fn pruned_to(setting: Setting) -> String {
    match setting.knob {
        Knob::Ratio(criterion) => format!("pruned to {} by {criterion}", setting.at),
        _ => format!("compressed alike: {}", setting.words()),
    }
}

fn push_table(out: &mut String, variants: &[Variant], rows: &[(&str, Vec<Option<f64>>)]) {
    let names: Vec<_> = variants.iter().map(|v| v.name()).collect();
    let _ = writeln!(out, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
    for (name, values) in rows {
        let cells: Vec<_> = values.iter().map(|v| v.map_or("-".to_owned(), |v| format!("{v:.4}"))).collect();
        let _ = writeln!(out, "| {} | {} |", safe::line(name), cells.join(" | "));
    }
}
