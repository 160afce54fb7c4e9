//! Figures against the ratio at which an SAE is pruned, with knees and the signs of failure.

use prunelens_core::compare::Variant;
use prunelens_metrics::statistics::Spread;

use super::{Report, parts::Parts};
use crate::{
    export::charts::lines::{Line, lines},
    study::{
        VariantAt,
        cells::plain,
        layer::{AGAINST_RATIO, LayerFigures},
        results::SessionResults,
    },
};

/// A curve with this many points is one.
const FEWEST: usize = 3;
/// Growth of the error over the unpruned SAE's that has gone with broken latents: the sweep warns of it.
const GROWTH: f64 = 1.2;

pub fn write(report: &Report, session: &SessionResults, out: &mut Parts) {
    let layers = LayerFigures::of(session);
    let has_curve = |layer: &&LayerFigures| {
        layer.curves(layer.decisive(), AGAINST_RATIO[0].0).iter().any(|(_, points)| points.len() >= FEWEST)
    };
    let layers: Vec<&LayerFigures> = layers.iter().filter(has_curve).collect();
    if layers.is_empty() {
        return;
    }
    out.heading(3, "Against the ratio");
    let columns = [
        "layer",
        "criterion",
        "knee of the loss",
        "error over the original's limit from",
        "KL over its limit from",
        "error 20 % over the unpruned's from",
        "absorption over its limit from",
    ];
    out.table(columns.map(String::from).into(), layers.iter().flat_map(|layer| signs(report, layer)).collect());
    if layers.len() > 1 {
        together(session, &layers, out);
    }
    for layer in layers {
        for (figure, unit) in AGAINST_RATIO {
            chart(report, session, layer, (figure, unit), out);
        }
    }
}

/// From which ratio on what goes wrong, a row a criterion.
fn signs(report: &Report, layer: &LayerFigures) -> Vec<Vec<String>> {
    let metric = layer.decisive();
    let original = layer.value(metric, "mse_per_element", &Variant::Original.into());
    let knees = layer.knees();
    let from = |points: Option<&[(f64, Spread)]>, limit: f64| {
        let first = points.and_then(|points| points.iter().find(|(_, value)| value.mean > limit));
        first.map_or("-".to_owned(), |(ratio, _)| ratio.to_string())
    };
    let of = |curves: &[(String, Vec<(f64, Spread)>)], criterion: &str| {
        curves.iter().find(|(c, _)| c == criterion).map(|(_, points)| points.clone())
    };
    let (errors, kls) = (layer.curves(metric, "mse_per_element"), layer.curves(metric, "kl_div_with_sae"));
    let row = |(criterion, _): (String, Vec<(f64, Spread)>)| {
        let knee = knees.iter().find(|(c, _)| *c == criterion).map_or("-".into(), |(_, at)| at.to_string());
        let error = of(&errors, &criterion);
        let limit = original.map_or(f64::NAN, |original| original.mean * (1.0 + report.rules.error_rise));
        let unpruned = error.as_ref().and_then(|points| points.first()).map_or(f64::NAN, |(_, value)| value.mean);
        vec![
            layer.layer.map_or("-".into(), |layer| layer.to_string()),
            criterion.clone(),
            knee,
            from(error.as_deref(), limit),
            from(of(&kls, &criterion).as_deref(), report.rules.kl),
            from(error.as_deref(), unpruned * GROWTH),
            from(of(&layer.absorbed(), &criterion).as_deref(), report.rules.absorption_rise),
        ]
    };
    layer.curves(metric, "ce_loss_with_sae").into_iter().map(row).collect()
}

