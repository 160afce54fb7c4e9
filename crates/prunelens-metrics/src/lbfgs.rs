//! L-BFGS with the line search of Moré and Thuente, which stops where scipy's stops.
//!
//! scikit-learn's logistic regression ends when the largest slope is below 1e-4, some way before the optimum. Weights can only
//! be compared with its own if the search takes the same steps, so this one does.

use std::collections::VecDeque;

/// Pairs of steps and changes of slope that are kept.
const MEMORY: usize = 10;
/// Evaluations along one direction.
const EVALUATIONS: usize = 50;
/// Longest step.
const LONGEST: f64 = 1e10;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub iterations: usize,
    /// Largest slope at which the search ends.
    pub slope: f64,
    /// Smallest relative gain at which it goes on.
    pub gain: f64,
}

impl Limits {
    /// Those of scikit-learn's `LogisticRegression`, for a loss that is a mean over rows.
    pub fn scikit_learn(iterations: usize) -> Self {
        Self { iterations, slope: 1e-4, gain: 64.0 * f64::EPSILON }
    }
}

/// Go downhill from `x`. `value` gives the function and fills in its gradient.
pub fn minimise(mut x: Vec<f64>, limits: Limits, mut value: impl FnMut(&[f64], &mut [f64]) -> f64) -> Vec<f64> {
    let mut gradient = vec![0.0; x.len()];
    let mut now = value(&x, &mut gradient);
    let mut pairs: VecDeque<Pair> = VecDeque::new();
    for iteration in 0..limits.iterations {
        if !now.is_finite() || largest(&gradient) <= limits.slope {
            break;
        }
        let mut direction = downhill(&gradient, &pairs);
        let mut slope = dot(&gradient, &direction);
        if slope >= 0.0 {
            pairs.clear();
            direction = downhill(&gradient, &pairs);
            slope = dot(&gradient, &direction);
        }
        let first = if iteration == 0 { 1.0 / dot(&direction, &direction).sqrt() } else { 1.0 };
        let (mut next, mut found) = (x.clone(), gradient.clone());
        let mut along = |length: f64| {
            next.iter_mut().zip(&x).zip(&direction).for_each(|((next, x), d)| *next = x + length * d);
            let value = value(&next, &mut found);
            (value, dot(&found, &direction))
        };
        let Some(end) = Search::new(now, slope, first.min(LONGEST)).run(&mut along) else {
            if pairs.is_empty() {
                break;
            }
            pairs.clear();
            continue;
        };
        let before = now;
        now = end.value;
        let step: Vec<f64> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = found.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        (x, gradient) = (next, found);
        if largest(&gradient) <= limits.slope || before - now <= limits.gain * before.abs().max(now.abs()).max(1.0) {
            break;
        }
        let curvature = (end.slope - slope) * end.length;
        if curvature > f64::EPSILON * -slope * end.length {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back(Pair { step, change, curvature });
        }
    }
    x
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    curvature: f64,
}

/// Minus the gradient times the inverse curvature that the pairs tell of.
fn downhill(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut out: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let share = dot(&pair.step, &out) / pair.curvature;
        out.iter_mut().zip(&pair.change).for_each(|(o, c)| *o -= share * c);
        shares.push(share);
    }
    if let Some(last) = pairs.back() {
        let scale = last.curvature / dot(&last.change, &last.change);
        out.iter_mut().for_each(|o| *o *= scale);
    }
    for (pair, share) in pairs.iter().zip(shares.into_iter().rev()) {
        let back = dot(&pair.change, &out) / pair.curvature;
        out.iter_mut().zip(&pair.step).for_each(|(o, s)| *o += (share - back) * s);
    }
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, v| v.abs().max(most))
}

/// A point along the direction.
#[derive(Clone, Copy, Debug)]
struct Point {
    length: f64,
    value: f64,
    slope: f64,
}

impl Point {
    /// The same with a line of this slope taken off.
    fn less(self, slope: f64) -> Self {
        Self { value: self.value - self.length * slope, slope: self.slope - slope, ..self }
    }
}

