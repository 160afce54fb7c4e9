//! A prompt continued by both models, as far as it has come.

use prunelens_core::{
    compare::{Token, Variant, predict::Speaker},
    generate::{Choice, End, Written},
};

use crate::engine::GenerateTask;

/// Tokens added unless something else is asked for.
const LENGTH: usize = 64;

#[derive(Clone, Debug)]
pub struct Generation {
    /// How tokens are chosen, and how many.
    pub choice: Choice,
    pub most: usize,
    /// What was asked for last.
    pub asked: Option<(u64, GenerateTask)>,
    /// More is to come of it.
    pub going: bool,
    pub texts: Vec<Continued>,
    /// The text that goes into the prompt.
    pub selected: usize,
}

impl Default for Generation {
    fn default() -> Self {
        Self { choice: Choice::GREEDY, most: LENGTH, asked: None, going: false, texts: Vec::new(), selected: 0 }
    }
}

/// What one of them has written.
#[derive(Clone, Debug, PartialEq)]
pub struct Continued {
    pub of: Speaker,
    pub tokens: Vec<New>,
    /// That all tokens took; reading the prompt is not counted.
    pub seconds: f64,
    pub end: Option<End>,
}

/// A token that was added, and what fires on it: latents of the writer's own reading, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct New {
    pub token: Token,
    pub latents: Vec<(u32, f32)>,
}

impl New {
    /// Of a latent on the token.
    pub fn activation(&self, latent: u32) -> f32 {
        self.latents.binary_search_by_key(&latent, |(of, _)| *of).map_or(0.0, |at| self.latents[at].1)
    }

    /// The strongest first.
    pub fn strongest(&self) -> Vec<(u32, f32)> {
        let mut all = self.latents.clone();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }
}

impl Continued {
    pub fn new(of: Speaker) -> Self {
        Self { of, tokens: Vec::new(), seconds: 0.0, end: None }
    }

    pub fn grow(&mut self, written: Written, seconds: f64) {
        match written {
            Written::Token(token, latents) => {
                self.tokens.push(New { token, latents });
                self.seconds += seconds;
            }
            Written::Ended(end) => self.end = Some(end),
        }
    }

    /// Tokens a second, once there is more than the first.
    pub fn speed(&self) -> Option<f64> {
        (self.tokens.len() > 1 && self.seconds > 0.0).then(|| self.tokens.len() as f64 / self.seconds)
    }

    /// The bytes that were added, without the sign that ends a text.
    pub fn bytes(&self) -> Vec<u8> {
        self.tokens.iter().filter(|new| !new.token.special).flat_map(|new| new.token.piece.clone()).collect()
    }
}

impl Generation {
    /// The text that a text is compared with: an edited one with its own model's left alone, the pruned model's with the
    /// original one's.
    pub fn base(&self, of: Speaker) -> Option<&Continued> {
        let base = match of {
            Speaker::Model(Variant::Original) => return None,
            Speaker::Model(_) => Speaker::Model(Variant::Original),
            Speaker::Edited(variant) | Speaker::Spliced(variant) if variant.on_pruned_model() => {
                // Without compression there is one model.
                let pruned = Speaker::Model(Variant::Transfer);
                if self.text(pruned).is_some() { pruned } else { Speaker::Model(Variant::Original) }
            }
            Speaker::Edited(_) | Speaker::Spliced(_) => Speaker::Model(Variant::Original),
        };
        self.text(base)
    }

    fn text(&self, of: Speaker) -> Option<&Continued> {
        self.texts.iter().find(|text| text.of == of)
    }

    /// The first token at which a text is another than the one it is compared with.
    pub fn differs(&self, text: &Continued) -> Option<usize> {
        let base = self.base(text.of)?;
        text.tokens.iter().zip(&base.tokens).position(|(own, other)| own.token.id != other.token.id)
    }

    /// The largest activation of a latent on what was added.
    pub fn strongest(&self, latent: u32) -> f32 {
        let all = self.texts.iter().flat_map(|text| &text.tokens);
        all.filter(|new| !new.token.special).map(|new| new.activation(latent)).fold(0.0, f32::max)
    }
}

