//! L-BFGS with the line search of Moré and Thuente, which stops where scipy's stops.
//!
//! scikit-learn's logistic regression ends when the largest component of the gradient is below 1e-4, some way before the
//! optimum. Weights can only be compared with its own if the search takes the same steps, so this one does.

use std::collections::VecDeque;

/// Pairs of steps and changes of the gradient that are kept.
const MAXCOR: usize = 10;
/// Evaluations along one direction.
const MAXLS: usize = 50;
/// Longest step.
const STPMAX: f64 = 1e10;

/// When to stop, in scipy's names.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most iterations.
    pub maxiter: usize,
    /// Largest component of the gradient at which the search ends.
    pub gtol: f64,
    /// Smallest relative decrease of the function at which it goes on.
    pub ftol: f64,
}

impl Options {
    /// Those of scikit-learn's `LogisticRegression`, for a loss that is a mean over rows.
    pub fn scikit_learn(maxiter: usize) -> Self {
        Self { maxiter, gtol: 1e-4, ftol: 64.0 * f64::EPSILON }
    }
}

/// Go downhill from `x`. `fun` gives the function and fills in its gradient.
pub fn minimise(mut x: Vec<f64>, options: Options, mut fun: impl FnMut(&[f64], &mut [f64]) -> f64) -> Vec<f64> {
    let mut gradient = vec![0.0; x.len()];
    let mut f = fun(&x, &mut gradient);
    let mut pairs: VecDeque<Pair> = VecDeque::new();
    for iteration in 0..options.maxiter {
        if !f.is_finite() || max_abs(&gradient) <= options.gtol {
            break;
        }
        let mut direction = downhill(&gradient, &pairs);
        let mut dphi = dot(&gradient, &direction);
        if dphi >= 0.0 {
            pairs.clear();
            direction = downhill(&gradient, &pairs);
            dphi = dot(&gradient, &direction);
        }
        let first = if iteration == 0 { 1.0 / dot(&direction, &direction).sqrt() } else { 1.0 };
        let (mut next, mut found) = (x.clone(), gradient.clone());
        let mut phi = |alpha: f64| {
            next.iter_mut().zip(&x).zip(&direction).for_each(|((next, x), d)| *next = x + alpha * d);
            let value = fun(&next, &mut found);
            (value, dot(&found, &direction))
        };
        let Some(end) = Search::new(f, dphi, first.min(STPMAX)).run(&mut phi) else {
            if pairs.is_empty() {
                break;
            }
            pairs.clear();
            continue;
        };
        let before = f;
        f = end.phi;
        let s: Vec<f64> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = found.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        (x, gradient) = (next, found);
        if max_abs(&gradient) <= options.gtol || before - f <= options.ftol * before.abs().max(f.abs()).max(1.0) {
            break;
        }
        let sy = (end.dphi - dphi) * end.alpha;
        if sy > f64::EPSILON * -dphi * end.alpha {
            if pairs.len() == MAXCOR {
                pairs.pop_front();
            }
            pairs.push_back(Pair { s, y, sy });
        }
    }
    x
}

/// A step, the change of the gradient along it, and their product.
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    sy: f64,
}

/// Minus the gradient times the inverse curvature that the pairs tell of.
fn downhill(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut out: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let alpha = dot(&pair.s, &out) / pair.sy;
        out.iter_mut().zip(&pair.y).for_each(|(o, c)| *o -= alpha * c);
        alphas.push(alpha);
    }
    if let Some(last) = pairs.back() {
        let scale = last.sy / dot(&last.y, &last.y);
        out.iter_mut().for_each(|o| *o *= scale);
    }
    for (pair, alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = dot(&pair.y, &out) / pair.sy;
        out.iter_mut().zip(&pair.s).for_each(|(o, s)| *o += (alpha - beta) * s);
    }
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, v| v.abs().max(most))
}

/// A point along the direction: the function `phi(alpha)` of the length of the step, and its derivative.
#[derive(Clone, Copy, Debug)]
struct Point {
    alpha: f64,
    phi: f64,
    dphi: f64,
}

