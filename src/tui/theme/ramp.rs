//! A scale of colours for values between 0 and 1.

use ratatui::style::{Color, Style};

use crate::{
    export::color::rgb,
    tui::theme::color::{self, ColorDepth},
};

/// Steps a ramp is cut into: more cannot be told apart on small areas, and each is a colour more to send.
const STEPS: usize = 9;

/// Backgrounds from one end of a scale to the other, each with text that is readable on it.
#[derive(Clone, Debug, Default)]
pub struct Ramp {
    steps: Vec<Style>,
}

impl Ramp {
    /// Interpolates between the stops; empty where the terminal cannot show them.
    pub fn new(stops: &[Color], depth: ColorDepth) -> Self {
        let stops: Vec<[u8; 3]> = stops.iter().filter_map(|&c| rgb(c)).collect();
        if stops.len() < 2 || depth < ColorDepth::Ansi256 {
            return Self::default();
        }
        let steps = (0..STEPS).map(|step| {
            let at = step as f32 / (STEPS - 1) as f32 * (stops.len() - 1) as f32;
            let low = (at as usize).min(stops.len() - 2);
            let share = at - low as f32;
            let mix = |i: usize| {
                (f32::from(stops[low][i]) * (1.0 - share) + f32::from(stops[low + 1][i]) * share).round() as u8
            };
            let value = [mix(0), mix(1), mix(2)];
            // Black and nearly white of the palette: they are said in half the bytes.
            let text = Color::Indexed(if color::lightness(value) > 0.5 { 16 } else { 255 });
            let [r, g, b] = value;
            Style { bg: depth.map(Color::Rgb(r, g, b)), fg: depth.map(text), ..Style::new() }
        });
        Self { steps: steps.collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The style at `share` of the scale.
    pub fn at(&self, share: f32) -> Option<Style> {
        let last = self.steps.len().checked_sub(1)?;
        // A share that is not a number saturates to 0.
        self.steps.get(((share.clamp(0.0, 1.0) * last as f32).round() as usize).min(last)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn background(style: Style) -> [u8; 3] {
        style.bg.and_then(rgb).unwrap()
    }

    #[test]
    fn ends_are_the_first_and_last_stop() {
        let ramp = Ramp::new(&[Color::Rgb(0, 0, 0), Color::Rgb(10, 20, 30)], ColorDepth::Truecolor);
        assert_eq!(background(ramp.at(0.0).unwrap()), [0, 0, 0]);
        assert_eq!(background(ramp.at(1.0).unwrap()), [10, 20, 30]);
        assert_eq!(background(ramp.at(f32::NAN).unwrap()), [0, 0, 0]);
    }

    #[test]
    fn text_on_every_step_of_the_shipped_ramps_is_readable() {
        for name in ["dark", "light"] {
            let theme = super::super::Theme::load(name, ColorDepth::Truecolor, false).unwrap();
            for ramp in [&theme.heat, &theme.difference] {
                for step in 0..STEPS {
                    let style = ramp.at(step as f32 / (STEPS - 1) as f32).unwrap();
                    let [fg, bg] = [style.fg, style.bg].map(|c| color::lightness(c.and_then(rgb).unwrap()));
                    assert!((fg - bg).abs() > 0.35, "{name} step {step}: {fg} on {bg}");
                }
            }
        }
    }

    #[test]
    fn the_heat_of_the_shipped_themes_is_monotone_in_lightness() {
        for name in ["dark", "light"] {
            let heat = super::super::Theme::load(name, ColorDepth::Truecolor, false).unwrap().heat;
            let lightness: Vec<f32> = heat.steps.iter().map(|&s| color::lightness(background(s))).collect();
            let rising = lightness.windows(2).all(|w| w[0] < w[1]);
            let falling = lightness.windows(2).all(|w| w[0] > w[1]);
            assert!(rising || falling, "{name}: {lightness:?}");
        }
    }
}
