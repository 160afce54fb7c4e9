//! A sweep as a table of figures, as charts, and as the warnings that apply.

use prunelens_core::{compare::Variant, sae::Knob};

use super::{
    Curve, LayerResult, PointFigures,
    result::{FIGURES, PointFigure, SHOWN},
};
use crate::{
    Better, Detail, MetricRow,
    details::{Cell, Mark, Series},
};

/// Divergence above which the spliced model is another model.
const KL_LIMIT: f64 = 1.0;
/// Growth of the reconstruction error over the unpruned SAE's that has gone with broken latents.
const MSE_GROWTH: f64 = 1.2;

fn shown() -> &'static [PointFigure] {
    &FIGURES[..SHOWN]
}

/// Variants that the layers have, in their order.
pub fn variants(layers: &[LayerResult]) -> Vec<Variant> {
    let has = |variant: &Variant| {
        let layer = |layer: &LayerResult| match variant {
            Variant::Pruned => !layer.curves.is_empty(),
            _ => layer.fixed.iter().any(|(v, _)| v == variant),
        };
        layers.iter().any(layer)
    };
    Variant::ALL.into_iter().filter(has).collect()
}

/// One row a layer, criterion, figure and ratio. Variants without a ratio are given beside each.
pub fn rows(layers: &[LayerResult]) -> Vec<MetricRow> {
    let variants = variants(layers);
    let mut rows = Vec::new();
    for layer in layers {
        let fixed = |variant: Variant, figure: &PointFigure| {
            let found = layer.fixed.iter().find(|(v, _)| *v == variant);
            found.map(|(_, figures)| (figure.get)(figures)).filter(|v| v.is_finite())
        };
        let row = |name: String, figure: &PointFigure, pruned: Option<&PointFigures>| {
            let value = |variant: &Variant| match variant {
                Variant::Pruned => pruned.map(figure.get).filter(|v| v.is_finite()),
                _ => fixed(*variant, figure),
            };
            let values = variants.iter().map(value).collect();
            MetricRow { category: layer.hook.to_string(), name, better: figure.better, values }
        };
        for curve in &layer.curves {
            let knee = |variant: &Variant| curve.knee_at().filter(|_| *variant == Variant::Pruned);
            rows.push(MetricRow {
                category: layer.hook.to_string(),
                name: format!("knee {}", curve.knob),
                better: Better::Neither,
                values: variants.iter().map(knee).collect(),
            });
            for figure in shown() {
                for (at, pruned) in &curve.points {
                    rows.push(row(format!("{} {} {at}", figure.name, curve.knob), figure, Some(pruned)));
                }
            }
        }
        if layer.curves.is_empty() {
            rows.extend(shown().iter().map(|figure| row(figure.name.into(), figure, None)));
        }
    }
    // Figures that this mode does not measure have no rows.
    rows.retain(|row| row.name.starts_with("knee") || row.values.iter().any(Option::is_some) || !measured(layers));
    rows
}

/// Whether anything is known at all: before, every row is kept so that names do not jump about.
fn measured(layers: &[LayerResult]) -> bool {
    layers.iter().any(|layer| {
        let curves = layer.curves.iter().flat_map(|c| c.points.iter().map(|(_, f)| f));
        curves.chain(layer.fixed.iter().map(|(_, f)| f)).any(|f| f.ce_loss_with_sae.is_finite())
    })
}

pub fn warnings(layers: &[LayerResult]) -> Vec<String> {
    let mut warnings = Vec::new();
    for layer in layers {
        for (variant, figures) in &layer.fixed {
            if figures.kl_div_with_sae > KL_LIMIT {
                let kl = figures.kl_div_with_sae;
                warnings.push(format!("{variant} at {}: kl_div_with_sae is {kl:.2}, above {KL_LIMIT}", layer.hook));
            }
        }
        for curve in &layer.curves {
            let from = |what: &str, bad: &dyn Fn(&PointFigures) -> bool| {
                let first = curve.points.iter().find(|(_, figures)| bad(figures));
                first.map(|(at, _)| {
                    format!("pruned by {} at {}: {what} from {} {at} on", curve.knob, layer.hook, curve.knob.name())
                })
            };
            let before = curve.points.first().map_or(f64::NAN, |(_, f)| f.mse_per_element);
            let percent = (MSE_GROWTH - 1.0) * 100.0;
            let grown = format!("reconstruction error more than {percent:.0} % above the unpruned SAE's");
            warnings.extend(from(&grown, &|f| f.mse_per_element > before * MSE_GROWTH));
            warnings.extend(from("kl_div_with_sae above 1", &|f| f.kl_div_with_sae > KL_LIMIT));
        }
    }
    warnings
}

