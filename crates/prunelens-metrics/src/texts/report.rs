//! Result files and tables of the families on labelled texts.

use prunelens_core::{compare::Reader, text::safe};
use serde_json::{Map, Value, json};

use super::run::{Column, TextMetric, TextsRun, UnitResult, mean_over_units};
use crate::{
    Detail, Measure, MetricRow, MetricTable,
    details::Cell,
    report::{Identity, ResultFile, RunStamp, number},
};

/// How the family's objects are laid out in a file.
pub trait Layout {
    /// Part of the names of figures that are shown class by class.
    const OF_CLASS: &'static str;

    /// All fields of SAEBench's config of the family.
    fn config(&self, reader: &Reader, model_name: &str) -> Value;

    /// What SAEBench calls a unit in the details.
    fn detail_name(&self, unit: &str) -> String;

    /// Class by class, as SAEBench nests it; `name` is the unit's data set.
    fn unstructured(&self, name: &str, result: &UnitResult, out: &mut Map<String, Value>);
}

/// The file of one variant, the `reader`-th.
pub fn result_file<F: TextMetric + Layout>(
    run: &TextsRun<F>,
    reader: usize,
    results: &[Vec<UnitResult>],
    identity: &Identity,
    stamp: &RunStamp,
) -> ResultFile {
    let family = run.family();
    let columns = family.columns();
    let mut categories = Map::new();
    for column in &columns {
        let value = mean_over_units(results, reader, &column.name).map_or(Value::Null, number);
        if let Value::Object(category) = categories.entry(column.category).or_insert_with(|| json!({})) {
            category.insert(column.name.clone(), value);
        }
    }
    let (mut details, mut unstructured) = (Vec::new(), Map::new());
    let mut sizes = Map::new();
    for (unit, results) in run.units().iter().zip(results) {
        let mut detail = Map::new();
        detail.insert("dataset_name".into(), family.detail_name(&unit.name).into());
        for column in &columns {
            detail.insert(column.name.clone(), results[reader].get(&column.name).map_or(Value::Null, number));
        }
        details.push(Value::Object(detail));
        family.unstructured(&unit.dataset, &results[reader], &mut unstructured);
        sizes.insert(unit.name.clone(), json!({ "train": unit.train_size, "test": unit.test_size }));
    }
    // What two files must agree in to be compared.
    unstructured.insert("prunelens".into(), json!({ "texts": format!("{:016x}", run.digest()), "sizes": sizes }));
    ResultFile {
        eval_config: family.config(&run.readers()[reader], &identity.model_name),
        eval_result_metrics: Value::Object(categories),
        eval_result_details: Value::Array(details),
        eval_result_unstructured: Value::Object(unstructured),
        ..ResultFile::new(family.name(), identity, stamp)
    }
}

/// A figure of every class as objects: class, then figure.
pub fn by_class(result: &UnitResult) -> Map<String, Value> {
    let figures = |figures: &[(String, f64)]| {
        Value::Object(figures.iter().map(|(name, value)| (name.clone(), number(*value))).collect())
    };
    result.classes.iter().map(|(class, values)| (class.clone(), figures(values))).collect()
}

/// Figures so far: the means, then unit by unit.
pub fn table<F: TextMetric + Layout>(run: &TextsRun<F>) -> MetricTable {
    let (done, total) = run.progress();
    let results = run.results();
    let readers = run.readers();
    let columns = run.family().columns();
    let row = |category: String, column: &Column, value: &dyn Fn(usize) -> Option<f64>| MetricRow {
        category,
        name: column.name.clone(),
        better: column.better,
        values: (0..readers.len()).map(|reader| value(reader).filter(|v| v.is_finite())).collect(),
    };
    let measured = |column: &&Column| results.is_empty() || mean_over_units(results, 0, &column.name).is_some();
    let mut rows = Vec::new();
    for column in columns.iter().filter(measured) {
        rows.push(row(column.category.into(), column, &|reader| mean_over_units(results, reader, &column.name)));
    }
    for (unit, results) in run.units().iter().zip(results) {
        let name = safe(&unit.name);
        if run.units().len() > 1 {
            let has = |column: &&Column| results.iter().any(|result| result.get(&column.name).is_some());
            for column in columns.iter().filter(has) {
                rows.push(row(name.clone(), column, &|reader| results[reader].get(&column.name)));
            }
        }
    }
    MetricTable {
        metric: run.family().name().into(),
        settings: Vec::new(),
        variants: readers.iter().map(|reader| reader.variant).collect(),
        rows,
        warnings: warnings(run),
        progress: done as f64 / total.max(1) as f64,
        blocks: Vec::new(),
    }
}

/// The figures of single classes: a table a unit.
pub fn details<F: TextMetric + Layout>(run: &TextsRun<F>) -> Vec<Detail> {
    let variants = run.readers().iter().map(|reader| reader.variant.to_string());
    let columns: Vec<String> = ["class".to_owned(), "figure".into()].into_iter().chain(variants).collect();
    let mut details = Vec::new();
    for (unit, results) in run.units().iter().zip(run.results()) {
        let mut rows = Vec::new();
        for (at, (class, figures)) in results.first().map_or(&[][..], |result| &result.classes).iter().enumerate() {
            for (figure, _) in figures.iter().filter(|(name, _)| name.contains(F::OF_CLASS)) {
                let value = |result: &UnitResult| {
                    let (_, figures) = result.classes.get(at)?;
                    figures.iter().find(|(name, _)| name == figure).map(|(_, value)| *value)
                };
                let cells = results.iter().map(|result| Cell::from(value(result)));
                rows.push([safe(class).into(), figure.clone().into()].into_iter().chain(cells).collect());
            }
        }
        if !rows.is_empty() {
            details.push(Detail::table(format!("{} by class", safe(&unit.name)), columns.clone(), rows));
        }
    }
    details
}

/// Fewer test texts than this make steps of more than a percent.
const STEADY: usize = 100;

fn warnings<F: TextMetric>(run: &TextsRun<F>) -> Vec<String> {
    let mut warnings = Vec::new();
    let fewest = run.units().iter().min_by_key(|unit| unit.test_size);
    if let Some(unit) = fewest.filter(|unit| unit.test_size < STEADY) {
        warnings.push(format!(
            "{}: {} test texts a class, so accuracies move in steps of {:.3}",
            safe(&unit.name),
            unit.test_size,
            1.0 / unit.test_size as f64
        ));
    }
    let of_family = run.units().iter().find_map(|unit| Some((unit, run.family().warning(unit)?)));
    warnings.extend(of_family.map(|(unit, what)| format!("{}: {what}", safe(&unit.name))));
    // Where the model itself does not know the classes, its latents say little about the SAE.
    let mut weakest: Option<(f64, String)> = None;
    for (unit, results) in run.units().iter().zip(run.results()) {
        for (reader, result) in run.readers().iter().zip(results) {
            for (name, accuracy) in &result.of_model {
                // SCR's biased probe is meant to know one label less well.
                let own = !name.contains("tested on");
                if own && *accuracy < 0.6 && weakest.as_ref().is_none_or(|(before, _)| accuracy < before) {
                    let what = format!("{} on {}, {name}", reader.variant, unit.name);
                    weakest = Some((*accuracy, what));
                }
            }
        }
    }
    if let Some((accuracy, what)) = weakest {
        warnings.push(format!("{}: the model's own probe is right on {:.0} % only", safe(&what), 100.0 * accuracy));
    }
    warnings
}
