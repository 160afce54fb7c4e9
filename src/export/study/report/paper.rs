//! Beside the numbers published for GPT-2 small (arXiv 2507.15977), where model, hook and compression are the same.

use std::str::FromStr;

use prunelens_core::{compare::Variant, model::HookPoint};

use super::{parts::Parts, tables::spread};
use crate::study::{
    VariantAt,
    results::{Measured, Point, SessionResults},
};

const PUBLISHED: &str = include_str!("paper.csv");
const MODELS: [&str; 3] = ["gpt2", "openai-community/gpt2", "gpt2-small"];
/// What the paper names, and what its released code does.
const COMPRESSIONS: [&str; 2] = ["wanda:0.5", "paper:0.5"];
/// The criterion of the released code.
const RELEASED: &str = "paper";
const FIGURE: &str = "ce_loss_score";

/// A published line: of one hook and variant, by layer.
struct Published {
    site: &'static str,
    variant: Variant,
    ratio: Option<f64>,
    layers: Vec<f64>,
}

fn published() -> Vec<Published> {
    let line = |line: &'static str| {
        let mut cells = line.split(',');
        let (site, variant, ratio) = (cells.next()?, Variant::from_str(cells.next()?).ok()?, cells.next()?);
        let layers = cells.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Published { site, variant, ratio: ratio.parse().ok(), layers })
    };
    PUBLISHED.lines().filter(|line| !line.starts_with('#')).skip(1).filter_map(line).collect()
}

pub fn write(session: &SessionResults, out: &mut Parts) {
    if !COMPRESSIONS.contains(&session.compress) {
        return;
    }
    let cells = session.measured.iter().filter(|cell| {
        let model = cell.basis.get("original on").unwrap_or_default();
        cell.table.metric == "core" && MODELS.contains(&model)
    });
    let points: Vec<(&'static str, Point)> = cells.flat_map(|cell| points(cell)).collect();
    for site in ["hook_resid_post", "hook_mlp_out", "attn.hook_z"] {
        let here = points.iter().filter(|(of, _)| *of == site).map(|(_, point)| point).collect::<Vec<_>>();
        let mut layers: Vec<usize> = here.iter().filter_map(|point| point.layer).collect();
        layers.sort_unstable();
        layers.dedup();
        if layers.is_empty() {
            continue;
        }
        let by = |criterion: &str| here.iter().any(|point| point.of.criterion.as_deref() == Some(criterion));
        let rule = if by(RELEASED) { RELEASED } else { "wanda" };
        out.heading(3, format!("{FIGURE} beside the published numbers, {site}"));
        let mut rows = Vec::new();
        for line in published().into_iter().filter(|line| line.site == site) {
            let of = VariantAt::new(line.variant, None, line.ratio);
            let ours = |layer: &usize| {
                let is_it = |point: &&&Point| {
                    point.layer == Some(*layer)
                        && point.of.variant == line.variant
                        && point.of.ratio.filter(|_| line.ratio.is_some()) == line.ratio
                        && point.of.criterion.as_deref().is_none_or(|criterion| criterion == rule)
                };
                spread(&here.iter().filter(is_it).filter_map(|point| point.value).collect::<Vec<_>>())
            };
            let theirs = |layer: &usize| line.layers.get(*layer).map_or("-".into(), |value| format!("{value:.2}"));
            rows.push([format!("{of}, here")].into_iter().chain(layers.iter().map(ours)).collect());
            rows.push([format!("{of}, published")].into_iter().chain(layers.iter().map(theirs)).collect());
        }
        let head = ["layer".to_owned()].into_iter().chain(layers.iter().map(ToString::to_string));
        out.table(head.collect(), rows);
        out.text(
            "Published: from the result files released with arXiv 2507.15977, two decimals. They were measured on other text (openwebtext) \
             and in float16; the base model is not the same in all their columns: the loss without an SAE is 3.84 nats for transfer and \
             trained and 3.57 for both pruned ones, which fits a model that is not pruned. They show the size of an effect, and are no \
             target.",
        );
        if rule != RELEASED || session.compress != COMPRESSIONS[1] {
            out.text(format!(
                "What was released was pruned by another rule than Wanda's, that of the released code: `{}` and criterion \
                 `{RELEASED}` here. Above stand `{}` and `{rule}`.",
                COMPRESSIONS[1], session.compress
            ));
        }
    }
}

/// Scores with the site that they were measured at.
fn points(cell: &Measured) -> Vec<(&'static str, Point)> {
    let hook = cell.table.settings.iter().find(|(name, _)| name == "hook").and_then(|(_, hook)| hook.parse().ok());
    let Some(HookPoint { site, .. }) = hook else { return Vec::new() };
    let all = cell.points().into_iter().filter(|point| point.figure == FIGURE);
    all.map(|point| (site.name(), point)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::study::report::parts::markdown,
        study::{
            made::{core, place},
            results::Results,
        },
    };

    fn page(model: &str, compress: &str) -> String {
        let mut measured = core(place(1), [(1.0, 0.5, 3.0); 5]);
        for cell in &mut measured {
            cell.place.compress = compress.into();
            cell.table.settings[0].1 = model.into();
            cell.basis = crate::study::Basis::of(&cell.table, &serde_json::json!({}));
        }
        let mut out = Parts::default();
        write(&Results { measured, missing: Vec::new() }.sessions()[0], &mut out);
        markdown("t", &out)
    }

    #[test]
    fn the_published_numbers_are_whole() {
        let all = published();
        assert_eq!(all.len(), 12);
        assert!(all.iter().all(|line| line.layers.len() == 12 && line.layers.iter().all(|v| v.is_finite())));
    }

    #[test]
    fn our_numbers_stand_above_the_published_ones_of_the_same_layer() {
        let page = page("openai-community/gpt2", "wanda:0.5");
        for line in [
            "| transfer, here | 0.9500 |",
            "| transfer, published | 0.99 |",
            "| pruned 0.25, published | 0.42 |",
            "| pruned 0.5, here | 0.9500 |",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert!(page.contains("other text") && page.contains("another rule than Wanda's"), "{page}");
        assert!(!self::page("gpt2", "paper:0.5").is_empty());
    }

    #[test]
    fn other_models_and_compressions_have_none() {
        assert_eq!(page("demo", "wanda:0.5"), "# t\n");
        assert_eq!(page("gpt2", "wanda:0.6"), "# t\n");
    }
}