impl Point {
    /// The same with a line of this slope taken off.
    fn less(self, dphi: f64) -> Self {
        Self { phi: self.phi - self.alpha * dphi, dphi: self.dphi - dphi, ..self }
    }
}

/// A search for a step with enough decrease and a small enough derivative.
struct Search {
    start: Point,
    /// The best point so far, and the other end of the interval that holds a good one.
    best: Point,
    other: Point,
    bracketed: bool,
    /// The next step to try, and the bounds of the one after it.
    alpha: f64,
    stpmin: f64,
    stpmax: f64,
}

/// Sufficient decrease, curvature and relative width of the interval, in Moré and Thuente's names.
const FTOL: f64 = 1e-3;
const GTOL: f64 = 0.9;
const XTOL: f64 = 0.1;

impl Search {
    fn new(phi: f64, dphi: f64, alpha: f64) -> Self {
        let start = Point { alpha: 0.0, phi, dphi };
        Self { start, best: start, other: start, bracketed: false, alpha, stpmin: 0.0, stpmax: 5.0 * alpha }
    }

    /// `None` if there is nothing to be found.
    fn run(mut self, phi: &mut impl FnMut(f64) -> (f64, f64)) -> Option<Point> {
        let decrease = FTOL * self.start.dphi;
        let (mut width, mut width_before) = (STPMAX, 2.0 * STPMAX);
        let mut rising = false;
        for _ in 0..MAXLS {
            let (value, dphi) = phi(self.alpha);
            let point = Point { alpha: self.alpha, phi: value, dphi };
            if !value.is_finite() || !dphi.is_finite() {
                return None;
            }
            let enough = self.start.phi + point.alpha * decrease;
            rising |= value <= enough && dphi >= 0.0;
            let cornered = self.bracketed
                && (point.alpha <= self.stpmin
                    || point.alpha >= self.stpmax
                    || self.stpmax - self.stpmin <= XTOL * self.stpmax);
            let at_end = point.alpha >= STPMAX && value <= enough && dphi <= decrease;
            let good = value <= enough && dphi.abs() <= GTOL * -self.start.dphi;
            if good || cornered || at_end || point.alpha == 0.0 {
                return Some(point);
            }
            if !rising && value <= self.best.phi && value > enough {
                (self.best, self.other) = (self.best.less(decrease), self.other.less(decrease));
                self.narrow(point.less(decrease));
                (self.best, self.other) = (self.best.less(-decrease), self.other.less(-decrease));
            } else {
                self.narrow(point);
            }
            if self.bracketed {
                let now = (self.other.alpha - self.best.alpha).abs();
                if now >= 0.66 * width_before {
                    self.alpha = self.best.alpha + 0.5 * (self.other.alpha - self.best.alpha);
                }
                (width_before, width) = (width, now);
                self.stpmin = self.best.alpha.min(self.other.alpha);
                self.stpmax = self.best.alpha.max(self.other.alpha);
            } else {
                let ahead = self.alpha - self.best.alpha;
                (self.stpmin, self.stpmax) = (self.alpha + 1.1 * ahead, self.alpha + 4.0 * ahead);
            }
            self.alpha = self.alpha.clamp(0.0, STPMAX);
            let cornered = self.alpha <= self.stpmin
                || self.alpha >= self.stpmax
                || self.stpmax - self.stpmin <= XTOL * self.stpmax;
            if self.bracketed && cornered {
                self.alpha = self.best.alpha;
            }
        }
        None
    }

