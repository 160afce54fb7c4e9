//! A family's own tables and charts as CSV, Markdown and plain text.

use prunelens_core::text::safe;
use prunelens_metrics::{
    Detail,
    details::{Cell, DetailKind, Series},
};

use super::table::{csv_line, escape, short};

/// A header line, then the rows; of a chart one line a point. Numbers are given in full.
pub fn csv(detail: &Detail) -> String {
    match &detail.kind {
        DetailKind::Table { columns, rows } => {
            let lines = rows.iter().map(|row| csv_line(row.iter().map(full)));
            std::iter::once(csv_line(columns.iter().cloned())).chain(lines).collect()
        }
        DetailKind::Lines { x_label, y_label, series } => {
            let head = ["series", "variant", x_label, y_label, "mark"].map(String::from);
            let mut out = csv_line(head.into_iter());
            for line in series {
                for &(x, y) in &line.points {
                    let mark = line.mark.as_ref().filter(|m| m.at.0 == x).map(|m| m.name.clone()).unwrap_or_default();
                    let variant = line.variant.map(|v| v.to_string()).unwrap_or_default();
                    out += &csv_line([line.name.clone(), variant, number(x), number(y), mark].into_iter());
                }
            }
            out
        }
    }
}

fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

fn full(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Number(value) => number(*value),
        Cell::Empty => String::new(),
    }
}

/// A cell as people read it.
pub fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => safe(text),
        Cell::Number(value) if value.is_finite() => short(*value),
        Cell::Number(_) => "-".into(),
        Cell::Empty => String::new(),
    }
}

/// Columns and rows of a detail; of a chart one column a line, one row an x.
pub fn grid(detail: &Detail) -> (Vec<String>, Vec<Vec<Cell>>) {
    match &detail.kind {
        DetailKind::Table { columns, rows } => (columns.clone(), rows.clone()),
        DetailKind::Lines { x_label, series, .. } => {
            let mut xs: Vec<f64> = series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).collect();
            xs.sort_by(f64::total_cmp);
            xs.dedup();
            let at = |line: &Series, x: f64| line.points.iter().find(|p| p.0 == x).map(|p| p.1);
            let row = |&x: &f64| {
                std::iter::once(Cell::Number(x)).chain(series.iter().map(|line| Cell::from(at(line, x)))).collect()
            };
            let columns = std::iter::once(x_label.clone()).chain(series.iter().map(|s| s.name.clone())).collect();
            (columns, xs.iter().map(row).collect())
        }
    }
}

/// Points that matter, such as knees, in words.
pub fn marks(detail: &Detail) -> Vec<String> {
    let DetailKind::Lines { series, .. } = &detail.kind else { return Vec::new() };
    let mark = |line: &Series| {
        let mark = line.mark.as_ref()?;
        Some(format!("{} of {} at {}", safe(&mark.name), safe(&line.name), short(mark.at.0)))
    };
    series.iter().filter_map(mark).collect()
}

pub fn markdown(detail: &Detail) -> String {
    let (columns, rows) = grid(detail);
    let heads: Vec<_> = columns.iter().map(|c| escape(c)).collect();
    let mut out =
        format!("### {}\n\n| {} |\n|{}\n", escape(&detail.title), heads.join(" | "), "---|".repeat(heads.len()));
    for row in &rows {
        let cells: Vec<_> = row.iter().map(|c| escape(&cell(c))).collect();
        out += &format!("| {} |\n", cells.join(" | "));
    }
    let marks = marks(detail);
    if !marks.is_empty() {
        out += &format!("\n{}\n", marks.iter().map(|m| escape(m)).collect::<Vec<_>>().join("; "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunelens_core::compare::Variant;
    use prunelens_metrics::details::Mark;

    fn chart() -> Detail {
        let line = |name: &str, ys: [f64; 2], mark| Series {
            name: name.into(),
            variant: Some(Variant::Pruned),
            points: vec![(0.0, ys[0]), (0.5, ys[1])],
            mark,
        };
        let knee = Mark { at: (0.5, 2.0), name: "knee".into() };
        Detail::lines(
            "loss",
            "ratio",
            "CE",
            vec![line("wanda", [1.0, 2.0], Some(knee)), line("random", [1.0, f64::NAN], None)],
        )
    }

    #[test]
    fn charts_are_written_point_by_point() {
        assert_eq!(
            csv(&chart()),
            "series,variant,ratio,CE,mark\nwanda,pruned,0,1,\nwanda,pruned,0.5,2,knee\nrandom,pruned,0,1,\nrandom,pruned,0.5,,\n"
        );
        let markdown = markdown(&chart());
        assert!(markdown.contains("| ratio | wanda | random |\n|---|---|---|\n| 0 | 1 | 1 |\n"), "{markdown}");
        assert!(markdown.ends_with("\nknee of wanda at 0.5000\n"), "{markdown}");
    }

    #[test]
    fn tables_keep_their_cells() {
        let rows = vec![
            vec![Cell::from("a|b\u{1b}"), Cell::from(0.25), Cell::Empty],
            vec![Cell::from("c"), Cell::from(f64::NAN)],
        ];
        let table = Detail::table("t", ["x", "y", "z"], rows);
        assert_eq!(csv(&table), "x,y,z\na|b\u{1b},0.25,\nc,\n");
        assert!(markdown(&table).contains("| a\\|b\\\\u{1b} | 0.2500 |  |\n| c | - |\n"), "{}", markdown(&table));
    }
}
