//! An atlas as a table of figures, and as charts and lists.

use prunelens_core::{compare::Variant, sae::Knob};

use super::{
    Fate, Spec,
    columns::{fates, importance},
    moments::{Moments, pearson},
    sums::Sums,
};
use crate::{
    Better, Detail, MetricRow,
    details::{Cell, Series},
};

/// Latents in the list of the most important.
const LISTED: usize = 20;

/// The variants that are measured.
pub fn variants(sums: &Sums) -> Vec<Variant> {
    Variant::ALL.into_iter().filter(|variant| !moments(sums, *variant).is_empty()).collect()
}

fn moments(sums: &Sums, variant: Variant) -> &[Moments] {
    match variant {
        Variant::Original => &sums.original,
        Variant::Transfer => &sums.transfer,
        Variant::Pruned => &sums.pruned,
        Variant::Trained => &sums.trained,
    }
}

/// Figures of whole dictionaries, from the first batch to the last.
pub fn rows(sums: &Sums) -> Vec<MetricRow> {
    let variants = variants(sums);
    let n = sums.positions;
    let row = |category: &str, name: &str, of: &dyn Fn(Variant) -> f64| MetricRow {
        category: category.into(),
        name: name.into(),
        better: Better::Neither,
        values: variants.iter().map(|variant| Some(of(*variant)).filter(|v| v.is_finite())).collect(),
    };
    let alive = |variant| moments(sums, variant).iter().filter(|m| m.fired > 0).count() as f64;
    let size = |variant| moments(sums, variant).len() as f64;
    let fired = |variant| moments(sums, variant).iter().map(|m| m.fired).sum::<u64>() as f64;
    let mass = |variant| moments(sums, variant).iter().map(|m| m.sum).sum::<f64>();
    let corr = |variant| {
        let at = match variant {
            Variant::Transfer => 0,
            Variant::Pruned => 1,
            // By their matches, which the table of latents has.
            Variant::Original | Variant::Trained => return f64::NAN,
        };
        let pairs = sums.original.iter().zip(moments(sums, variant)).zip(&sums.products);
        let known = pairs.map(|((a, b), products)| pearson(n, a, b, products[at])).filter(|r| !r.is_nan());
        let (sum, known) = known.fold((0.0, 0.0), |(sum, n), r| (sum + r, n + 1.0));
        sum / known
    };
    vec![
        row("dictionary", "latents_alive", &alive),
        row("dictionary", "frac_alive", &|variant| alive(variant) / size(variant)),
        row("activity", "l0", &|variant| fired(variant) / n as f64),
        row("activity", "l1", &|variant| mass(variant) / n as f64),
        row("likeness_to_original", "mean_corr", &corr),
    ]
}

/// Curves against the ratio, how many latents have which fate, and the most important of them.
pub fn details(sums: &Sums, spec: &Spec) -> Vec<Detail> {
    if sums.positions == 0 {
        return Vec::new();
    }
    let fates = fates(sums);
    vec![curves(sums, spec), counts(&fates, spec), most_important(sums, &fates)]
}

fn curves(sums: &Sums, spec: &Spec) -> Detail {
    let (mass, alive) =
        sums.transfer.iter().fold((0.0, 0), |(mass, n), m| (mass + m.sum, n + usize::from(m.fired > 0)));
    let series = |name: &str, of: &dyn Fn(&Vec<f64>) -> f64| Series {
        name: name.into(),
        variant: Some(Variant::Pruned),
        points: spec.ratios.iter().copied().zip(sums.grid.iter().map(of)).collect(),
        mark: None,
    };
    let series = vec![
        series("mass", &|masses| masses.iter().sum::<f64>() / mass),
        series("latents alive", &|masses| masses.iter().filter(|m| **m > 0.0).count() as f64 / alive as f64),
    ];
    Detail::lines("what is left of the SAE on the pruned model", spec.setting.knob.name(), "share", series)
}

fn counts(fates: &[Fate], spec: &Spec) -> Detail {
    let row = |fate: Fate| {
        let n = fates.iter().filter(|found| **found == fate).count();
        vec![Cell::from(fate.name()), n.into(), (n as f64 / fates.len().max(1) as f64).into()]
    };
    let title = match spec.setting.knob {
        Knob::Ratio(_) => format!("fates at ratio {}", spec.setting.at),
        _ => format!("fates at {}", spec.setting.value()),
    };
    Detail::table(title, ["fate", "latents", "share"], Fate::ALL.into_iter().map(row).collect())
}

fn most_important(sums: &Sums, fates: &[Fate]) -> Detail {
    let importance = importance(sums);
    let mut order: Vec<usize> = (0..importance.len()).collect();
    order.sort_by(|a, b| importance[*b].abs().total_cmp(&importance[*a].abs()));
    let row = |&latent: &usize| {
        let (original, pruned) = (&sums.original[latent], &sums.pruned[latent]);
        vec![
            latent.into(),
            importance[latent].into(),
            (original.fired as f64 / sums.positions as f64).into(),
            original.mean().into(),
            (pruned.sum / original.sum).into(),
            fates[latent].name().into(),
        ]
    };
    let columns = ["latent", "first-order importance", "density", "mean", "mass kept", "fate"];
    let rows = order.iter().filter(|latent| importance[**latent].abs() > 0.0).take(LISTED).map(row).collect();
    Detail::table("latents the loss depends on most, to first order", columns, rows)
}
