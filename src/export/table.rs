//! A table of metrics as JSON, CSV, Markdown and plain text.

use prunelens_core::text::safe;
use prunelens_metrics::{MetricRow, MetricTable};
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr;

/// One object: settings, one object a figure with its values by variant, warnings. `null` where undefined.
pub fn json(table: &MetricTable) -> Value {
    let settings: Map<_, _> =
        table.settings.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let rows: Vec<_> = table
        .rows
        .iter()
        .map(|row| {
            let values = table.variants.iter().zip(&row.values);
            let values: Map<_, _> = values.map(|(variant, &value)| (variant.to_string(), value.into())).collect();
            json!({ "category": row.category, "name": row.name, "better": row.better, "values": values })
        })
        .collect();
    json!({
        "metric": table.metric,
        "settings": settings,
        "variants": table.variants,
        "rows": rows,
        "warnings": table.warnings,
        "progress": table.progress,
    })
}

/// A header line, then one line a figure; empty cells where undefined. Numbers are given in full.
pub fn csv(table: &MetricTable) -> String {
    let header = ["metric", "category", "name"].map(String::from).into_iter();
    let mut out = csv_line(header.chain(table.variants.iter().map(ToString::to_string)));
    for row in &table.rows {
        let names = [&table.metric, &row.category, &row.name].map(String::clone).into_iter();
        out += &csv_line(names.chain(row.values.iter().map(|v| v.map(|v| v.to_string()).unwrap_or_default())));
    }
    out
}

pub(super) fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let quoted = cells.map(|cell| {
        // A spreadsheet would run a cell that begins like a formula; numbers may begin with a sign.
        let formula = cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
        let cell = if formula { format!("'{cell}") } else { cell };
        if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

/// Text that neither a terminal nor a Markdown table acts on.
pub(super) fn escape(text: &str) -> String {
    safe(text).replace('\\', "\\\\").replace('|', "\\|")
}

/// Settings as a list, figures as a table, warnings as a list.
pub fn markdown(table: &MetricTable) -> String {
    let mut out = format!("## {}\n\n", escape(&table.metric));
    for (name, value) in &table.settings {
        out += &format!("- {}: {}\n", escape(name), escape(value));
    }
    let variants: Vec<_> = table.variants.iter().map(ToString::to_string).collect();
    out += &format!("\n| figure | {} |\n|---|{}\n", variants.join(" | "), "---:|".repeat(variants.len()));
    for row in &table.rows {
        out += &format!("| {} | {} |\n", escape(&row.name), cells(row).join(" | "));
    }
    if !table.warnings.is_empty() {
        out.push('\n');
        table.warnings.iter().for_each(|warning| out += &format!("- **{}**\n", escape(warning)));
    }
    out
}

/// Aligned columns for a terminal, with the categories as headings.
pub fn text(table: &MetricTable) -> String {
    let mut out = String::new();
    for (name, value) in &table.settings {
        out += &format!("{}  {}\n", pad(&safe(name), 12), safe(value));
    }
    let name_width = table.rows.iter().map(|row| row.name.width() + 2).max().unwrap_or(0);
    let header: String = table.variants.iter().map(|v| format!("{:>12}", v.name())).collect();
    out += &format!("\n{}{header}\n", " ".repeat(name_width));
    let mut category = "";
    for row in &table.rows {
        if row.category != category {
            category = &row.category;
            out += &format!("{}\n", safe(category));
        }
        let values: String = cells(row).iter().map(|cell| format!("{cell:>12}")).collect();
        out += &format!("{}{values}\n", pad(&format!("  {}", safe(&row.name)), name_width));
    }
    for warning in &table.warnings {
        out += &format!("! {}\n", safe(warning));
    }
    out
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn cells(row: &MetricRow) -> Vec<String> {
    row.values.iter().map(|value| value.map_or_else(|| "-".into(), short)).collect()
}

/// Four decimals where they say something; whole numbers without any.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e9 {
        format!("{value}")
    } else if (1e-3..1e5).contains(&size) {
        format!("{value:.4}")
    } else {
        format!("{value:.2e}")
    }
}

/// Four decimals, or a power of ten where they would say too little: alike for whole numbers and others, as in one column.
pub fn number(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) { format!("{value:.4}") } else { format!("{value:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunelens_core::compare::Variant;
    use prunelens_metrics::Better;

    fn table() -> MetricTable {
        let row = |name: &str, values: [Option<f64>; 2]| MetricRow {
            category: "cat".into(),
            name: name.into(),
            better: Better::Higher,
            values: values.into(),
        };
        MetricTable {
            metric: "core".into(),
            settings: vec![("text".into(), "a|b\u{1b}[31m".into())],
            variants: vec![Variant::Original, Variant::Pruned],
            rows: vec![row("ce_loss_score", [Some(0.123_456_789), None]), row("n", [Some(-4096.0), Some(1e-9)])],
            warnings: vec!["odd, \"very\"".into()],
            progress: 1.0,
            blocks: Vec::new(),
        }
    }

    #[test]
    fn json_keeps_full_numbers_and_nulls() {
        let json = json(&table());
        assert_eq!(json["settings"]["text"], "a|b\u{1b}[31m");
        assert_eq!(json["rows"][0]["values"]["original"], 0.123_456_789);
        assert!(json["rows"][0]["values"]["pruned"].is_null());
        assert_eq!(json["rows"][0]["better"], "higher");
        let keys: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["metric", "settings", "variants", "rows", "warnings", "progress"]);
    }

    #[test]
    fn csv_quotes() {
        assert_eq!(
            csv(&table()),
            "metric,category,name,original,pruned\ncore,cat,ce_loss_score,0.123456789,\ncore,cat,n,-4096,0.000000001\n"
        );
        let line = csv_line(["=1+1", "a,b", "say \"x\""].map(String::from).into_iter());
        assert_eq!(line, "'=1+1,\"a,b\",\"say \"\"x\"\"\"\n");
    }

    #[test]
    fn markdown_and_text_show_no_control_characters() {
        let markdown = markdown(&table());
        assert!(markdown.contains("- text: a\\|b\\\\u{1b}[31m\n"), "{markdown}");
        assert!(markdown.contains("| ce_loss_score | 0.1235 | - |\n| n | -4096 | 1.00e-9 |\n"), "{markdown}");
        assert!(markdown.contains("|---|---:|---:|\n"));
        let text = text(&table());
        assert!(text.contains("  ce_loss_score      0.1235           -\n"), "{text}");
        assert!(!text.contains('\u{1b}') && text.ends_with("! odd, \"very\"\n"));
    }
}
