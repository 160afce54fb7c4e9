//! A session's figures side by side: only what rests on the same rows, masks and models stands in one table.

use prunelens_metrics::statistics::{Interval, Spread};

use super::parts::Parts;
use crate::{
    export::table::number,
    study::{
        Basis, VariantAt,
        reading::between,
        results::{Measured, Point, SessionResults},
    },
};

/// Figures in the tables of families that have many; of the others the first of a category.
const MAIN: [(&str, &[&str]); 3] = [
    (
        "core",
        &[
            "ce_loss_without_sae",
            "ce_loss_with_sae",
            "ce_loss_score",
            "kl_div_with_sae",
            "variance_explained",
            "mse_per_element",
            "cossim",
            "l0",
            "frac_alive",
        ],
    ),
    (
        "absorption",
        &["mean_absorption_fraction_score", "mean_full_absorption_score", "mean_num_split_features", "probe_f1"],
    ),
    ("sweep", &[]),
];
/// Figures of other families.
const MOST: usize = 8;
/// Columns beside each other; layers are not broken.
const COLUMNS: usize = 10;

/// A column: a layer, and a variant at a setting.
#[derive(Clone, Debug, PartialEq)]
struct Column {
    layer: Option<usize>,
    of: VariantAt,
}

/// The cells of one metric that may stand in one table.
struct Together<'a> {
    metric: &'a str,
    basis: &'a Basis,
    cells: Vec<&'a Measured>,
}

pub fn write(session: &SessionResults, out: &mut Parts) {
    let mut all: Vec<Together> = Vec::new();
    for &cell in &session.measured {
        match all.iter_mut().find(|t| t.metric == cell.table.metric && *t.basis == cell.basis) {
            Some(together) => together.cells.push(cell),
            None => all.push(Together { metric: &cell.table.metric, basis: &cell.basis, cells: vec![cell] }),
        }
    }
    for (at, together) in all.iter().enumerate() {
        let first = all[..at].iter().find(|other| other.metric == together.metric);
        together.write(first.map(|first| first.basis), out);
    }
}

impl Together<'_> {
    /// `first`: the basis of a table above of the same metric.
    fn write(&self, first: Option<&Basis>, out: &mut Parts) {
        if MAIN.iter().any(|(metric, main)| *metric == self.metric && main.is_empty()) {
            return;
        }
        out.heading(3, self.metric);
        let said = ["text", "rows", "context", "mask", "words"].iter();
        let said: Vec<String> = said.filter_map(|name| Some(format!("{name}: {}", self.basis.get(name)?))).collect();
        if !said.is_empty() {
            out.text(format!("{}.", said.join("; ")));
        }
        if let Some(first) = first {
            out.text(format!("Not to be compared with the table above: {}.", first.differences(self.basis).join(", ")));
        }
        let points: Vec<Point> = self.cells.iter().flat_map(|cell| cell.points()).collect();
        let rows: Vec<Option<Interval>> = self.cells.iter().flat_map(|cell| cell.intervals(&cell.points())).collect();
        let figures = figures(self.metric, &points);
        let layers = layers(&points);
        for columns in chunks(&layers) {
            let head = [String::new()].into_iter().chain(columns.iter().map(|column| column.name(layers.len() > 1)));
            let row = |(category, figure): &(&str, &str)| {
                let value = |column: &Column| {
                    let is_it = |(point, _): &(&Point, _)| {
                        (point.category.as_str(), point.figure.as_str()) == (*category, *figure) && column.has(point)
                    };
                    let of: Vec<_> = points.iter().zip(&rows).filter(is_it).collect();
                    let values: Vec<f64> = of.iter().filter_map(|(point, _)| point.value).collect();
                    // Where there are seeds, these say how sure it is.
                    match (&values[..], &of[..]) {
                        ([_], [(_, rows)]) => spread(&values) + &between(**rows, 4),
                        _ => spread(&values),
                    }
                };
                [(*figure).to_owned()].into_iter().chain(columns.iter().map(value)).collect()
            };
            out.table(head.collect(), figures.iter().map(row).collect());
        }
        let mut warnings: Vec<String> = Vec::new();
        for cell in &self.cells {
            let place = cell.place.layer.map(|layer| format!("layer {layer}, ")).unwrap_or_default();
            for warning in &cell.table.warnings {
                let line = format!("{place}{}: {warning}", cell.name);
                if !warnings.contains(&line) {
                    warnings.push(line);
                }
            }
        }
        if !warnings.is_empty() {
            out.list(warnings);
        }
    }
}

