//! The figures of a prompt and of finished metrics as JSON, CSV and Markdown.

use std::{fmt::Write, sync::Arc};

use serde_json::{Value, json};

use crate::{
    compare::{Comparison, Variant, View, grid_ratio},
    export::table,
    metrics::MetricTable,
    safe,
};

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
    pub comparison: Arc<Comparison>,
    pub tables: Vec<Arc<MetricTable>>,
}

/// Names of a prompt's figures, in the order of every table.
const NAMES: [&str; 7] =
    ["l0", "mse", "explained_variance", "cossim", "ce_loss_with_sae", "ce_loss_without_sae", "kl_div_with_sae"];

/// Values in the order of [`NAMES`]; `None` where not measured.
fn values(view: &View) -> [Option<f64>; 7] {
    let r = view.reconstruction;
    let s = view.splice;
    [
        r.map(|r| r.l0),
        r.map(|r| r.mse),
        r.map(|r| r.explained_variance),
        r.map(|r| r.cossim),
        s.map(|s| s.ce_loss_with_sae),
        s.map(|s| s.ce_loss_without_sae),
        s.map(|s| s.kl_div_with_sae),
    ]
    .map(|v| v.filter(|v| v.is_finite()))
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
        // Metrics have lines of their own, under a name that is short and ours.
        documents.extend(
            self.tables.iter().enumerate().map(|(at, metrics)| Document {
                extension: format!("metrics-{}.csv", at + 1),
                text: table::csv(metrics),
            }),
        );
        documents
    }

    pub fn json(&self) -> Value {
        let c = &*self.comparison;
        let tokens: Vec<_> = c
            .tokens
            .iter()
            .map(|t| json!({ "id": t.id, "string": String::from_utf8_lossy(&t.piece), "special": t.special }))
            .collect();
        let variants: serde_json::Map<_, _> =
            c.views.iter().map(|v| (v.variant.name().to_owned(), view_json(v))).collect();
        let survival = c.paths.as_ref().map(|p| {
            let share = |(step, &s): (usize, &f64)| json!({ "ratio": grid_ratio(step), "alive": s });
            p.survival.iter().enumerate().map(share).collect::<Vec<_>>()
        });
        json!({
            "prompt": c.prompt,
            "tokens": tokens,
            "hook": c.hook,
            "models": { "original": self.model, "pruned": format!("{} {}", self.model, self.compression) },
            "sae": self.sae,
            "ratio": c.ratio,
            "criterion": c.criterion,
            "special_tokens": "left out of l0, mse, explained_variance and cossim; losses are over all positions",
            "variants": variants,
            "survival": survival,
            "metrics": self.tables.iter().map(|t| table::json(t)).collect::<Vec<_>>(),
        })
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
            "**{}**, {}, SAE {} at `{}`, pruned to {} by {}\n\n> {}\n\n",
            safe::line(&self.model),
            safe::line(&self.compression),
            safe::line(&self.sae),
            c.hook,
            c.ratio,
            c.criterion,
            safe::line(&c.prompt)
        );
        let variants: Vec<Variant> = c.views.iter().map(|v| v.variant).collect();
        let columns: Vec<_> = c.views.iter().map(values).collect();
        let rows: Vec<_> = (0..NAMES.len()).map(|at| (NAMES[at], columns.iter().map(|c| c[at]).collect())).collect();
        push_table(&mut out, &variants, &rows);
        for metrics in &self.tables {
            let _ = write!(out, "\n{}", table::markdown(metrics));
        }
        out
    }
}

fn view_json(view: &View) -> Value {
    let mut object: serde_json::Map<_, _> =
        NAMES.iter().zip(values(view)).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let top = (0..view.latents.rows()).map(|row| {
        let (indices, values) = view.latents.row(row);
        let mut pairs: Vec<_> = indices.iter().zip(values).collect();
        pairs.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
        pairs
            .iter()
            .take(TOP)
            .map(|(latent, value)| json!({ "latent": latent, "activation": value }))
            .collect::<Vec<_>>()
    });
    object.insert("top".into(), top.collect());
    Value::Object(object)
}

fn push_table(out: &mut String, variants: &[Variant], rows: &[(&str, Vec<Option<f64>>)]) {
    let names: Vec<_> = variants.iter().map(|v| v.name()).collect();
    let _ = writeln!(out, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
    for (name, values) in rows {
        let cells: Vec<_> = values.iter().map(|v| v.map_or("-".to_owned(), |v| format!("{v:.4}"))).collect();
        let _ = writeln!(out, "| {} | {} |", safe::line(name), cells.join(" | "));
    }
}