/// A search for a length with enough decrease and a small enough slope.
struct Search {
    start: Point,
    /// The best point so far, and the other end of the interval that holds a good one.
    best: Point,
    other: Point,
    bracketed: bool,
    length: f64,
    lower: f64,
    upper: f64,
}

const DECREASE: f64 = 1e-3;
const FLATNESS: f64 = 0.9;
const INTERVAL: f64 = 0.1;

impl Search {
    fn new(value: f64, slope: f64, length: f64) -> Self {
        let start = Point { length: 0.0, value, slope };
        Self { start, best: start, other: start, bracketed: false, length, lower: 0.0, upper: 5.0 * length }
    }

    /// `None` if there is nothing to be found.
    fn run(mut self, along: &mut impl FnMut(f64) -> (f64, f64)) -> Option<Point> {
        let decrease = DECREASE * self.start.slope;
        let (mut width, mut width_before) = (LONGEST, 2.0 * LONGEST);
        let mut rising = false;
        for _ in 0..EVALUATIONS {
            let (value, slope) = along(self.length);
            let point = Point { length: self.length, value, slope };
            if !value.is_finite() || !slope.is_finite() {
                return None;
            }
            let enough = self.start.value + point.length * decrease;
            rising |= value <= enough && slope >= 0.0;
            let cornered = self.bracketed
                && (point.length <= self.lower
                    || point.length >= self.upper
                    || self.upper - self.lower <= INTERVAL * self.upper);
            let at_end = point.length >= LONGEST && value <= enough && slope <= decrease;
            let good = value <= enough && slope.abs() <= FLATNESS * -self.start.slope;
            if good || cornered || at_end || point.length == 0.0 {
                return Some(point);
            }
            if !rising && value <= self.best.value && value > enough {
                (self.best, self.other) = (self.best.less(decrease), self.other.less(decrease));
                self.narrow(point.less(decrease));
                (self.best, self.other) = (self.best.less(-decrease), self.other.less(-decrease));
            } else {
                self.narrow(point);
            }
            if self.bracketed {
                let now = (self.other.length - self.best.length).abs();
                if now >= 0.66 * width_before {
                    self.length = self.best.length + 0.5 * (self.other.length - self.best.length);
                }
                (width_before, width) = (width, now);
                self.lower = self.best.length.min(self.other.length);
                self.upper = self.best.length.max(self.other.length);
            } else {
                let ahead = self.length - self.best.length;
                (self.lower, self.upper) = (self.length + 1.1 * ahead, self.length + 4.0 * ahead);
            }
            self.length = self.length.clamp(0.0, LONGEST);
            let cornered = self.length <= self.lower
                || self.length >= self.upper
                || self.upper - self.lower <= INTERVAL * self.upper;
            if self.bracketed && cornered {
                self.length = self.best.length;
            }
        }
        None
    }

    /// Choose the next length from the latest point and take the point into the interval.
    fn narrow(&mut self, new: Point) {
        let best = self.best;
        let opposite = new.slope * best.slope.signum() < 0.0;
        let secant = new.length + new.slope / (new.slope - best.slope) * (best.length - new.length);
        let next = if new.value > best.value {
            let cubic = cubic(best, new, new.length < best.length);
            let rise = (best.value - new.value) / (new.length - best.length) + best.slope;
            let quadratic = best.length + best.slope / rise / 2.0 * (new.length - best.length);
            self.bracketed = true;
            let nearer = (cubic - best.length).abs() < (quadratic - best.length).abs();
            if nearer { cubic } else { cubic + (quadratic - cubic) / 2.0 }
        } else if opposite {
            self.bracketed = true;
            let cubic = cubic(new, best, new.length > best.length);
            if (cubic - new.length).abs() > (secant - new.length).abs() { cubic } else { secant }
        } else if new.slope.abs() < best.slope.abs() {
            let cubic = cubic_beyond(new, best, self.lower, self.upper);
            let nearer = (cubic - new.length).abs() < (secant - new.length).abs();
            if self.bracketed {
                let next = if nearer { cubic } else { secant };
                let most = new.length + 0.66 * (self.other.length - new.length);
                if new.length > best.length { next.min(most) } else { next.max(most) }
            } else {
                let next = if nearer { secant } else { cubic };
                next.max(self.lower).min(self.upper)
            }
        } else if self.bracketed {
            cubic(new, self.other, new.length > self.other.length)
        } else if new.length > best.length {
            self.upper
        } else {
            self.lower
        };
        if new.value > best.value {
            self.other = new;
        } else {
            if opposite {
                self.other = best;
            }
            self.best = new;
        }
        self.length = next;
    }
}