/// Those that the table has, with their categories, in the order of the metric: a figure of all data sets together is of the
/// same name in each of them.
fn figures<'a>(metric: &str, points: &'a [Point]) -> Vec<(&'a str, &'a str)> {
    let main = MAIN.iter().find(|(name, _)| *name == metric).map(|(_, main)| *main);
    let category = points.first().map(|point| point.category.as_str()).unwrap_or_default();
    // Of probing on texts the model's own channels come first, and stand beside the SAE's.
    let is_main = |point: &&Point| match main {
        Some(main) => main.contains(&point.figure.as_str()),
        None => point.category == category || point.category == "sae",
    };
    let mut all: Vec<(&str, &str)> = Vec::new();
    for point in points.iter().filter(is_main) {
        let figure = (point.category.as_str(), point.figure.as_str());
        if !all.contains(&figure) {
            all.push(figure);
        }
    }
    match main {
        Some(main) => all.sort_by_key(|(_, figure)| main.iter().position(|name| name == figure)),
        None => all.truncate(if category == "llm" { 2 * MOST } else { MOST }),
    }
    all
}

/// Columns of each layer, in order.
fn layers(points: &[Point]) -> Vec<Vec<Column>> {
    let mut all: Vec<Column> = Vec::new();
    for point in points {
        let column = Column { layer: point.layer, of: point.of.clone() };
        if !all.contains(&column) {
            all.push(column);
        }
    }
    all.sort_by(|a, b| {
        let key = |c: &Column| (c.layer, c.of.variant, c.of.criterion.clone());
        let ratio = |c: &Column| c.of.ratio.unwrap_or_default();
        key(a).cmp(&key(b)).then(ratio(a).total_cmp(&ratio(b)))
    });
    all.chunk_by(|a, b| a.layer == b.layer).map(<[Column]>::to_vec).collect()
}

/// Layers side by side, as many as there is room for.
fn chunks(layers: &[Vec<Column>]) -> Vec<Vec<Column>> {
    let mut all: Vec<Vec<Column>> = Vec::new();
    for layer in layers {
        match all.last_mut() {
            Some(last) if last.len() + layer.len() <= COLUMNS => last.extend(layer.iter().cloned()),
            _ => all.push(layer.clone()),
        }
    }
    all
}

impl Column {
    fn name(&self, layers: bool) -> String {
        match self.layer.filter(|_| layers) {
            Some(layer) => format!("{layer}: {}", self.of),
            None => self.of.to_string(),
        }
    }

    fn has(&self, point: &Point) -> bool {
        (self.layer, &self.of) == (point.layer, &point.of)
    }
}

/// A mean with its range where there are several.
pub fn spread(values: &[f64]) -> String {
    match values {
        [] => "-".into(),
        [one] => number(*one),
        many => {
            let of = Spread::of(many.iter().copied());
            format!("{} ({} to {}, n = {})", number(of.mean), number(of.low), number(of.high), many.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use prunelens_core::compare::Variant;

    use super::*;
    use crate::study::{
        made::{cell, place},
        results::Results,
    };

    #[test]
    fn a_figure_of_all_data_sets_is_not_mixed_with_its_namesake_in_each() {
        let name = "sae_top_1_test_accuracy";
        let values = [(name, vec![Some(0.75)])];
        let mut probing = cell(place(3), "sparse_probing", None, None, &[Variant::Transfer], &values);
        for (category, value) in [("kind", 0.5), ("theme", 1.0)] {
            let mut row = probing.table.rows[0].clone();
            (row.category, row.values) = (category.into(), vec![Some(value)]);
            probing.table.rows.push(row);
        }
        let mut parts = Parts::default();
        write(&Results { measured: vec![probing], missing: Vec::new() }.sessions()[0], &mut parts);
        let page = super::super::parts::markdown("made", &parts);
        assert!(page.contains("0.7500") && !page.contains("n = ") && !page.contains("1.0000"), "{page}");
    }
}