/// What pruning costs at each layer, in one picture for each criterion.
fn together(of: &SessionResults, layers: &[&LayerFigures], out: &mut Parts) {
    let (session, compress) = (of.name, of.compress);
    let mut criteria: Vec<String> = Vec::new();
    for (criterion, _) in layers.iter().flat_map(|layer| layer.curves(layer.decisive(), AGAINST_RATIO[0].0)) {
        if !criteria.contains(&criterion) {
            criteria.push(criterion);
        }
    }
    for criterion in criteria {
        let line = |layer: &&LayerFigures| {
            let curves = layer.curves(layer.decisive(), AGAINST_RATIO[0].0);
            let (_, points) = curves.into_iter().find(|(c, _)| *c == criterion)?;
            let first = points.first()?.1.mean;
            let points = points.into_iter().map(|(ratio, loss)| (ratio, loss.mean - first)).collect();
            let name = layer.layer.map_or("SAE".into(), |layer| format!("layer {layer}"));
            Some(Line { name, points, band: Vec::new() })
        };
        let all: Vec<Line> = layers.iter().filter_map(line).collect();
        let title = format!("What pruning the SAE by {criterion} costs: {session}, {compress}");
        let svg = lines(&title, "ratio", "nats of ce_loss_with_sae over the unpruned SAE's", &all);
        let file = format!("charts/{}-{}-cost-{}", plain(session), plain(compress), plain(&criterion));
        out.chart(file, title, svg);
    }
}

fn chart(report: &Report, of: &SessionResults, layer: &LayerFigures, (figure, unit): (&str, &str), out: &mut Parts) {
    let (session, compress) = (of.name, of.compress);
    let metric = layer.decisive();
    let curves = layer.curves(metric, figure);
    let ends = curves.iter().flat_map(|(_, points)| points.iter().map(|(ratio, _)| *ratio));
    let end = ends.fold(0.0, f64::max);
    let flat = |name: String, value: f64| Line { name, points: vec![(0.0, value), (end, value)], band: Vec::new() };
    // The knee is the loss'.
    let knees = if figure == AGAINST_RATIO[0].0 { layer.knees() } else { Vec::new() };
    let curve = |(criterion, points): (String, Vec<(f64, Spread)>)| {
        let over_rows = |(ratio, _): &(f64, Spread)| {
            let at = match *ratio {
                0.0 => Variant::Transfer.into(),
                ratio => VariantAt::pruned(&criterion, ratio),
            };
            layer.rows(metric, figure, &[&at], |of| of[0]).map(|rows| (rows.low, rows.high))
        };
        let rows: Option<Vec<(f64, f64)>> = points.iter().map(over_rows).collect();
        let seeds = points.iter().any(|(_, value)| value.width() > 0.0);
        let knee = knees.iter().find(|(c, _)| *c == criterion).map(|(_, at)| format!(", knee {at}"));
        Line {
            name: format!("pruned {criterion}{}", knee.unwrap_or_default()),
            points: points.iter().map(|(ratio, value)| (*ratio, value.mean)).collect(),
            band: match (seeds, rows) {
                (true, _) => points.iter().map(|(_, value)| (value.low, value.high)).collect(),
                (false, rows) => rows.unwrap_or_default(),
            },
        }
    };
    let mut all: Vec<Line> = curves.into_iter().map(curve).collect();
    for variant in [Variant::Original, Variant::Transfer, Variant::Trained] {
        let value = layer.value(metric, figure, &variant.into());
        all.extend(value.map(|value| flat(variant.name().into(), value.mean)));
    }
    let original = layer.value(metric, "mse_per_element", &Variant::Original.into());
    let limit = match figure {
        "kl_div_with_sae" => Some(report.rules.kl),
        "mse_per_element" => original.map(|original| original.mean * (1.0 + report.rules.error_rise)),
        _ => None,
    };
    all.extend(limit.map(|limit| flat(format!("limit {limit:.3}"), limit)));
    let place = layer.layer.map(|layer| format!(", layer {layer}")).unwrap_or_default();
    let title = format!("{figure}: {session}, {compress}{place}");
    let svg = lines(&title, "ratio", unit, &all);
    let at = layer.layer.map(|layer| format!("-{layer}")).unwrap_or_default();
    out.chart(format!("charts/{}-{}{at}-{figure}", plain(session), plain(compress)), title, svg);
}