/// How to continue, as it is being typed.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationForm {
    pub fields: [String; 4],
    pub selected: usize,
}

/// Names of the fields, and what they mean.
pub const FIELDS: [(&str, &str); 4] = [
    ("length", "tokens to add at most"),
    ("temperature", "0 takes the likeliest token, 1 draws as the model says"),
    ("top-p", "draw among the likeliest that have this probability together; empty: among all"),
    ("seed", "another seed draws another text"),
];

impl GenerationForm {
    pub fn new(generation: &Generation) -> Self {
        let Choice { temperature, top_p, seed } = generation.choice;
        let top_p = top_p.map_or_else(String::new, |p| p.to_string());
        Self { fields: [generation.most.to_string(), temperature.to_string(), top_p, seed.to_string()], selected: 0 }
    }

    /// The default of the selected field.
    pub fn default_value(&mut self) {
        if let Some(field) = self.fields.get_mut(self.selected) {
            *field = Self::new(&Generation::default()).fields[self.selected].clone();
        }
    }

    /// What the fields say, or what is wrong with which.
    pub fn read(&self) -> Result<(usize, Choice), (usize, String)> {
        let [most, temperature, top_p, seed] = self.fields.each_ref().map(|field| field.trim());
        let wrong =
            |at: usize, text: &str, expected: &str| (at, format!("{} {text:?}: expected {expected}", FIELDS[at].0));
        let most = most.parse().ok().filter(|n: &usize| *n > 0).ok_or_else(|| wrong(0, most, "a number from 1"))?;
        let temperature = temperature
            .parse()
            .ok()
            .filter(|t| Choice::is_temperature(*t))
            .ok_or_else(|| wrong(1, temperature, Choice::TEMPERATURES))?;
        let top_p = match top_p {
            "" => None,
            text => {
                let p = text.parse().ok().filter(|p| Choice::is_top_p(*p));
                Some(p.ok_or_else(|| wrong(2, text, &format!("{}, or nothing", Choice::TOP_PS)))?)
            }
        };
        let seed = seed.parse().map_err(|_| wrong(3, seed, "a whole number from 0"))?;
        Ok((most, Choice { temperature, top_p, seed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: Speaker, ids: &[u32]) -> Continued {
        let mut text = Continued::new(of);
        for id in ids {
            let token = Token { id: *id, piece: vec![b'a'], special: false };
            text.grow(Written::Token(token, vec![(3, 1.5), (9, 4.0)]), 0.1);
        }
        text
    }

    #[test]
    fn texts_are_compared_with_the_one_that_differs_by_one_thing() {
        use Speaker::{Edited, Model};
        use Variant::{Original, Pruned, Transfer};
        let texts = vec![
            text(Model(Original), &[1, 2, 3]),
            text(Model(Transfer), &[1, 2, 4, 5]),
            text(Edited(Original), &[1, 2, 3, 9]),
            text(Edited(Pruned), &[1, 2, 4, 6]),
        ];
        let generation = Generation { texts, ..Generation::default() };
        let differs: Vec<_> = generation.texts.iter().map(|text| generation.differs(text)).collect();
        assert_eq!(differs, [None, Some(2), None, Some(3)]);
        assert_eq!(generation.strongest(9), 4.0);
        assert_eq!(generation.texts[0].tokens[0].strongest()[0], (9, 4.0));
        assert!((generation.texts[1].speed().unwrap() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn settings_are_read_or_refused_by_name() {
        let mut form = GenerationForm::new(&Generation::default());
        assert_eq!(form.read(), Ok((LENGTH, Choice::GREEDY)));
        form.fields = ["12", "0.8", "0.9", "7"].map(str::to_owned);
        assert_eq!(form.read(), Ok((12, Choice { temperature: 0.8, top_p: Some(0.9), seed: 7 })));
        for (at, text) in [(0, "0"), (1, "-1"), (1, "1e-40"), (1, "200"), (2, "1.5"), (3, "x")] {
            let mut wrong = form.clone();
            wrong.fields[at] = text.into();
            let (field, why) = wrong.read().unwrap_err();
            assert!(field == at && why.contains(FIELDS[at].0) && why.contains("expected"), "{why}");
        }
    }
}
