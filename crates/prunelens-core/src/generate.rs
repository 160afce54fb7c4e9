//! A text continued token by token, with edits in force if there are any.

use std::sync::Arc;

use candle_core::Tensor;
use candle_transformers::generation::{LogitsProcessor, Sampling};

use crate::{
    compare::{Reader, apply},
    data::token_tensor,
    edit::Edits,
    error::{Error, Result},
    model::{
        HookPoint, Model, Site, Tick,
        ragged::{Text, likeliest, reads_ragged},
    },
};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// 0 takes the likeliest, the first of equals.
    pub temperature: f64,
    /// Among the likeliest tokens that have this probability together.
    pub top_p: Option<f64>,
    /// Of what is drawn.
    pub seed: u64,
}

impl Choice {
    /// The likeliest token every time.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: None, seed: 0 };

    /// Refuse what cannot be drawn by.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::Usage(format!("temperature {}: expected a number from 0", self.temperature)));
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => {
                Err(Error::Usage(format!("top-p {p}: expected a number above 0, at most 1")))
            }
            _ => Ok(()),
        }
    }
}

/// Draws tokens from logits.
enum Chooser {
    Likeliest,
    Drawn(Box<LogitsProcessor>),
}

impl Chooser {
    fn new(choice: &Choice) -> Result<Self> {
        choice.check()?;
        let temperature = choice.temperature;
        if temperature == 0.0 {
            return Ok(Self::Likeliest);
        }
        let sampling = match choice.top_p {
            Some(p) if p < 1.0 => Sampling::TopP { p, temperature },
            _ => Sampling::All { temperature },
        };
        Ok(Self::Drawn(Box::new(LogitsProcessor::from_sampling(choice.seed, sampling))))
    }

    /// From logits `[1, vocabulary]`.
    fn choose(&mut self, logits: &Tensor) -> Result<u32> {
        match self {
            Self::Likeliest => Ok(likeliest(logits)?.first().copied().unwrap_or_default()),
            Self::Drawn(processor) => Ok(processor.sample(&logits.flatten_all()?)?),
        }
    }
}

/// What of the text the model remembers.
enum Memory {
    /// Keys and values: each step reads the new tokens alone.
    Kept(Text),
    /// The tokens themselves: each step reads them all. On a GPU, and in types that keys and values are not kept in.
    Whole(Vec<u32>),
}

/// A text that goes on as long as it is asked to.
pub struct Continuation {
    model: Arc<Model>,
    edits: Option<(Reader, Edits)>,
    chooser: Chooser,
    memory: Memory,
    read: usize,
    /// After the last token that was read.
    logits: Tensor,
}

impl Continuation {
    /// Of `ids`, by a model alone, or with edits by the SAE that reads it there.
    pub fn new(
        model: &Arc<Model>,
        edits: Option<(Reader, Edits)>,
        ids: &[u32],
        choice: &Choice,
        tick: Tick,
    ) -> Result<Self> {
        if ids.is_empty() {
            return Err(Error::invalid("the prompt has no tokens; type some text"));
        }
        let memory = if reads_ragged(model) { Memory::Kept(Text::default()) } else { Memory::Whole(Vec::new()) };
        let mut text = Self {
            model: model.clone(),
            edits,
            chooser: Chooser::new(choice)?,
            memory,
            read: 0,
            logits: Tensor::zeros((1, 1), candle_core::DType::F32, &candle_core::Device::Cpu)?,
        };
        text.read(ids, tick)?;
        Ok(text)
    }

    /// Whether the model can read no more.
    pub fn is_full(&self) -> bool {
        self.read >= self.model.config.n_ctx
    }

    /// The next token, which is read as well.
    pub fn next(&mut self, tick: Tick) -> Result<u32> {
        let id = self.chooser.choose(&self.logits)?;
        if !self.is_full() {
            self.read(&[id], tick)?;
        }
        Ok(id)
    }

