//! Where a loss that rises with the ratio takes off.

/// Rises below this are noise of the text, in nats.
const LEAST_RISE: f64 = 0.01;
/// A curve that stays nearer than this to its chord rises evenly: it has no knee.
const LEAST_DEPTH: f64 = 0.1;

/// What it is called in settings and files.
pub const RULE: &str = "the ratio at which the loss lies furthest below the straight line from its first point to its last, both axes scaled to 1; none if it lies less than 0.1 below, or rises by less than 0.01 nats";

/// The place in `points`, (ratio, loss) by ascending ratio, of the knee (the rule is [`RULE`]). Of equals the lowest ratio.
pub fn knee(points: &[(f64, f64)]) -> Option<usize> {
    let (&(first, low), &(last, high)) = (points.first()?, points.last()?);
    let rise = high - low;
    if points.iter().any(|(_, loss)| !loss.is_finite()) || rise < LEAST_RISE || last <= first {
        return None;
    }
    let depth = |&(ratio, loss): &(f64, f64)| (ratio - first) / (last - first) - (loss - low) / rise;
    let mut best: Option<(usize, f64)> = None;
    for (at, point) in points.iter().enumerate() {
        let depth = depth(point);
        if depth >= LEAST_DEPTH && best.is_none_or(|(_, most)| depth > most) {
            best = Some((at, depth));
        }
    }
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_where_the_loss_takes_off() {
        let flat_then_steep = [(0.0, 4.0), (0.25, 4.01), (0.5, 4.05), (0.75, 4.2), (0.9, 5.5), (0.95, 7.0)];
        assert_eq!(knee(&flat_then_steep), Some(3));
        // Scale and offset of the loss do not matter.
        assert_eq!(knee(&flat_then_steep.map(|(r, l)| (r, 3.0 * l - 20.0))), Some(3));
        // A dip below the start counts.
        assert_eq!(knee(&[(0.0, 4.0), (0.3, 3.5), (0.6, 3.9), (0.9, 4.5)]), Some(1));
    }

    #[test]
    fn a_tie_goes_to_the_lower_ratio() {
        assert_eq!(knee(&[(0.0, 0.0), (0.25, 0.0), (0.5, 0.25), (1.0, 1.0)]), Some(1));
    }

    #[test]
    fn no_knee() {
        assert_eq!(knee(&[(0.0, 1.0), (0.5, 2.0), (1.0, 3.0)]), None, "even");
        assert_eq!(knee(&[(0.0, 1.0), (0.5, 2.9), (1.0, 3.0)]), None, "steep first");
        assert_eq!(knee(&[(0.0, 1.0), (0.5, 1.0), (1.0, 1.005)]), None, "noise");
        assert_eq!(knee(&[(0.0, 3.0), (0.5, 2.0), (1.0, 1.0)]), None, "falls");
        assert_eq!(knee(&[(0.0, 3.0), (0.5, f64::NAN), (1.0, 9.0)]), None);
        assert_eq!((knee(&[]), knee(&[(0.5, 1.0)]), knee(&[(0.5, 1.0), (0.5, 2.0)])), (None, None, None));
    }
}
