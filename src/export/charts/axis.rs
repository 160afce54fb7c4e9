//! Round numbers along an axis.

/// Values of an axis, and where they lie on the picture.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    pub from: f64,
    pub to: f64,
}

impl Axis {
    /// That holds all numbers among `values`, drawn from `from` to `to`.
    pub fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let known = values.filter(|v| v.is_finite());
        let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let room = if high > low { 0.04 * (high - low) } else { low.abs().max(1.0) / 2.0 };
        Self { low: low - room, high: high + room, from, to }
    }

    /// Where a value is drawn.
    pub fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// About five round values, with what stands beside them.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let raw = (self.high - self.low) / 5.0;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= raw).unwrap_or(raw);
        let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let value = |n: i64| n as f64 * step;
        (first..first + 12)
            .map(value)
            .take_while(|value| *value <= self.high)
            .map(|value| (value, format!("{:.digits$}", value + 0.0)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let words = |low: f64, high: f64| -> Vec<String> {
            let axis = Axis { low, high, from: 0.0, to: 1.0 };
            axis.ticks().into_iter().map(|(_, words)| words).collect()
        };
        assert_eq!(words(-0.02, 1.02), ["0.0", "0.5", "1.0"]);
        assert_eq!(words(-0.6, 0.7), ["-0.5", "0.0", "0.5"]);
        assert_eq!(words(0.0, 1000.0), ["0", "200", "400", "600", "800", "1000"]);
        let flat = Axis::over([2.0, f64::NAN, 2.0].into_iter(), 0.0, 10.0);
        assert_eq!((flat.low, flat.high, flat.at(2.0)), (1.0, 3.0, 5.0));
        assert!(Axis::over(std::iter::empty(), 0.0, 1.0).at(0.5).is_finite());
    }
}
