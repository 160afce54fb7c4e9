//! The knob: what the slider turns on the SAE that is compressed as its model was, with its scale, its steps and their
//! meaning. Every setting is made from the untouched weights, so that it is exact, and so is the way back.

use std::fmt;

use prunelens_kernels::encode::STEPS;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Criterion, MAX_RATIO};
use crate::error::{Error, Result};

/// What is turned, and by which criterion what goes first is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Knob {
    /// The share of the weights that are zero.
    Ratio(Criterion),
    /// Bits of a weight's code.
    Bits,
    /// The rank of each matrix.
    Rank,
    /// The share of the latents that are gone.
    Latents(Criterion),
}

/// Settings at which survival and the paths of latents are given, at most.
pub const GRID: usize = 20;

/// Bits that are not rounded: f32, as SAEs are held.
const UNROUNDED: f64 = 32.0;
/// Bits there are codes of, the most first.
const BITS: [f64; 8] = [UNROUNDED, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0];

impl Knob {
    /// As flags, keys and files spell them.
    pub const NAMES: [&str; 4] = ["ratio", "bits", "rank", "latents"];
    /// Of all knobs with all criteria.
    pub const SLOTS: usize = 10;

    /// The knob of a name.
    pub fn named(name: &str, criterion: Criterion) -> Option<Self> {
        [Self::Ratio(criterion), Self::Bits, Self::Rank, Self::Latents(criterion)]
            .into_iter()
            .find(|knob| knob.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ratio(_) => "ratio",
            Self::Bits => "bits",
            Self::Rank => "rank",
            Self::Latents(_) => "latents",
        }
    }

    /// A number of its own among all knobs with all criteria.
    pub fn slot(self) -> usize {
        match self {
            Self::Ratio(criterion) => criterion as usize,
            Self::Latents(criterion) => 4 + criterion as usize,
            Self::Bits => 8,
            Self::Rank => 9,
        }
    }

    /// By which weights or latents are ranked, where they are.
    pub fn criterion(self) -> Option<Criterion> {
        match self {
            Self::Ratio(criterion) | Self::Latents(criterion) => Some(criterion),
            Self::Bits | Self::Rank => None,
        }
    }

    /// Its values are whole numbers.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Bits | Self::Rank)
    }

    /// The same by another criterion.
    pub fn by(self, criterion: Criterion) -> Self {
        match self {
            Self::Ratio(_) => Self::Ratio(criterion),
            Self::Latents(_) => Self::Latents(criterion),
            other => other,
        }
    }

    /// How it chooses or rounds, in a word.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Ratio(criterion) | Self::Latents(criterion) => criterion.name(),
            Self::Bits => "rtn",
            Self::Rank => "svd",
        }
    }

    /// What it does to the weights, in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ratio(Criterion::Wanda) => "|W| times input, ranked per output",
            Self::Ratio(Criterion::Paper) => "|W| times output, ranked per input",
            Self::Ratio(Criterion::Magnitude) => "|W|, ranked per output",
            Self::Ratio(Criterion::Random) => "at random, ranked per output",
            Self::Bits => "rounded to nearest, a scale a latent",
            Self::Rank => "by singular values of each matrix",
            Self::Latents(Criterion::Wanda) => "latents by what they write",
            Self::Latents(Criterion::Paper) => "latents by what they read",
            Self::Latents(Criterion::Magnitude) => "latents by their weights' norms",
            Self::Latents(Criterion::Random) => "latents at random",
        }
    }

    /// Its scale on an SAE that reads activations of this width.
    pub fn scale(self, d_in: usize) -> Scale {
        Scale { knob: self, d_in }
    }

    /// Turned to a value.
    pub fn at(self, at: f64) -> Setting {
        Setting { knob: self, at }
    }
}

/// "wanda"; "bits"; "rank"; "latents wanda".
impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(criterion) => criterion.fmt(f),
            Self::Latents(criterion) => f.pad(&format!("latents {criterion}")),
            other => f.pad(other.name()),
        }
    }
}

/// A knob turned to a value of its own: a share, a number of bits, a rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Which.
    pub knob: Knob,
    /// In its own units.
    pub at: f64,
}

impl Setting {
    /// The value in words: "0.25", "4 bits", "rank 128", "0.25 of latents".
    pub fn value(&self) -> String {
        match self.knob {
            Knob::Ratio(_) => format!("{:.2}", self.at),
            Knob::Bits => format!("{} bits", self.at),
            Knob::Rank => format!("rank {}", self.at),
            Knob::Latents(_) => format!("{:.2} of latents", self.at),
        }
    }

    /// What tells it from others in names of files: "wanda-0.25", "bits-4".
    pub fn key(&self) -> String {
        format!("{}-{}", self.knob, self.at)
    }

