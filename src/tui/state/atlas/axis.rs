//! A column as an axis: which values it spans, on which scale, and where on it a latent is.

use prunelens_metrics::atlas::Atlas;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    Linear,
    /// By the logarithm; what is 0 stands at the lower end, apart from the rest.
    Log,
    /// By the inverse hyperbolic sine of the value over this: linear near 0, logarithmic on both sides.
    Signed(f64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub name: String,
    pub low: f64,
    pub high: f64,
    pub scale: Scale,
    /// Where there are only a few values: the distance between points is spread over this share of the axis.
    pub spread: f64,
}

/// Columns whose values are shares or correlations, which are spaced evenly.
const EVEN: [&str; 5] = ["corr", "jaccard", "cosine", "enc_kept", "dec_kept"];

/// Values from which on a column counts as continuous.
const FEW: usize = 32;
/// Share of a logarithmic axis that is left to what is 0.
const ZERO: f64 = 0.04;
/// Values further apart than this are told apart by their logarithm.
const WIDE: f64 = 50.0;

impl Axis {
    /// Of finite values of a column.
    pub fn of(name: &str, values: &[f64]) -> Self {
        let known = || values.iter().copied().filter(|v| v.is_finite());
        let (low, high) = known().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let least = known().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
        let mut few: Vec<f64> = Vec::new();
        for value in known() {
            if few.len() <= FEW && !few.contains(&value) {
                few.push(value);
            }
        }
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let spread = if (2..=FEW).contains(&few.len()) { 0.7 / (few.len() - 1) as f64 } else { 0.0 };
        let scale = if spread > 0.0 {
            Scale::Linear
        } else if low < 0.0 && high > 0.0 && name == "importance" {
            let mut sizes: Vec<f64> = known().map(f64::abs).filter(|v| *v > 0.0).collect();
            let middle = sizes.len() / 2;
            if sizes.is_empty() {
                Scale::Linear
            } else {
                Scale::Signed(*sizes.select_nth_unstable_by(middle, f64::total_cmp).1)
            }
        } else if low >= 0.0
            && least.is_finite()
            && high / least > WIDE
            && !EVEN.iter().any(|even| name.starts_with(even))
        {
            Scale::Log
        } else {
            Scale::Linear
        };
        let low = if scale == Scale::Log { least } else { low };
        Self { name: name.to_owned(), low, high, scale, spread }
    }

    fn scaled(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.ln(),
            Scale::Signed(unit) => (value / unit).asinh(),
        }
    }

    /// Where a value stands, 0 to 1; `salt` says where within its step, if there are steps.
    pub fn share(&self, value: f64, salt: u32) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        if self.scale == Scale::Log && value <= 0.0 {
            return Some(0.0);
        }
        let (low, high) = (self.scaled(self.low), self.scaled(self.high));
        let share = if high > low { (self.scaled(value) - low) / (high - low) } else { 0.5 };
        let share = match self.scale {
            Scale::Log => ZERO + share * (1.0 - ZERO),
            _ => share,
        };
        // A place of its own, the same at every drawing.
        let within = f64::from(salt.wrapping_mul(2_654_435_761) >> 8) / f64::from(1_u32 << 24) - 0.5;
        let room = self.spread / (1.0 + self.spread);
        Some((room / 2.0 + share * (1.0 - room) + within * room).clamp(0.0, 1.0))
    }

    /// The value at a place, for labels and regions.
    pub fn value(&self, share: f64) -> f64 {
        let room = self.spread / (1.0 + self.spread);
        let share = ((share - room / 2.0) / (1.0 - room)).clamp(0.0, 1.0);
        if self.scale == Scale::Log && share < ZERO / 2.0 {
            return 0.0;
        }
        let (low, high) = (self.scaled(self.low), self.scaled(self.high));
        let between = |share: f64| low + share * (high - low);
        match self.scale {
            Scale::Linear => between(share),
            Scale::Log => between(((share - ZERO) / (1.0 - ZERO)).max(0.0)).exp(),
            Scale::Signed(unit) => between(share).sinh() * unit,
        }
    }

    /// How values are spaced, in words; nothing for a plain scale.
    pub fn note(&self) -> &'static str {
        match self.scale {
            _ if self.spread > 0.0 => "in steps, points spread within them",
            Scale::Linear => "",
            Scale::Log => "log, 0 at the end",
            Scale::Signed(_) => "log on both sides of 0",
        }
    }
}

/// What stands for the death of latents that outlive all settings: all weights gone, or no bit and no rank left.
pub fn outlives(atlas: &Atlas) -> f64 {
    if atlas.about.descends() { 0.0 } else { 1.0 }
}

/// A column's values as they are drawn and ranked: a latent that fires, and that no setting of the grid has killed, dies
/// behind all of them.
pub fn values(atlas: &Atlas, at: usize) -> Vec<f64> {
    let Some((name, values)) = atlas.columns.get(at) else { return Vec::new() };
    let alive = if is_death(name) { atlas.column("mass.transfer") } else { None };
    let value = |(latent, value): (usize, &f64)| match alive {
        Some(mass) if value.is_nan() && mass.get(latent).is_some_and(|mass| *mass > 0.0) => outlives(atlas),
        _ => *value,
    };
    values.iter().enumerate().map(value).collect()
}

/// Whether a column is a ratio at which latents die.
pub fn is_death(name: &str) -> bool {
    matches!(name, "dies" | "dies_half")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_values_are_each_others_way_back() {
        let many = |f: fn(f64) -> f64| (0..100).map(|i| f(f64::from(i))).collect::<Vec<_>>();
        for (name, values, scale) in [
            ("corr.pruned", many(|i| i / 99.0), Scale::Linear),
            ("density.original", many(|i| 1e-6 * 1.1_f64.powf(i)), Scale::Log),
        ] {
            let axis = Axis::of(name, &values);
            assert_eq!(axis.scale, scale, "{name}");
            for value in values {
                let back = axis.value(axis.share(value, 3).unwrap());
                assert!((back - value).abs() < 1e-9 * (1.0 + value.abs()), "{name}: {value} {back}");
            }
        }
        let axis = Axis::of("importance", &many(|i| (i - 50.0).powi(3)));
        assert!(matches!(axis.scale, Scale::Signed(_)) && axis.share(0.0, 1).unwrap() > 0.4);
        assert!((axis.value(axis.share(-1000.0, 0).unwrap()) + 1000.0).abs() < 1e-6);
        assert_eq!(axis.share(f64::NAN, 0), None);
    }

    #[test]
    fn steps_do_not_run_into_each_other() {
        let axis = Axis::of("dies_half", &[0.1, 0.5, 0.9, 0.5]);
        assert!(axis.spread > 0.0 && axis.scale == Scale::Linear);
        let axis = &axis;
        let places = |value| (0..500).map(move |salt| axis.share(value, salt).unwrap());
        let (most, least) = (places(0.1).fold(0.0, f64::max), places(0.5).fold(1.0, f64::min));
        assert!(most < least && places(0.9).all(|share| (0.0..=1.0).contains(&share)), "{most} {least}");
    }

    #[test]
    fn what_has_no_values_has_an_axis() {
        for values in [&[][..], &[f64::NAN], &[3.0], &[0.0, 0.0]] {
            let axis = Axis::of("a", values);
            assert!(axis.low <= axis.high && axis.value(0.3).is_finite());
        }
    }
}
