//! The report's parts, and both ways of writing them down. Everything in them may come from strangers: it is escaped here.

use std::fmt::Write;

use prunelens_core::session::layers::ranges;

use super::Report;
use crate::{
    export::{markup, study, table},
    safe,
    study::{
        Place,
        decide::{Decided, by_session, sentence},
        results::Results,
    },
};

/// In their order.
#[derive(Default)]
pub struct Parts(Vec<Part>);

enum Part {
    Heading(u8, String),
    Text(String),
    List(Vec<String>),
    Table(Vec<String>, Vec<Vec<String>>),
    Chart { file: String, caption: String, svg: String },
}

impl Parts {
    pub fn heading(&mut self, level: u8, text: impl Into<String>) {
        self.0.push(Part::Heading(level, text.into()));
    }

    pub fn text(&mut self, text: impl Into<String>) {
        self.0.push(Part::Text(text.into()));
    }

    pub fn list(&mut self, items: Vec<String>) {
        self.0.push(Part::List(items));
    }

    pub fn table(&mut self, columns: Vec<String>, rows: Vec<Vec<String>>) {
        self.0.push(Part::Table(columns, rows));
    }

    /// `file` without its ending; a name that is taken gets a number.
    pub fn chart(&mut self, file: String, caption: String, svg: String) {
        let named = |n: usize| if n == 1 { format!("{file}.svg") } else { format!("{file}-{n}.svg") };
        let is_free = |name: &String| self.charts().all(|(other, _)| other != name);
        let file = (1..).map(named).find(is_free).unwrap_or_default();
        self.0.push(Part::Chart { file, caption, svg });
    }

    pub fn charts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|part| match part {
            Part::Chart { file, svg, .. } => Some((file.as_str(), svg.as_str())),
            _ => None,
        })
    }
}

/// What to do with the SAEs, in words and numbers.
pub fn decisions(report: &Report, out: &mut Parts) {
    out.heading(2, "What to do with the SAEs");
    let rules = &report.rules;
    for (session, layers) in by_session(&report.decided) {
        out.text(format!("{session}: {}.", sentence(layers)));
        let columns = ["layer", "decision", "by", "holds pruned up to", "knee", "numbers"].map(String::from);
        let many = |all: &[(String, f64)]| match all.is_empty() {
            true => "-".to_owned(),
            false => all.iter().map(|(criterion, at)| format!("{at} ({criterion})")).collect::<Vec<_>>().join(", "),
        };
        let row = |d: &Decided| {
            let mut said = d.numbers(rules);
            if let crate::study::decide::Decision::Open(missing) = &d.decision {
                said.extend(missing.iter().map(|what| format!("missing: {what}")));
            }
            said.extend(d.notes.iter().cloned());
            let layer = d.layer.map_or("-".into(), |layer| layer.to_string());
            let by = if d.by.is_empty() { "-" } else { d.by }.to_owned();
            vec![layer, d.decision.to_string(), by, many(&d.holds_up_to()), many(&d.knees), said.join("; ")]
        };
        out.table(columns.into(), layers.iter().map(row).collect());
    }
    out.text(format!(
        "An SAE holds on the compressed model if its reconstruction error (mse_per_element) is at most {} % above that of the original \
         SAE on the original model, kl_div_with_sae at most {} nats, and mean_absorption_fraction_score, where it is measured, at most \
         {} above the original's. An SAE that holds is kept, unless a pruned one has {} nats less cross-entropy; one that does not hold \
         is pruned at the ratio that holds with the lowest cross-entropy, and trained anew if none does. The study's [decide] sets these \
         rules. No decision is made where figures are missing.",
        100.0 * rules.error_rise,
        rules.kl,
        rules.absorption_rise,
        rules.gain
    ));
}

/// What is not measured, with why, layers put together.
pub fn missing(results: &Results, out: &mut Parts) {
    out.heading(2, "Not measured");
    if results.missing.is_empty() {
        out.text("Nothing of the study is missing.");
        return;
    }
    type Same<'a> = (&'a Place, &'a str, &'a str);
    let mut together: Vec<(Same, Vec<usize>)> = Vec::new();
    for cell in &results.missing {
        let of = |place: &Place| (place.session.clone(), place.compress.clone(), place.seed);
        let is_it = |(place, name, why): &Same| of(place) == of(&cell.place) && *name == cell.name && *why == cell.why;
        match together.iter_mut().find(|(same, _)| is_it(same)) {
            Some((_, layers)) => layers.extend(cell.place.layer),
            None => together.push(((&cell.place, &cell.name, &cell.why), cell.place.layer.into_iter().collect())),
        }
    }
    let line = |((place, name, why), mut layers): (Same, Vec<usize>)| {
        layers.sort_unstable();
        let layers = if layers.is_empty() { String::new() } else { format!(", layers {}", ranges(&layers)) };
        let seed = place.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
        format!("{}, {}{layers}{seed}: {name}: {why}", place.session, place.compress)
    };
    out.list(together.into_iter().map(line).collect());
}