    /// Choose the next step from the latest point and take the point into the interval.
    fn narrow(&mut self, new: Point) {
        let best = self.best;
        let opposite = new.dphi * best.dphi.signum() < 0.0;
        let secant = new.alpha + new.dphi / (new.dphi - best.dphi) * (best.alpha - new.alpha);
        let next = if new.phi > best.phi {
            let cubic = cubic(best, new, new.alpha < best.alpha);
            let rise = (best.phi - new.phi) / (new.alpha - best.alpha) + best.dphi;
            let quadratic = best.alpha + best.dphi / rise / 2.0 * (new.alpha - best.alpha);
            self.bracketed = true;
            let nearer = (cubic - best.alpha).abs() < (quadratic - best.alpha).abs();
            if nearer { cubic } else { cubic + (quadratic - cubic) / 2.0 }
        } else if opposite {
            self.bracketed = true;
            let cubic = cubic(new, best, new.alpha > best.alpha);
            if (cubic - new.alpha).abs() > (secant - new.alpha).abs() { cubic } else { secant }
        } else if new.dphi.abs() < best.dphi.abs() {
            let cubic = cubic_beyond(new, best, self.stpmin, self.stpmax);
            let nearer = (cubic - new.alpha).abs() < (secant - new.alpha).abs();
            if self.bracketed {
                let next = if nearer { cubic } else { secant };
                let most = new.alpha + 0.66 * (self.other.alpha - new.alpha);
                if new.alpha > best.alpha { next.min(most) } else { next.max(most) }
            } else {
                let next = if nearer { secant } else { cubic };
                next.max(self.stpmin).min(self.stpmax)
            }
        } else if self.bracketed {
            cubic(new, self.other, new.alpha > self.other.alpha)
        } else if new.alpha > best.alpha {
            self.stpmax
        } else {
            self.stpmin
        };
        if new.phi > best.phi {
            self.other = new;
        } else {
            if opposite {
                self.other = best;
            }
            self.best = new;
        }
        self.alpha = next;
    }
}

/// Minimum of the cubic through two points with their slopes, as a length from `a`.
fn cubic(a: Point, b: Point, negative: bool) -> f64 {
    let (theta, gamma) = shape(a, b, negative);
    let p = gamma - a.dphi + theta;
    let q = gamma - a.dphi + gamma + b.dphi;
    a.alpha + p / q * (b.alpha - a.alpha)
}

/// The same where the minimum may lie beyond `a`: then the farthest length allowed if there is none.
fn cubic_beyond(a: Point, b: Point, stpmin: f64, stpmax: f64) -> f64 {
    let (theta, gamma) = shape(a, b, a.alpha > b.alpha);
    let p = gamma - a.dphi + theta;
    let q = gamma + (b.dphi - a.dphi) + gamma;
    let r = p / q;
    if r < 0.0 && gamma != 0.0 {
        a.alpha + r * (b.alpha - a.alpha)
    } else if a.alpha > b.alpha {
        stpmax
    } else {
        stpmin
    }
}

fn shape(a: Point, b: Point, negative: bool) -> (f64, f64) {
    // The same whichever of the two comes first.
    let theta = 3.0 * (b.phi - a.phi) / (a.alpha - b.alpha) + a.dphi + b.dphi;
    let scale = theta.abs().max(a.dphi.abs()).max(b.dphi.abs());
    let square = (theta / scale).powi(2) - a.dphi / scale * (b.dphi / scale);
    let gamma = scale * square.max(0.0).sqrt();
    (theta, if negative { -gamma } else { gamma })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIGHT: Options = Options { maxiter: 500, gtol: 1e-9, ftol: 0.0 };

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
        let options = Options::scikit_learn(100);
        let flat = |x: &[f64], g: &mut [f64]| {
            g[0] = 1e-5 * x[0];
            x[0] * x[0] * 5e-6
        };
        assert_eq!(minimise(vec![3.0], options, flat), [3.0]);
        let broken = |_: &[f64], g: &mut [f64]| {
            g[0] = f64::NAN;
            f64::NAN
        };
        assert_eq!(minimise(vec![3.0], options, broken), [3.0]);
        // A function that cannot decrease as its slope says.
        let lying = |_: &[f64], g: &mut [f64]| {
            g[0] = 1.0;
            0.0
        };
        assert!(minimise(vec![3.0], options, lying)[0].is_finite());
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