    /// Rule and value, the value with all its digits: "wanda 0.25", "rtn 4 bits".
    pub fn words(&self) -> String {
        match self.knob {
            Knob::Ratio(criterion) => format!("{criterion} {}", self.at),
            Knob::Latents(criterion) => format!("{criterion} {} of latents", self.at),
            knob => format!("{} {}", knob.rule(), self.value()),
        }
    }

    /// As a JSON object has it: the ratio and its criterion, or the knob's name, its value, and its criterion if it has one.
    pub fn entries(&self) -> Vec<(&'static str, Value)> {
        let at = if self.knob.is_whole() { json!(self.at as u64) } else { json!(self.at) };
        let mut entries = match self.knob {
            Knob::Ratio(_) => vec![("ratio", at)],
            knob => vec![("knob", json!(knob.name())), (knob.name(), at)],
        };
        entries.extend(self.knob.criterion().map(|criterion| ("criterion", json!(criterion.name()))));
        entries
    }
}

/// "0.25 wanda", "4 bits", "rank 128", "0.25 of latents wanda".
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.knob.criterion() {
            Some(criterion) => f.pad(&format!("{} {criterion}", self.value())),
            None => f.pad(&self.value()),
        }
    }
}

/// The values of a knob on one SAE, from the untouched SAE on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Whose.
    pub knob: Knob,
    /// Width of what the SAE reads: its full rank.
    pub d_in: usize,
}

impl Scale {
    /// The value that leaves the SAE as it is.
    pub fn untouched(&self) -> f64 {
        match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => 0.0,
            Knob::Bits => UNROUNDED,
            Knob::Rank => self.d_in as f64,
        }
    }

    /// Where a knob begins if nobody says.
    pub fn start(&self) -> f64 {
        match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => 0.25,
            Knob::Bits => 4.0,
            Knob::Rank => (self.d_in / 2).max(1) as f64,
        }
    }

    /// Whether a value leaves the SAE as it is.
    pub fn is_untouched(&self, at: f64) -> bool {
        match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => at <= 0.0,
            Knob::Bits => at >= UNROUNDED,
            Knob::Rank => at >= self.d_in as f64,
        }
    }

    /// What values there are, in words.
    pub fn expected(&self) -> String {
        match self.knob {
            Knob::Ratio(_) => format!("a share of the weights from 0 to {MAX_RATIO}"),
            Knob::Latents(_) => format!("a share of the latents from 0 to {MAX_RATIO}"),
            Knob::Bits => "2 to 8 bits, or 32 for weights as they are".into(),
            Knob::Rank => format!("a rank from 1 to {}", self.d_in),
        }
    }

    /// A value there is.
    pub fn check(&self, at: f64) -> Result<f64> {
        let fits = match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => (0.0..=MAX_RATIO).contains(&at),
            Knob::Bits => BITS.contains(&at),
            Knob::Rank => at.fract() == 0.0 && (1.0..=self.d_in as f64).contains(&at),
        };
        let name = self.knob.name();
        let wrong = || Error::Usage(format!("the knob {name} at {at}: expected {}", self.expected()));
        // -0 is written as 0.
        if fits { Ok(at + 0.0) } else { Err(wrong()) }
    }

    /// The share of the way from untouched to nothing, 0 to 1: where the slider stands.
    pub fn position(&self, at: f64) -> f64 {
        match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => at,
            Knob::Bits => BITS.iter().position(|bits| *bits <= at).unwrap_or(BITS.len() - 1) as f64 / BITS.len() as f64,
            Knob::Rank => 1.0 - at / self.d_in.max(1) as f64,
        }
    }

    /// The value nearest to a place of the slider: shares in whole percents, so that going up and down comes back.
    pub fn nearest(&self, position: f64) -> f64 {
        match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => ((position * 100.0).round() / 100.0).clamp(0.0, MAX_RATIO),
            Knob::Bits => {
                let stop = (position.clamp(0.0, 1.0) * BITS.len() as f64) as usize;
                BITS[stop.min(BITS.len() - 1)]
            }
            Knob::Rank => (self.d_in as f64 * (1.0 - position)).round().clamp(1.0, self.d_in.max(1) as f64),
        }
    }

    /// So many steps further from the untouched SAE, or back; a fine step is the least there is, or 1 %.
    pub fn moved(&self, at: f64, steps: i32, fine: bool) -> f64 {
        let by = f64::from(steps);
        match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => self.nearest(at + by * if fine { 0.01 } else { 0.05 }),
            Knob::Bits => {
                let stop = BITS.iter().position(|bits| *bits <= at).unwrap_or(BITS.len() - 1);
                BITS[stop.saturating_add_signed(steps as isize).min(BITS.len() - 1)]
            }
            Knob::Rank => {
                let unit = (self.d_in / 100).max(1) as f64 * if fine { 1.0 } else { 5.0 };
                (at - by * unit).clamp(1.0, self.d_in.max(1) as f64)
            }
        }
    }

    /// What a coarse and a fine step are, in words; the same where there is but one.
    pub fn steps(&self) -> [String; 2] {
        match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => ["5 %".into(), "1 %".into()],
            Knob::Bits => ["1 bit".into(), "1 bit".into()],
            Knob::Rank => [5, 1].map(|n| (n * (self.d_in / 100).max(1)).to_string()),
        }
    }

    /// Settings of a curve, from the untouched SAE on: shares of 0, 0.01 ... 0.99, or all there are.
    pub fn fine(&self) -> Vec<f64> {
        match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => (0..STEPS).map(share).collect(),
            Knob::Bits => BITS.into(),
            Knob::Rank => (0..STEPS).map(|step| (self.d_in - self.gone(share(step)) as usize).max(1) as f64).collect(),
        }
    }

    /// Directions that are gone when this share of them is.
    fn gone(&self, share: f64) -> u32 {
        prunelens_kernels::cut(self.d_in, share)
    }

    /// Places among the settings of a curve at which paths and survival are given, at most [`GRID`].
    pub fn coarse(&self) -> Vec<usize> {
        let fine = self.fine().len();
        if fine <= GRID { (0..fine).collect() } else { (0..GRID).map(|step| step * fine / GRID).collect() }
    }

    /// The settings at these places.
    pub fn grid(&self) -> Vec<f64> {
        let fine = self.fine();
        self.coarse().into_iter().map(|at| fine[at]).collect()
    }

    /// Names at places of the slider, for a scale under it.
    pub fn marks(&self) -> Vec<(f64, String)> {
        match self.knob {
            Knob::Ratio(_) | Knob::Latents(_) => {
                [(0.0, "0"), (0.25, ".25"), (0.5, ".5"), (0.75, ".75"), (1.0, "1")].map(|(p, n)| (p, n.into())).into()
            }
            Knob::Bits => BITS.iter().map(|bits| (self.position(*bits), bits.to_string())).collect(),
            Knob::Rank => [0.0, 0.25, 0.5, 0.75]
                .map(|position| (position, (self.d_in as f64 * (1.0 - position)).round().to_string()))
                .into(),
        }
    }
}