/// How the figures were made and what is not known of them.
pub fn method(report: &Report, out: &mut Parts) {
    out.heading(2, "How sure the figures are");
    out.text(
        "Where seeds of training or of probes repeat a measurement, figures are means, with the least and the largest in brackets. One \
         seed says nothing of its noise.",
    );
    out.text(
        "Square brackets are intervals of 95 % over rows of the text: percentiles of 1,000 resamples of rows, or of up to 128 blocks of \
         consecutive rows, the same in all SAEs of a session, so that differences are of pairs. core and sweep have them, of losses, \
         divergence and squared error, from 8 rows on. A band around a curve is that interval, or where there are seeds, from the \
         least to the largest. They say what other rows of this text would give, and nothing of other texts.",
    );
    let mut made: Vec<String> =
        report.results.measured.iter().map(|cell| format!("{} on {}", cell.version, cell.device)).collect();
    made.sort_unstable();
    made.dedup();
    if !made.is_empty() {
        out.text(format!(
            "Measured by prunelens {}. Figures of other devices differ in their last digits.",
            made.join(", ")
        ));
    }
    out.text("All figures: figures.csv, figures.json and figures.parquet.");
}

pub fn markdown(title: &str, parts: &Parts) -> String {
    let words = |text: &str| markup::escape(&safe::line(text)).replace("&quot;", "\"").replace("&#39;", "'");
    let mut out = format!("# {}\n\n", words(title));
    for part in &parts.0 {
        match part {
            Part::Heading(level, text) => out += &format!("{} {}\n\n", "#".repeat((*level).into()), words(text)),
            Part::Text(text) => out += &format!("{}\n\n", words(text)),
            Part::List(items) => {
                items.iter().for_each(|item| out += &format!("- {}\n", words(item)));
                out.push('\n');
            }
            Part::Table(columns, rows) => {
                let cell = |text: &String| table::escape(&words(text));
                out += &study::head(&columns.iter().map(|c| words(c)).collect::<Vec<_>>());
                rows.iter().for_each(|row| out += &study::row(row.iter().map(cell)));
                out.push('\n');
            }
            Part::Chart { file, caption, .. } => out += &format!("![{}]({file})\n\n", words(caption)),
        }
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

/// Charts are drawn on white; here they take the page's colours.
const STYLE: &str = "\
:root{color-scheme:light dark;--muted:#6b7280;--line:#d6d9df}\
@media(prefers-color-scheme:dark){:root{--muted:#9aa1ad;--line:#3a404b}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem;border-top:1px solid var(--line);padding-top:1rem}h3{font-size:1rem;margin-top:1.5rem}\
p,ul{max-width:60rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}\
th,td{padding:.15rem .6rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}\
th:first-child,td:first-child,.text{text-align:left}.long{min-width:14rem}.scroll{overflow-x:auto}\
figure{display:inline-block;margin:.5rem 1rem .5rem 0;max-width:100%}figcaption{color:var(--muted);font-size:13px}\
svg{max-width:100%;height:auto}svg text{fill:currentColor}svg rect[fill=white]{fill:none}\
svg line[stroke=\"#eee\"]{stroke:var(--line)}svg [stroke=\"#000000\"]{stroke:currentColor}svg [fill=\"#000000\"]{fill:currentColor}";

pub fn html(title: &str, parts: &Parts) -> String {
    let words = |text: &str| markup::escape(&safe::line(text));
    let title = words(title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <title>prunelens: {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    for part in &parts.0 {
        let _ = match part {
            Part::Heading(level, text) => writeln!(out, "<h{level}>{}</h{level}>", words(text)),
            Part::Text(text) => writeln!(out, "<p>{}</p>", words(text)),
            Part::List(items) => {
                let items: Vec<_> = items.iter().map(|item| format!("<li>{}</li>", words(item))).collect();
                writeln!(out, "<ul>{}</ul>", items.join("\n"))
            }
            Part::Table(columns, rows) => {
                let class = |at: usize| class_of(rows.iter().filter_map(|row| row.get(at)));
                let classes: Vec<&str> = (0..columns.len()).map(class).collect();
                let cells = |tag: &str, cells: &[String]| {
                    let cell = |(cell, class): (&String, &&str)| format!("<{tag}{class}>{}</{tag}>", words(cell));
                    cells.iter().zip(&classes).map(cell).collect::<String>()
                };
                let heads = cells("th", columns);
                let rows: String = rows.iter().map(|row| format!("<tr>{}</tr>\n", cells("td", row))).collect();
                writeln!(out, "<div class=\"scroll\"><table>\n<tr>{heads}</tr>\n{rows}</table></div>")
            }
            Part::Chart { caption, svg, .. } => {
                writeln!(out, "<figure>{svg}<figcaption>{}</figcaption></figure>", words(caption))
            }
        };
    }
    out + "</body>\n</html>\n"
}

/// Words stand at the left, numbers at the right; sentences need room.
fn class_of<'a>(column: impl Iterator<Item = &'a String> + Clone) -> &'static str {
    let words = column.clone().any(|cell| cell.starts_with(char::is_alphabetic) && cell != "NaN");
    match column.map(String::len).max() {
        Some(41..) => " class=\"text long\"",
        _ if words => " class=\"text\"",
        _ => "",
    }
}
