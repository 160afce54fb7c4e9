//! A text continued token by token, with edits in force if there are any.

use std::sync::Arc;

use candle_core::Tensor;

use super::choice::{Choice, Chooser};
use crate::{
    compare::{Reader, apply},
    data::token_tensor,
    edit::Edits,
    error::{Error, Result},
    model::{
        HookPoint, Model, Site,
        ragged::{Text, reads_ragged},
    },
    progress::Tick,
    sae::Latents,
};

/// What of the text the model remembers.
enum Memory {
    /// Keys and values: each step reads the new tokens alone.
    Kept(Text),
    /// The tokens themselves: each step reads them all. On the CPU in 16 bits.
    Whole(Vec<u32>),
}

/// A text that goes on as long as it is asked to.
pub struct Continuation {
    model: Arc<Model>,
    /// The SAE that edits are of, or that follows what is read.
    reader: Option<Reader>,
    edits: Option<Edits>,
    chooser: Chooser,
    memory: Memory,
    read: usize,
    /// After the last token that was read.
    logits: Tensor,
    /// At the reader's hook, of that token: `[1, d_in]`, before any edit.
    acts: Option<Tensor>,
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
        let (reader, edits) = edits.unzip();
        Self::begin(model.clone(), reader, edits, ids, choice, tick)
    }

    /// Of `ids` by a variant's model, with edits if there are any; its latents can be followed as the text grows.
    pub fn followed(reader: Reader, edits: Option<Edits>, ids: &[u32], choice: &Choice, tick: Tick) -> Result<Self> {
        Self::begin(reader.model.clone(), Some(reader), edits, ids, choice, tick)
    }

    fn begin(
        model: Arc<Model>,
        reader: Option<Reader>,
        edits: Option<Edits>,
        ids: &[u32],
        choice: &Choice,
        tick: Tick,
    ) -> Result<Self> {
        if ids.is_empty() {
            return Err(Error::invalid("the prompt has no tokens; type some text"));
        }
        let memory = if reads_ragged(&model) { Memory::Kept(Text::default()) } else { Memory::Whole(Vec::new()) };
        let mut text = Self {
            model,
            reader,
            edits,
            chooser: Chooser::new(choice)?,
            memory,
            read: 0,
            logits: Tensor::zeros((1, 1), candle_core::DType::F32, &candle_core::Device::Cpu)?,
            acts: None,
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
        let id = self.chooser.choose(&*self.model.ops, &self.logits)?;
        if !self.is_full() {
            self.read(&[id], tick)?;
        }
        Ok(id)
    }

    /// What fires on the token that was read last, before any edit: one row, `None` without an SAE that follows.
    pub fn latents(&self) -> Result<Option<Latents>> {
        let (Some(reader), Some(acts)) = (&self.reader, &self.acts) else { return Ok(None) };
        reader.encode(&reader.to_space(acts)?)?.into_latents().map(Some)
    }

    fn read(&mut self, ids: &[u32], tick: Tick) -> Result<()> {
        let first = self.read;
        let hook = self.reader.as_ref().map_or(HookPoint { layer: 0, site: Site::ResidPre }, |reader| reader.hook);
        let edits = self.reader.as_ref().zip(self.edits.as_ref());
        let found;
        self.logits = match &mut self.memory {
            Memory::Kept(text) => {
                let stopped = self.model.read_to(vec![std::mem::take(text)], &[ids], hook, tick)?;
                found = stopped.acts.clone();
                let (mut texts, last) = self.model.read_on(stopped, &edited(edits, &found, first)?, tick)?;
                *text = texts.pop().unwrap_or_default();
                self.model.last_logits(&last, &[ids.len()])?
            }
            Memory::Whole(all) => {
                all.extend_from_slice(ids);
                let captured =
                    self.model.capture(&token_tensor(std::slice::from_ref(all), &self.model)?, hook, tick)?;
                found = captured.acts.flatten_to(1)?;
                let acts = edited(edits, &found, 0)?;
                let last = self.model.resume(&captured, &acts.reshape(captured.acts.shape())?, tick)?.flatten_to(1)?;
                self.model.logits(&last.narrow(0, all.len() - 1, 1)?.contiguous()?)?
            }
        };
        if self.reader.is_some() {
            self.acts = Some(found.narrow(0, found.dim(0)? - 1, 1)?.contiguous()?);
        }
        self.read += ids.len();
        Ok(())
    }
}

/// Activations `[n, d_in]` of the model as the edits leave them; the first is position `first`.
fn edited(edits: Option<(&Reader, &Edits)>, acts: &Tensor, first: usize) -> Result<Tensor> {
    let Some((reader, edits)) = edits else { return Ok(acts.clone()) };
    reader.from_space(acts, &apply(edits, reader, &reader.to_space(acts)?, first)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::Variant,
        session::{DeviceSpec, Session, SessionSpec},
    };

    fn session() -> Session {
        Session::load(&SessionSpec { device: DeviceSpec::Cpu, ..SessionSpec::demo() }, &mut |_| Ok(())).unwrap()
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
    fn latents_followed_are_those_of_the_text_read_at_once() {
        let session = session();
        let tick: Tick = &mut || Ok(());
        let reader = session.reader(Variant::Pruned, session.setting).unwrap().unwrap();
        let mut ids = ids(&session);
        let mut text = Continuation::followed(reader.clone(), None, &ids, &Choice::GREEDY, tick).unwrap();
        for _ in 0..4 {
            ids.push(text.next(tick).unwrap());
            let whole = Continuation::followed(reader.clone(), None, &ids, &Choice::GREEDY, tick).unwrap();
            let [kept, anew] = [&text, &whole].map(|text| text.latents().unwrap().unwrap());
            let row = |latents: &Latents| latents.row(0).0.to_vec();
            assert_eq!(row(&kept), row(&anew));
            assert!(!row(&kept).is_empty());
            let pairs = kept.row(0).1.iter().zip(anew.row(0).1);
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-3), "the same to rounding");
        }
        let alone = Continuation::new(&session.models.original, None, &ids, &Choice::GREEDY, tick).unwrap();
        assert!(alone.latents().unwrap().is_none());
    }
}