/// Step `step` of [`STEPS`], as a share.
pub fn share(step: usize) -> f64 {
    step as f64 / STEPS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Knob; 4] = [Knob::Ratio(Criterion::Wanda), Knob::Bits, Knob::Rank, Knob::Latents(Criterion::Magnitude)];

    #[test]
    fn a_step_there_and_back_comes_back() {
        for (knob, d_in) in ALL.into_iter().flat_map(|knob| [7, 64, 768].map(|d_in| (knob, d_in))) {
            let scale = knob.scale(d_in);
            let mut at = scale.untouched();
            assert_eq!(scale.position(at), 0.0);
            assert!(scale.is_untouched(at));
            for _ in 0..4 {
                let further = scale.moved(at, 1, true);
                assert_ne!(further, at, "{knob} {d_in}");
                assert_eq!(scale.moved(further, -1, true), at, "{knob} {d_in}");
                assert!(scale.position(further) > scale.position(at) && !scale.is_untouched(further));
                at = scale.check(further).unwrap();
            }
            assert_eq!(scale.moved(at, -1000, false), scale.untouched());
            scale.check(scale.moved(at, 1000, false)).unwrap();
            scale.check(scale.nearest(1.0)).unwrap();
        }
    }

    #[test]
    fn grids_begin_untouched_and_have_their_places_on_the_slider() {
        for knob in ALL {
            let scale = knob.scale(768);
            let (grid, fine) = (scale.grid(), scale.fine());
            assert!(grid.len() <= GRID && fine.len() <= STEPS);
            assert_eq!([grid[0], fine[0]], [scale.untouched(); 2]);
            for (step, at) in grid.iter().enumerate() {
                let place = step as f64 / grid.len() as f64;
                assert!((scale.position(*at) - place).abs() < 1.0 / 700.0, "{knob}: {at}");
            }
            grid.iter().chain(&fine).for_each(|at| assert_eq!(scale.check(*at).unwrap(), *at));
        }
        assert_eq!(Knob::Ratio(Criterion::Wanda).scale(9).grid()[3], 0.15);
    }

    #[test]
    fn slots_are_their_own() {
        let by = |criterion| [Knob::Ratio(criterion), Knob::Latents(criterion)];
        let mut slots: Vec<usize> =
            Criterion::ALL.into_iter().flat_map(by).chain([Knob::Bits, Knob::Rank]).map(Knob::slot).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..Knob::SLOTS).collect::<Vec<_>>());
    }
}
