//! Charts as SVG, for pages that are read outside a terminal: every series has a colour, a dash and a sign of its own.

mod axis;
pub mod forest;
pub mod lines;

use std::fmt::Write;

use super::markup::escape;

/// Okabe and Ito's colours, that people with any colour vision tell apart.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
const DASHES: [&str; 4] = ["none", "7 3", "2 3", "9 3 2 3"];

/// The picture's frame with its title, for readers that show no pictures too.
fn head(width: f64, height: f64, title: &str) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} \
         {height:.0}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{title}</title>\n<rect width=\"100%\" \
         height=\"100%\" fill=\"white\"/>\n<text x=\"12\" y=\"20\" font-size=\"14\">{title}</text>\n"
    )
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(words));
}

fn line(out: &mut String, [x1, y1, x2, y2]: [f64; 4], style: &str) {
    let _ = writeln!(out, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>");
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

fn dash(at: usize) -> &'static str {
    DASHES[at % DASHES.len()]
}

/// A sign at a point: disc, square, triangle, diamond.
fn sign(out: &mut String, at: usize, x: f64, y: f64) {
    let colour = colour(at);
    let _ = match at % 4 {
        0 => writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"),
        1 => {
            let (x, y) = (x - 3.2, y - 3.2);
            writeln!(out, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"6.4\" height=\"6.4\" fill=\"{colour}\"/>")
        }
        2 => writeln!(out, "<path d=\"M{:.1} {:.1}l4 7h-8z\" fill=\"{colour}\"/>", x, y - 4.0),
        _ => writeln!(out, "<path d=\"M{:.1} {:.1}l4 4-4 4-4-4z\" fill=\"{colour}\"/>", x, y - 4.0),
    };
}
