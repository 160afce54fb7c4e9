//! The knobs as they stand: each keeps its value while another is turned.

use prunelens_core::sae::{Criterion, Knob, Scale, Setting};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knobs {
    knob: Knob,
    /// Kept for the knobs that have one while another is turned.
    criterion: Criterion,
    /// In the order of [`Knob::NAMES`].
    at: [f64; 4],
    /// Width of what the SAE reads.
    d_in: usize,
}

impl Knobs {
    /// One at a setting, the others where they begin.
    pub fn new(setting: Setting, criterion: Criterion, d_in: usize) -> Self {
        let start = |name| Knob::named(name, criterion).map_or(0.0, |knob| knob.scale(d_in).start());
        let mut knobs = Self { knob: setting.knob, criterion, at: Knob::NAMES.map(start), d_in };
        knobs.set(setting.at);
        knobs
    }

    /// The same on an SAE that reads another width: what reached beyond it stands at its end.
    pub fn on(self, d_in: usize) -> Self {
        let mut knobs = Self { d_in, ..self };
        for (at, name) in knobs.at.iter_mut().zip(Knob::NAMES) {
            let scale = Knob::named(name, self.criterion).map(|knob| (knob.scale(self.d_in), knob.scale(d_in)));
            if let Some((before, scale)) = scale {
                // Untouched stays untouched; a rank beyond the width is the whole of it.
                let untouched = *at == before.untouched();
                *at = if untouched || scale.check(*at).is_err() { scale.untouched() } else { *at };
            }
        }
        knobs
    }

    /// The one that the slider turns now.
    pub fn setting(&self) -> Setting {
        self.knob.at(self.at[self.place()])
    }

    pub fn scale(&self) -> Scale {
        self.knob.scale(self.d_in)
    }

    /// By which weights or latents are ranked, whatever is turned now.
    pub fn criterion(&self) -> Criterion {
        self.criterion
    }

    /// Where the slider stands, 0 to 1.
    pub fn position(&self) -> f64 {
        self.scale().position(self.setting().at)
    }

    pub fn set(&mut self, at: f64) {
        self.at[self.place()] = at;
    }

    /// Turn the next one, where it was left.
    pub fn next(&mut self) {
        let name = Knob::NAMES[(self.place() + 1) % Knob::NAMES.len()];
        self.knob = Knob::named(name, self.criterion).unwrap_or(self.knob);
    }

    /// By another criterion; of no account for knobs that have none.
    pub fn by(&mut self, criterion: Criterion) {
        if self.knob.criterion().is_some() {
            (self.knob, self.criterion) = (self.knob.by(criterion), criterion);
        }
    }

    fn place(&self) -> usize {
        Knob::NAMES.iter().position(|name| *name == self.knob.name()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_knob_keeps_its_value() {
        let mut knobs = Knobs::new(Knob::Ratio(Criterion::Paper).at(0.4), Criterion::Paper, 64);
        knobs.next();
        assert_eq!(knobs.setting(), Knob::Bits.at(4.0));
        knobs.set(3.0);
        // There is nothing to rank.
        knobs.by(Criterion::Random);
        knobs.next();
        assert_eq!(knobs.setting(), Knob::Rank.at(32.0));
        knobs.next();
        assert_eq!(knobs.setting(), Knob::Latents(Criterion::Paper).at(0.25));
        knobs.by(Criterion::Magnitude);
        knobs.next();
        assert_eq!(knobs.setting(), Knob::Ratio(Criterion::Magnitude).at(0.4));
        knobs.next();
        assert_eq!(knobs.setting(), Knob::Bits.at(3.0));
    }

    #[test]
    fn another_width_keeps_what_it_can() {
        let rank =
            |at: f64, from: usize, to: usize| Knobs::new(Knob::Rank.at(at), Criterion::Wanda, from).on(to).setting();
        assert_eq!(rank(20.0, 64, 32), Knob::Rank.at(20.0));
        assert_eq!(rank(40.0, 64, 32), Knob::Rank.at(32.0));
        assert_eq!(rank(64.0, 64, 128), Knob::Rank.at(128.0));
        let ratio = Knob::Ratio(Criterion::Paper).at(0.4);
        assert_eq!(Knobs::new(ratio, Criterion::Paper, 64).on(8).setting(), ratio);
    }
}