/// A chart a figure and layer, a table of all points, and one of layers where there are several.
pub fn details(layers: &[LayerResult]) -> Vec<Detail> {
    let mut details = Vec::new();
    if layers.len() > 1 {
        details.push(by_layer(layers));
    }
    for layer in layers {
        let charts = shown().iter().enumerate().map(|(at, figure)| chart(layer, figure, at == 0));
        details.extend(charts.flatten());
        details.push(points(layer));
    }
    details
}

fn chart(layer: &LayerResult, figure: &PointFigure, marked: bool) -> Option<Detail> {
    // Bits of an SAE that is not rounded lie far away from all others: there, `transfer` says what it is.
    let shown = |curve: &Curve| if curve.knob == Knob::Bits { 1 } else { 0 };
    let places =
        || layer.curves.iter().flat_map(move |c| c.points[shown(c).min(c.points.len())..].iter().map(|(at, _)| *at));
    let (start, end) = (places().fold(f64::INFINITY, f64::min), places().fold(0.0, f64::max));
    let start = if start.is_finite() { start } else { 0.0 };
    let flat = layer.fixed.iter().map(|(variant, figures)| {
        let y = (figure.get)(figures);
        let points = if end > start { vec![(start, y), (end, y)] } else { vec![(start, y)] };
        Series { name: variant.name().into(), variant: Some(*variant), points, mark: None }
    });
    let curves = layer.curves.iter().map(|curve| {
        let all: Vec<_> = curve.points.iter().map(|(at, figures)| (*at, (figure.get)(figures))).collect();
        let mark = curve.knee().filter(|_| marked).map(|at| Mark { at: all[at], name: "knee".into() });
        let points = all[shown(curve).min(all.len())..].to_vec();
        Series { name: format!("pruned {}", curve.knob), variant: Some(Variant::Pruned), points, mark }
    });
    let series: Vec<Series> = flat.chain(curves).collect();
    let known = series.iter().flat_map(|s| &s.points).any(|(_, y)| y.is_finite());
    known.then(|| Detail::lines(format!("{} at {}", figure.name, layer.hook), axis(layer), figure.name, series))
}

/// What is turned along the curves.
fn axis(layer: &LayerResult) -> &'static str {
    layer.curves.first().map_or("ratio", |curve| curve.knob.name())
}

fn points(layer: &LayerResult) -> Detail {
    let row = |variant: Variant, curve: Option<&Curve>, ratio: Option<f64>, figures: &PointFigures| {
        let mut cells: Vec<Cell> = vec![variant.name().into(), curve.map(|c| c.knob.rule()).into(), ratio.into()];
        cells.extend(FIGURES.iter().map(|figure| Cell::from((figure.get)(figures))));
        let knee = curve.is_some_and(|c| c.knee_at() == ratio && ratio.is_some());
        cells.push(if knee { "knee".into() } else { Cell::Empty });
        cells
    };
    let fixed = layer.fixed.iter().map(|(variant, figures)| row(*variant, None, None, figures));
    let curves = layer.curves.iter().flat_map(|curve| {
        curve.points.iter().map(move |(ratio, figures)| row(Variant::Pruned, Some(curve), Some(*ratio), figures))
    });
    let columns =
        ["variant", "criterion", axis(layer)].into_iter().chain(FIGURES.iter().map(|f| f.name)).chain(["mark"]);
    Detail::table(format!("points at {}", layer.hook), columns, fixed.chain(curves).collect())
}