/// Minimum of the cubic through two points with their slopes, as a length from `a`.
fn cubic(a: Point, b: Point, negative: bool) -> f64 {
    let (theta, gamma) = shape(a, b, negative);
    let p = gamma - a.slope + theta;
    let q = gamma - a.slope + gamma + b.slope;
    a.length + p / q * (b.length - a.length)
}

/// The same where the minimum may lie beyond `a`: then the farthest length allowed if there is none.
fn cubic_beyond(a: Point, b: Point, lower: f64, upper: f64) -> f64 {
    let (theta, gamma) = shape(a, b, a.length > b.length);
    let p = gamma - a.slope + theta;
    let q = gamma + (b.slope - a.slope) + gamma;
    let r = p / q;
    if r < 0.0 && gamma != 0.0 {
        a.length + r * (b.length - a.length)
    } else if a.length > b.length {
        upper
    } else {
        lower
    }
}

fn shape(a: Point, b: Point, negative: bool) -> (f64, f64) {
    // The same whichever of the two comes first.
    let theta = 3.0 * (b.value - a.value) / (a.length - b.length) + a.slope + b.slope;
    let scale = theta.abs().max(a.slope.abs()).max(b.slope.abs());
    let square = (theta / scale).powi(2) - a.slope / scale * (b.slope / scale);
    let gamma = scale * square.max(0.0).sqrt();
    (theta, if negative { -gamma } else { gamma })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIGHT: Limits = Limits { iterations: 500, slope: 1e-9, gain: 0.0 };

    #[test]
    fn a_curved_valley_is_followed_to_its_lowest_point() {
        let rosenbrock = |x: &[f64], g: &mut [f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            g[0] = -2.0 * a - 400.0 * x[0] * b;
            g[1] = 200.0 * b;
            a * a + 100.0 * b * b
        };
        let found = minimise(vec![-1.2, 1.0], TIGHT, rosenbrock);
        assert!((found[0] - 1.0).abs() < 1e-6 && (found[1] - 1.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn stops_at_once_where_it_is_flat_and_never_leaves_for_nowhere() {
        let limits = Limits::scikit_learn(100);
        let flat = |x: &[f64], g: &mut [f64]| {
            g[0] = 1e-5 * x[0];
            x[0] * x[0] * 5e-6
        };
        assert_eq!(minimise(vec![3.0], limits, flat), [3.0]);
        let broken = |_: &[f64], g: &mut [f64]| {
            g[0] = f64::NAN;
            f64::NAN
        };
        assert_eq!(minimise(vec![3.0], limits, broken), [3.0]);
        // A function that cannot decrease as its slope says.
        let lying = |_: &[f64], g: &mut [f64]| {
            g[0] = 1.0;
            0.0
        };
        assert!(minimise(vec![3.0], limits, lying)[0].is_finite());
    }

    #[test]
    fn steps_overshoot_and_come_back() {
        // Steep at first, flat far out: the first lengths are refused.
        let found = minimise(vec![40.0, -7.0], TIGHT, |x, g| {
            g[0] = 4.0 * (x[0] - 2.0).powi(3);
            g[1] = 2.0 * x[1];
            (x[0] - 2.0).powi(4) + x[1] * x[1]
        });
        assert!((found[0] - 2.0).abs() < 2e-3 && found[1].abs() < 1e-6, "{found:?}");
    }
}
