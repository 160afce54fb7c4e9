//! One prompt at every layer, as lines: one a layer and variant.

use std::{fmt::Write, sync::Arc};

use prunelens_core::{
    compare::{LayerFigures, Variant, VariantFigures},
    sae::Setting,
};
use serde_json::{Map, Value, json};

use super::{Document, table::escape};
use crate::safe;

/// The strip of layers, as far as it is known.
#[derive(Clone, Debug)]
pub struct StripFigures {
    pub model: String,
    pub compression: String,
    pub prompt: String,
    /// Of the `pruned` variant.
    pub setting: Setting,
    /// Ascending.
    pub layers: Vec<Arc<LayerFigures>>,
}

const NAMES: [&str; 6] = ["explained_variance", "l0", "ce_loss_with_sae", "kl_div_with_sae", "active", "survive"];

/// In the order of [`NAMES`].
fn values(layer: &LayerFigures, of: &VariantFigures) -> [Option<f64>; 6] {
    let count = |n: usize| n as f64;
    let all = [
        Some(of.explained_variance),
        Some(of.l0),
        Some(of.ce),
        Some(of.kl),
        Some(count(layer.active)),
        of.survive.map(count),
    ];
    all.map(|value| value.filter(|v| v.is_finite()))
}

impl StripFigures {
    pub fn documents(&self) -> Vec<Document> {
        // A value of plain numbers and strings always serialises.
        let json = serde_json::to_string_pretty(&self.json()).unwrap_or_default() + "\n";
        vec![
            Document { extension: "json".into(), text: json },
            Document { extension: "csv".into(), text: self.csv() },
            Document { extension: "md".into(), text: self.markdown() },
        ]
    }

    fn json(&self) -> Value {
        let variant = |layer: &LayerFigures, (variant, of): &(Variant, VariantFigures)| {
            let named: Map<String, Value> =
                NAMES.iter().zip(values(layer, of)).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            (variant.to_string(), Value::Object(named))
        };
        let layer = |layer: &Arc<LayerFigures>| {
            let variants: Map<String, Value> = layer.variants.iter().map(|of| variant(layer, of)).collect();
            json!({ "layer": layer.layer, "hook": layer.hook, "sae": layer.sae, "variants": variants })
        };
        let mut object = Map::new();
        object.insert("model".into(), json!(self.model));
        object.insert("compression".into(), json!(self.compression));
        object.insert("prompt".into(), json!(self.prompt));
        object.extend(self.setting.entries().into_iter().map(|(name, value)| (name.to_owned(), value)));
        object.insert(
            "unit".into(),
            json!({
                "active": "pairs of token and latent active in original, special tokens left out",
                "survive": "those of them active in the variant",
                "kl_div_with_sae": "nats",
                "ce_loss_with_sae": "nats",
            }),
        );
        object.insert("layers".into(), self.layers.iter().map(layer).collect());
        Value::Object(object)
    }

    /// One line a layer and variant; empty cells where there is nothing to count.
    pub fn csv(&self) -> String {
        let mut out = format!("layer,hook,variant,{}\n", NAMES.join(","));
        for layer in &self.layers {
            for (variant, of) in &layer.variants {
                let cells = values(layer, of).map(|value| value.map(|v| v.to_string()).unwrap_or_default());
                let _ = writeln!(out, "{},{},{variant},{}", layer.layer, layer.hook, cells.join(","));
            }
        }
        out
    }

    pub fn markdown(&self) -> String {
        let mut out = format!(
            "**{}**, {}, the SAE compressed alike: {}\n\n> {}\n\n",
            escape(&self.model),
            escape(&self.compression),
            self.setting.words(),
            safe::line(&self.prompt)
        );
        let _ =
            writeln!(out, "| layer | hook | variant | {} |\n|---:|---|---|{}", NAMES.join(" | "), "---:|".repeat(6));
        for layer in &self.layers {
            for (variant, of) in &layer.variants {
                let text = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), super::table::short);
                let cells = values(layer, of).map(text);
                let _ = writeln!(out, "| {} | `{}` | {variant} | {} |", layer.layer, layer.hook, cells.join(" | "));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use prunelens_core::sae::{Criterion, Knob};

    use super::*;

    #[test]
    fn a_line_a_layer_and_variant() {
        let of = |kl: f64, survive| VariantFigures { explained_variance: 0.5, l0: 2.0, ce: 3.25, kl, survive };
        let layer = LayerFigures {
            layer: 3,
            hook: "blocks.3.hook_resid_post".into(),
            sae: "2k".into(),
            setting: Knob::Ratio(Criterion::Wanda).at(0.25),
            active: 8,
            variants: vec![
                (Variant::Original, of(0.125, Some(8))),
                (Variant::Pruned, of(f64::NAN, Some(5))),
                (Variant::Trained, of(0.5, None)),
            ],
        };
        let figures = StripFigures {
            model: "a|b".into(),
            compression: "wanda 50%".into(),
            prompt: "navy".into(),
            setting: layer.setting,
            layers: vec![Arc::new(layer)],
        };
        let csv = figures.csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(
            lines[0],
            "layer,hook,variant,explained_variance,l0,ce_loss_with_sae,kl_div_with_sae,active,survive"
        );
        assert_eq!(lines[1], "3,blocks.3.hook_resid_post,original,0.5,2,3.25,0.125,8,8");
        assert_eq!(lines[2], "3,blocks.3.hook_resid_post,pruned,0.5,2,3.25,,8,5");
        assert_eq!(lines[3], "3,blocks.3.hook_resid_post,trained,0.5,2,3.25,0.5,8,");
        let json = figures.json();
        assert_eq!(json["layers"][0]["variants"]["pruned"]["kl_div_with_sae"], Value::Null);
        assert_eq!((json["ratio"].as_f64(), json["layers"][0]["layer"].as_u64()), (Some(0.25), Some(3)));
        let markdown = figures.markdown();
        assert!(markdown.contains("**a\\|b**") && markdown.contains("| 3 | `blocks.3.hook_resid_post` | original |"));
    }
}