/// Loss of each variant by layer, over the model's own.
fn by_layer(layers: &[LayerResult]) -> Detail {
    let variants: Vec<_> = variants(layers).into_iter().filter(|v| *v != Variant::Pruned).collect();
    let curves: Vec<_> = layers.first().map(|l| l.curves.iter().collect()).unwrap_or_default();
    let ends = |curve: &Curve| curve.points.iter().skip(1).map(|(ratio, _)| *ratio).collect::<Vec<_>>();
    let mut columns: Vec<String> = vec!["layer".into()];
    columns.extend(variants.iter().map(|v| v.name().into()));
    for curve in &curves {
        columns.extend(ends(curve).into_iter().map(|ratio| format!("{} {ratio}", curve.knob)));
        columns.push(format!("{} knee", curve.knob));
    }
    let rise = |figures: &PointFigures| figures.ce_loss_with_sae - figures.ce_loss_without_sae;
    let rows = layers.iter().map(|layer| {
        let mut cells: Vec<Cell> = vec![layer.hook.layer.into()];
        for variant in &variants {
            cells.push(layer.fixed.iter().find(|(v, _)| v == variant).map(|(_, figures)| rise(figures)).into());
        }
        for wanted in &curves {
            let curve = layer.curves.iter().find(|c| c.knob == wanted.knob);
            for ratio in ends(wanted) {
                let point = curve.and_then(|c| c.points.iter().find(|(r, _)| *r == ratio));
                cells.push(point.map(|(_, figures)| rise(figures)).into());
            }
            cells.push(curve.and_then(Curve::knee_at).into());
        }
        cells
    });
    Detail::table("rise of the loss with the SAE, by layer", columns, rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::details::DetailKind;
    use prunelens_core::sae::Criterion;

    fn figures(ce: f64, mse: f64) -> PointFigures {
        PointFigures {
            ce_loss_without_sae: 3.0,
            ce_loss_with_sae: ce,
            mse_per_element: mse,
            kl_div_with_sae: ce - 3.0,
            ..PointFigures::UNKNOWN
        }
    }

    fn layer(at: usize) -> LayerResult {
        let points = [(0.0, 3.1, 1.0), (0.25, 3.11, 1.1), (0.5, 3.2, 1.3), (0.75, 4.5, 2.0)];
        LayerResult {
            hook: format!("blocks.{at}.hook_resid_post").parse().unwrap(),
            fixed: vec![(Variant::Original, figures(3.05, 0.9)), (Variant::Transfer, figures(3.1, 1.0))],
            curves: vec![Curve {
                knob: Knob::Ratio(Criterion::Wanda),
                points: points.map(|(ratio, ce, mse)| (ratio, figures(ce, mse))).into(),
            }],
        }
    }

    #[test]
    fn rows_give_every_ratio_beside_the_variants_without_one() {
        let layers = [layer(1)];
        assert_eq!(variants(&layers), [Variant::Original, Variant::Transfer, Variant::Pruned]);
        let rows = rows(&layers);
        let find = |name: &str| rows.iter().find(|r| r.name == name).unwrap().values.clone();
        assert_eq!(find("knee wanda"), [None, None, Some(0.5)]);
        assert_eq!(find("ce_loss_with_sae wanda 0.5"), [Some(3.05), Some(3.1), Some(3.2)]);
        assert!(!rows.iter().any(|r| r.name.starts_with("l0")), "not measured");
    }

    #[test]
    fn warnings_name_the_ratio_from_which_it_goes_wrong() {
        let warnings = warnings(&[layer(1)]);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("more than 20 %") && warnings[0].ends_with("from ratio 0.5 on"));
        assert!(warnings[1].ends_with("above 1 from ratio 0.75 on"));
    }

    #[test]
    fn charts_mark_the_knee_and_layers_are_put_side_by_side() {
        let details = details(&[layer(1), layer(2)]);
        let DetailKind::Table { columns, rows } = &details[0].kind else { panic!("{details:?}") };
        assert_eq!(columns[..4], ["layer", "original", "transfer", "wanda 0.25"]);
        assert_eq!(rows[1][0], Cell::Number(2.0));
        assert!(rows.iter().all(|row| row.len() == columns.len()) && rows[0].last() == Some(&Cell::Number(0.5)));
        let DetailKind::Lines { series, .. } = &details[1].kind else { panic!("{details:?}") };
        assert_eq!(series[0].points, [(0.0, 3.05), (0.75, 3.05)]);
        assert_eq!(series[2].mark, Some(Mark { at: (0.5, 3.2), name: "knee".into() }));
        for detail in &details {
            if let DetailKind::Table { columns, rows } = &detail.kind {
                assert!(rows.iter().all(|row| row.len() == columns.len()), "{}", detail.title);
            }
        }
    }
}
