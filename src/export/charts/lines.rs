//! Lines against one axis.

use std::fmt::Write;

use super::{axis::Axis, colour, dash, head, line, sign, text};

/// One of them; points that are no numbers are left out.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Least and largest at each point, drawn behind the line; empty: none.
    pub band: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Left, above, right, and below without the lines' names.
const MARGIN: [f64; 4] = [70.0, 44.0, 20.0, 48.0];
/// Names beside each other below the picture, and the height of a row of them.
const NAMES: usize = 3;
const NAME: f64 = 18.0;

/// A picture of lines with their names below.
pub fn lines(title: &str, x_label: &str, y_label: &str, all: &[Line]) -> String {
    let [left, above, right, below] = MARGIN;
    let bottom = HEIGHT - below;
    let xs = all.iter().flat_map(|line| line.points.iter().map(|point| point.0));
    let bands = all.iter().flat_map(|line| line.band.iter().flat_map(|(low, high)| [*low, *high]));
    let ys = all.iter().flat_map(|line| line.points.iter().map(|point| point.1)).chain(bands);
    let (x, y) = (Axis::over(xs, left, WIDTH - right), Axis::over(ys, bottom, above));
    let rows = all.len().div_ceil(NAMES) as f64;
    let mut out = head(WIDTH, HEIGHT + rows * NAME, title);
    for (value, words) in x.ticks() {
        line(&mut out, [x.at(value), above, x.at(value), bottom], "stroke=\"#eee\"");
        text(&mut out, x.at(value), bottom + 16.0, "middle", &words);
    }
    for (value, words) in y.ticks() {
        line(&mut out, [left, y.at(value), WIDTH - right, y.at(value)], "stroke=\"#eee\"");
        text(&mut out, left - 6.0, y.at(value) + 4.0, "end", &words);
    }
    text(&mut out, (left + WIDTH - right) / 2.0, bottom + 34.0, "middle", x_label);
    text(&mut out, left, above - 6.0, "start", &format!("{y_label}, upwards"));
    for (at, one) in all.iter().enumerate() {
        draw(&mut out, at, one, &x, &y);
        let place = (left + (at % NAMES) as f64 * 215.0, HEIGHT + (at / NAMES) as f64 * NAME);
        line(&mut out, [place.0, place.1, place.0 + 26.0, place.1], &style(at));
        sign(&mut out, at, place.0 + 13.0, place.1);
        text(&mut out, place.0 + 32.0, place.1 + 4.0, "start", &one.name);
    }
    out + "</svg>\n"
}

fn style(at: usize) -> String {
    format!("stroke=\"{}\" stroke-width=\"1.8\" stroke-dasharray=\"{}\" fill=\"none\"", colour(at), dash(at))
}

fn draw(out: &mut String, at: usize, line: &Line, x: &Axis, y: &Axis) {
    let known = |(a, b): &(f64, f64)| a.is_finite() && b.is_finite();
    let place = |a: f64, b: f64| format!("{:.1},{:.1}", x.at(a), y.at(b));
    let band: Vec<_> = line.points.iter().zip(&line.band).filter(|(point, band)| known(point) && known(band)).collect();
    if band.len() > 1 {
        let upper = band.iter().map(|(point, band)| place(point.0, band.1));
        let lower = band.iter().rev().map(|(point, band)| place(point.0, band.0));
        let points: Vec<String> = upper.chain(lower).collect();
        let _ =
            writeln!(out, "<polygon points=\"{}\" fill=\"{}\" fill-opacity=\"0.15\"/>", points.join(" "), colour(at));
    }
    let points: Vec<&(f64, f64)> = line.points.iter().filter(|point| known(point)).collect();
    let path: Vec<String> = points.iter().map(|(a, b)| place(*a, *b)).collect();
    let _ = writeln!(out, "<polyline points=\"{}\" {}/>", path.join(" "), style(at));
    points.iter().for_each(|(a, b)| sign(out, at, x.at(*a), y.at(*b)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_left_out_and_names_are_escaped() {
        let one = Line {
            name: "a < b".into(),
            points: vec![(0.0, 1.0), (0.5, f64::NAN), (1.0, 2.0)],
            band: vec![(0.5, 1.5), (0.0, 0.0), (1.5, 2.5)],
        };
        let svg = lines("t & u", "ratio", "nats", &[one, Line::default()]);
        assert!(!svg.contains("NaN") && svg.contains("a &lt; b") && svg.contains("t &amp; u"), "{svg}");
        let path = svg.lines().find(|line| line.contains("<polyline")).unwrap();
        assert_eq!(path.matches(',').count(), 2, "{path}");
        let band = svg.lines().find(|line| line.contains("<polygon")).unwrap();
        assert_eq!(band.matches(',').count(), 4, "{band}");
    }
}
