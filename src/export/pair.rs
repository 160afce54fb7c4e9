//! Two prompts' latents beside each other, as lines.

use std::{fmt::Write, sync::Arc};

use prunelens_core::compare::{Comparison, Variant};
use serde_json::{Value, json};

use crate::safe;

/// A latent's largest activations in the first and in the second prompt, in the order of [`Variant::ALL`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairRow {
    pub latent: u32,
    pub first: [Option<f32>; 4],
    pub second: [Option<f32>; 4],
}

/// The table of two prompts as it is on screen.
#[derive(Clone, Debug)]
pub struct PairFigures {
    pub second: Arc<Comparison>,
    /// A token of the first prompt and what is beside it in the second, if anything; `None` for all that are not special.
    pub tokens: Option<(usize, Option<usize>)>,
    pub variants: Vec<Variant>,
    pub rows: Vec<PairRow>,
}

impl PairFigures {
    fn values(&self, row: &PairRow) -> Vec<[Option<f32>; 3]> {
        let one = |variant: &Variant| {
            let (first, second) = (row.first[*variant as usize], row.second[*variant as usize]);
            [first, second, first.zip(second).map(|(first, second)| second - first)]
        };
        self.variants.iter().map(one).collect()
    }

    /// A line a latent: for each variant its activation in the first prompt, in the second, and the difference.
    pub fn csv(&self) -> String {
        let mut out = "latent".to_owned();
        for variant in &self.variants {
            let _ = write!(out, ",{variant}_first,{variant}_second,{variant}_difference");
        }
        out.push('\n');
        for row in &self.rows {
            let cells = self.values(row).concat().into_iter().map(|v| v.map(|v| v.to_string()).unwrap_or_default());
            let _ = writeln!(out, "{},{}", row.latent, cells.collect::<Vec<_>>().join(","));
        }
        out
    }

    pub fn markdown(&self) -> String {
        let at = match self.tokens {
            Some((first, Some(second))) => format!("at token {first} of the first prompt and {second} of the second"),
            Some((first, None)) => {
                format!("at token {first} of the first prompt, which has nothing beside it in the second")
            }
            None => "the strongest of each prompt".into(),
        };
        let mut out =
            format!("Latents beside those of\n\n> {}\n\n{at}:\n\n| latent |", safe::line(&self.second.prompt));
        for variant in &self.variants {
            let _ = write!(out, " {variant} | second | difference |");
        }
        let _ = writeln!(out, "\n|---:|{}", "---:|".repeat(3 * self.variants.len()));
        for row in &self.rows {
            let cells = self.values(row).concat().into_iter().map(|v| v.map_or("-".into(), |v| format!("{v:.4}")));
            let _ = writeln!(out, "| #{} | {} |", row.latent, cells.collect::<Vec<_>>().join(" | "));
        }
        out
    }

    pub fn json(&self) -> Value {
        let row = |row: &PairRow| {
            let one = |(variant, [first, second, difference]): (&Variant, [Option<f32>; 3])| {
                (variant.to_string(), json!({ "first": first, "second": second, "difference": difference }))
            };
            let variants: serde_json::Map<_, _> = self.variants.iter().zip(self.values(row)).map(one).collect();
            json!({ "latent": row.latent, "variants": variants })
        };
        let mut object = json!({
            "prompt": self.second.prompt,
            "tokens": {
                "ids": self.second.tokens.iter().map(|t| t.id).collect::<Vec<_>>(),
                "strings": self.second.tokens.iter().map(|t| String::from_utf8_lossy(&t.piece)).collect::<Vec<_>>(),
            },
            "at": self.tokens.map(|(first, second)| json!({ "first": first, "second": second })),
            "latents": self.rows.iter().map(row).collect::<Vec<_>>(),
        });
        if let Some(object) = object.as_object_mut() {
            let entries = self.second.setting.entries();
            object.extend(entries.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        object
    }
}