    fn read(&mut self, ids: &[u32], tick: Tick) -> Result<()> {
        let first = self.read;
        let hook = self.edits.as_ref().map_or(HookPoint { layer: 0, site: Site::ResidPre }, |(reader, _)| reader.hook);
        self.logits = match &mut self.memory {
            Memory::Kept(text) => {
                let stopped = self.model.read_to(vec![std::mem::take(text)], &[ids], hook, tick)?;
                let acts = edited(self.edits.as_ref(), &stopped.acts, first)?;
                let (mut texts, last) = self.model.read_on(stopped, &acts, tick)?;
                *text = texts.pop().unwrap_or_default();
                self.model.last_logits(&last, &[ids.len()])?
            }
            Memory::Whole(all) => {
                all.extend_from_slice(ids);
                let captured =
                    self.model.capture(&token_tensor(std::slice::from_ref(all), &self.model)?, hook, tick)?;
                let acts = edited(self.edits.as_ref(), &captured.acts.flatten_to(1)?, 0)?;
                let last = self.model.resume(&captured, &acts.reshape(captured.acts.shape())?, tick)?.flatten_to(1)?;
                self.model.logits(&last.narrow(0, all.len() - 1, 1)?.contiguous()?)?
            }
        };
        self.read += ids.len();
        Ok(())
    }
}

/// Activations `[n, d_in]` of the model as the edits leave them; the first is position `first`.
fn edited(edits: Option<&(Reader, Edits)>, acts: &Tensor, first: usize) -> Result<Tensor> {
    let Some((reader, edits)) = edits else { return Ok(acts.clone()) };
    reader.from_space(acts, &apply(edits, reader, &reader.to_space(acts)?, first)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::Variant,
        session::{Session, SessionSpec},
    };

    fn session() -> Session {
        Session::load(&SessionSpec::demo(), &mut |_| Ok(())).unwrap()
    }

    fn ids(session: &Session) -> Vec<u32> {
        session.tokens("The army and the navy of").unwrap().iter().map(|token| token.id).collect()
    }

    fn continued(session: &Session, edits: &[&str], choice: Choice, whole: bool) -> Vec<u32> {
        let tick: Tick = &mut || Ok(());
        let reader = session.reader(Variant::Pruned, session.setting).unwrap().unwrap();
        let edits = Edits { list: edits.iter().map(|e| e.parse().unwrap()).collect(), ..Edits::default() };
        let model = reader.model.clone();
        let ids = ids(session);
        let edits = (!edits.list.is_empty()).then_some((reader, edits));
        let mut text = Continuation::new(&model, edits, &ids, &choice, tick).unwrap();
        if whole {
            (text.memory, text.read) = (Memory::Whole(Vec::new()), 0);
            text.read(&ids, tick).unwrap();
        }
        (0..12).map(|_| text.next(tick).unwrap()).collect()
    }

    #[test]
    fn remembering_changes_nothing() {
        let session = session();
        let drawn = Choice { temperature: 0.9, top_p: Some(0.9), seed: 3 };
        for (edits, choice) in [
            (&[][..], Choice::GREEDY),
            (&["708=set:20@3.."], Choice::GREEDY),
            (&["708=ablate", "1854=add:6@9.."], Choice::GREEDY),
            (&["708=scale:2"], drawn),
        ] {
            let kept = continued(&session, edits, choice, false);
            assert_eq!(kept, continued(&session, edits, choice, true), "{edits:?}");
            assert_eq!(kept, continued(&session, edits, choice, false), "{edits:?}: the same seed");
        }
    }

    #[test]
    fn edits_change_what_comes() {
        let session = session();
        let plain = continued(&session, &[], Choice::GREEDY, false);
        assert_ne!(plain, continued(&session, &["708=set:60"], Choice::GREEDY, false));
        // What covers nothing that is read changes nothing.
        assert_eq!(plain, continued(&session, &["708=set:60@900.."], Choice::GREEDY, false));
    }

    #[test]
    fn what_cannot_be_drawn_by_is_refused() {
        for (temperature, top_p) in [(-1.0, None), (f64::NAN, None), (1.0, Some(0.0)), (1.0, Some(1.5))] {
            assert!(Choice { temperature, top_p, seed: 0 }.check().is_err());
        }
    }
}
