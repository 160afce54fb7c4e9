//! Figures of one session against the ratio, as charts of the Metrics screen are made.

use prunelens_core::compare::Variant;
use prunelens_metrics::{
    Detail,
    details::{Mark, Series},
};

use super::{
    Place,
    layer::{AGAINST_RATIO, LayerFigures},
    results::Results,
};

/// A chart for each figure that has a curve: the pruned SAE by criterion, and the other variants as levels.
pub fn of(results: &Results, place: &Place) -> Vec<Detail> {
    let sessions = results.sessions();
    let mut layers = sessions.iter().filter(|session| session.has(place)).flat_map(LayerFigures::of);
    let Some(layer) = layers.find(|layer| place.layer.is_none_or(|at| layer.layer == Some(at))) else {
        return Vec::new();
    };
    AGAINST_RATIO.iter().filter_map(|(figure, unit)| chart(&layer, figure, unit)).collect()
}

fn chart(layer: &LayerFigures, figure: &str, unit: &str) -> Option<Detail> {
    let metric = layer.widest();
    // The knee is the loss'.
    let knees = if figure == AGAINST_RATIO[0].0 { layer.knees() } else { Vec::new() };
    let curves = layer.curves(metric, figure);
    let end = curves.iter().flat_map(|(_, points)| points.iter().map(|(ratio, _)| *ratio)).fold(0.0, f64::max);
    let mut series: Vec<Series> = Vec::new();
    for (criterion, points) in &curves {
        let points: Vec<(f64, f64)> = points.iter().map(|(ratio, value)| (*ratio, value.mean)).collect();
        let knee = knees.iter().find(|(c, _)| c == criterion).and_then(|(_, at)| points.iter().find(|(r, _)| r == at));
        let mark = knee.map(|at| Mark { at: *at, name: "knee".into() });
        series.push(Series { name: format!("pruned {criterion}"), variant: Some(Variant::Pruned), points, mark });
    }
    if series.iter().all(|line| line.points.len() < 2) {
        return None;
    }
    for variant in [Variant::Original, Variant::Transfer, Variant::Trained] {
        if let Some(value) = layer.value(metric, figure, &variant.into()) {
            let points = vec![(0.0, value.mean), (end, value.mean)];
            series.push(Series { name: variant.name().into(), variant: Some(variant), points, mark: None });
        }
    }
    Some(Detail::lines(format!("{figure} ({metric})"), "ratio", unit, series))
}
