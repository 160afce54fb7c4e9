//! Figures with their intervals, one below the other: a forest plot.

use super::{axis::Axis, colour, head, line, sign, text};

/// What stands on a line of the picture: a value and the interval around it for each series; `None` where there is none.
pub type Row = (String, Vec<Option<(f64, f64, f64)>>);

const WIDTH: f64 = 720.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 20.0;
const ABOVE: f64 = 48.0;
/// Height of one value, and room between rows.
const STEP: f64 = 13.0;
const ROOM: f64 = 12.0;

/// Rows, each with a value of each series.
pub fn forest(title: &str, label: &str, series: &[String], rows: &[Row]) -> String {
    let bounds = rows.iter().flat_map(|row| row.1.iter().flatten().flat_map(|(v, low, high)| [*v, *low, *high]));
    let x = Axis::over(bounds.chain([0.0]), LEFT, WIDTH - RIGHT);
    let of_row = STEP * series.len() as f64 + ROOM;
    let bottom = ABOVE + of_row * rows.len() as f64;
    let mut out = head(WIDTH, bottom + 66.0, title);
    for (value, words) in x.ticks() {
        line(&mut out, [x.at(value), ABOVE, x.at(value), bottom], "stroke=\"#eee\"");
        text(&mut out, x.at(value), bottom + 16.0, "middle", &words);
    }
    line(&mut out, [x.at(0.0), ABOVE, x.at(0.0), bottom], "stroke=\"#888\"");
    text(&mut out, (LEFT + WIDTH - RIGHT) / 2.0, bottom + 34.0, "middle", label);
    for (n, (name, values)) in rows.iter().enumerate() {
        let top = ABOVE + of_row * n as f64;
        text(&mut out, LEFT - 10.0, top + of_row / 2.0 + 4.0, "end", name);
        for (at, value) in values.iter().enumerate() {
            let Some((value, low, high)) = value.filter(|(v, ..)| v.is_finite()) else { continue };
            let y = top + ROOM / 2.0 + STEP * (at as f64 + 0.5);
            let style = format!("stroke=\"{}\" stroke-width=\"1.5\"", colour(at));
            if low.is_finite() && high.is_finite() {
                line(&mut out, [x.at(low), y, x.at(high), y], &style);
            }
            sign(&mut out, at, x.at(value), y);
        }
    }
    for (at, name) in series.iter().enumerate() {
        let (x, y) = (LEFT + at as f64 * 125.0, bottom + 54.0);
        sign(&mut out, at, x, y - 4.0);
        text(&mut out, x + 10.0, y, "start", name);
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_sign_and_interval() {
        let rows = vec![
            ("density".into(), vec![Some((-0.1, -0.2, 0.0)), Some((0.3, f64::NAN, f64::NAN))]),
            ("norm".into(), vec![Some((f64::NAN, 0.0, 1.0)), None]),
        ];
        let svg = forest("title", "Spearman", &["wanda".into(), "random".into()], &rows);
        assert!(!svg.contains("NaN"), "{svg}");
        // One value of each series, and the names of both.
        assert_eq!((svg.matches("<circle").count(), svg.matches("width=\"6.4\"").count()), (2, 2), "{svg}");
        assert_eq!(svg.matches("stroke-width=\"1.5\"").count(), 1);
    }
}
