//! Charts as SVG, for files that are read outside a terminal.

use std::fmt::Write;

use prunelens_metrics::atlas::Fate;

use super::{atlas::Spot, markup::escape};

/// Size of a picture, and of its margins: left and below for labels, right and above for sums.
const SIZE: (f64, f64) = (760.0, 520.0);
const MARGIN: [f64; 4] = [70.0, 70.0, 70.0, 96.0];
/// Bars of the sums at either side.
const BARS: usize = 64;

/// A colour for each fate (Okabe and Ito's, that people with any colour vision tell apart), in the order of [`Fate::ALL`].
const COLOURS: [&str; Fate::ALL.len()] =
    ["#0072b2", "#e69f00", "#f0e442", "#cc79a7", "#56b4e9", "#d55e00", "#009e73", "#117733", "#999999"];

/// An axis: its name, and the values at both ends.
pub type Axis = (String, [String; 2]);

/// Latents as dots, more opaque where there are more, in the colour of the fate that most have; sums at both sides.
pub fn density((x, [left, right]): &Axis, (y, [low, high]): &Axis, spots: &[Spot]) -> String {
    let [from_left, above, from_right, below] = MARGIN;
    let (width, height) = (SIZE.0 - from_left - from_right, SIZE.1 - above - below);
    let (bottom, end) = (above + height, from_left + width);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<title>{2} against {3}</title>\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n<rect x=\"{from_left}\" y=\"{above}\" width=\"{width}\" height=\"{height}\" fill=\"none\" \
         stroke=\"#bbb\"/>\n",
        SIZE.0,
        SIZE.1,
        escape(x),
        escape(y),
    );
    let most = spots.iter().map(|spot| spot.2).max().unwrap_or(1).max(2);
    for (x, y, n, fate) in spots {
        let opacity = 0.35 + 0.65 * f64::from(*n).ln() / f64::from(most).ln();
        let (cx, cy) = (from_left + x * width, bottom - y * height);
        let colour = COLOURS[*fate as usize];
        let _ = writeln!(
            out,
            "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"1.6\" fill=\"{colour}\" fill-opacity=\"{opacity:.2}\"/>"
        );
    }
    let sums = |place: fn(&Spot) -> f64| {
        let mut sums = [0.0_f64; BARS];
        for spot in spots {
            sums[((place(spot) * BARS as f64) as usize).min(BARS - 1)] += f64::from(spot.2);
        }
        let most = sums.iter().copied().fold(1.0, f64::max);
        sums.map(|sum| (sum / most).sqrt())
    };
    for (at, share) in sums(|spot| spot.0).into_iter().enumerate() {
        let (step, size) = (width / BARS as f64, share * (above - 24.0));
        let (x, y) = (from_left + at as f64 * step, above - 4.0 - size);
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{size:.1}\" fill=\"#ccc\"/>",
            step - 1.0
        );
    }
    for (at, share) in sums(|spot| spot.1).into_iter().enumerate() {
        let (step, size) = (height / BARS as f64, share * (from_right - 24.0));
        let (x, y) = (end + 4.0, bottom - (at + 1) as f64 * step);
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{size:.1}\" height=\"{:.1}\" fill=\"#ccc\"/>",
            step - 1.0
        );
    }
    let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(words));
    };
    text(from_left, bottom + 16.0, "start", left);
    text(from_left + width / 2.0, bottom + 16.0, "middle", x);
    text(end, bottom + 16.0, "end", right);
    text(from_left - 6.0, bottom, "end", low);
    text(from_left - 6.0, above + 10.0, "end", high);
    text(from_left, 16.0, "start", &format!("{y}, upwards; at the sides the square roots of counts"));
    let mut counts = [0_u64; Fate::ALL.len()];
    spots.iter().for_each(|spot| counts[spot.3 as usize] += u64::from(spot.2));
    for (at, fate) in Fate::ALL.into_iter().filter(|fate| counts[*fate as usize] > 0).enumerate() {
        let (x, y) = (from_left + (at % 4) as f64 * 160.0, bottom + 38.0 + (at / 4) as f64 * 18.0);
        let colour = COLOURS[fate as usize];
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>", y - 4.0);
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>", x + 9.0, fate.name());
    }
    out + "</svg>\n"
}
