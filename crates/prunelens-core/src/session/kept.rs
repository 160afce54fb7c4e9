//! What a session computes over its calibration text, kept in the cache under all that it is made from.

use std::sync::Arc;

use super::Session;
use crate::{
    compare::Variant,
    digest::{content, sha256},
    error::Result,
    index::{Index, Indexing},
    model::Tick,
    prune::{
        masks,
        sae::{Gather, Norms},
    },
    sae::{Criterion, Factors, Setting},
};

/// Kinds of the cache's entries.
const NORMS: &str = "norms";
const EXAMPLES: &str = "examples";
const BASIS: &str = "basis";

impl Session {
    /// The norms that a criterion needs, of the model that the pruned SAE reads.
    pub(super) fn norms(&self, criterion: Criterion, mut gather: Gather, tick: Tick) -> Result<Norms> {
        let key = self.key(NORMS, criterion.name(), self.made_of.clone());
        let about = format!("{}, {}, {criterion}", self.sae.config.name, self.compression);
        let read = |bytes: &[u8]| Norms::from_bytes(bytes).filter(|norms| norms.fit(criterion, &self.sae));
        self.keep(NORMS, key, &about, read, Norms::to_bytes, || {
            self.calibrate(criterion, &mut gather, tick)?;
            Ok(gather.norms())
        })
    }

    /// The singular vectors of the SAE's matrices, encoder and decoder. They are of its weights alone.
    pub(super) fn basis(&self, tick: Tick) -> Result<[Vec<f32>; 2]> {
        let key = self.spec.cache.as_ref().and_then(|_| {
            let [w_enc, w_dec] = [&self.sae.w_enc, &self.sae.w_dec].map(content);
            let made_of = (env!("CARGO_PKG_VERSION"), prunelens_kernels::simd::level(), BASIS, w_enc?, w_dec?);
            serde_json::to_vec(&made_of).ok().map(|text| sha256(&text))
        });
        let side = self.sae.d_in() * self.sae.d_in();
        let read = |bytes: &[u8]| {
            let (values, rest) = bytes.as_chunks::<4>();
            let whole = rest.is_empty() && values.len() == 2 * side;
            let values = || values.iter().map(|v| f32::from_le_bytes(*v));
            whole.then(|| [values().take(side).collect(), values().skip(side).collect()])
        };
        let write = |basis: &[Vec<f32>; 2]| basis.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        self.keep(BASIS, key, &format!("{}, singular vectors", self.sae.config.name), read, write, || {
            Ok([Factors::basis(&self.sae.w_enc, tick)?, Factors::basis(&self.sae.w_dec, tick)?])
        })
    }

    /// An index of the corpus with the SAE at a setting: the one that is kept, or one that has yet to be built.
    pub fn indexing(&self, setting: Setting, tick: Tick) -> Result<Indexing> {
        self.order(setting.knob, tick)?;
        let kept = self.index_key(setting).zip(self.spec.cache.as_ref()).and_then(|(key, cache)| {
            let sizes = Variant::ALL.map(|variant| match variant {
                Variant::Trained => self.trained.as_ref().map(|sae| sae.d_sae()),
                _ => Some(self.sae.d_sae()),
            });
            Index::from_bytes(&cache.get(EXAMPLES, &key)?, self.corpus.clone(), setting, sizes)
        });
        match kept {
            Some(index) => Ok(Indexing::kept(index)),
            None => {
                let (corpus, special) = (self.corpus.clone(), self.tokenizer.specials());
                let readers = self.readers(setting)?;
                Ok(Indexing::new(readers, corpus, setting, special, self.spec.memory))
            }
        }
    }

    /// The `pruned` variant alone over the rows that an index was read from, at another setting; the whole index, where one
    /// was kept at that setting.
    pub fn indexing_pruned(&self, rows: &[Vec<u32>], setting: Setting, tick: Tick) -> Result<Indexing> {
        let whole = self.indexing(setting, tick)?;
        if whole.is_kept() {
            return Ok(whole);
        }
        let readers = self.reader(Variant::Pruned, setting)?.into_iter().collect();
        let special = self.tokenizer.specials();
        Ok(Indexing::new(readers, Arc::new(rows.to_vec()), setting, special, self.spec.memory))
    }

    /// Keep an index for the next session of this kind.
    pub fn keep_index(&self, index: &Index) -> Result<()> {
        let Some((key, cache)) = self.index_key(index.setting).zip(self.spec.cache.as_ref()) else {
            return Ok(());
        };
        let about = format!("{}, {}, {} rows", self.sae.config.name, self.original.name, index.read);
        cache.put(EXAMPLES, &key, &about, &index.to_bytes())
    }

    fn index_key(&self, setting: Setting) -> Option<String> {
        self.spec.cache.as_ref()?;
        let original = masks::digest(&self.original)?;
        let trained = match &self.trained {
            Some(sae) => Some((content(&sae.w_enc)?, content(&sae.w_dec)?, sae.b_enc.clone(), sae.b_dec.clone())),
            None => None,
        };
        let with = serde_json::to_vec(&(original, setting.at, self.spec.memory, trained, &*self.corpus)).ok()?;
        self.key(EXAMPLES, &format!("{} {}", setting.knob, sha256(&with)), self.made_of.clone())
    }

    fn keep<T>(
        &self,
        kind: &str,
        key: Option<String>,
        about: &str,
        read: impl FnOnce(&[u8]) -> Option<T>,
        write: impl FnOnce(&T) -> Vec<u8>,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        match self.spec.cache.as_ref().zip(key) {
            Some((cache, key)) => cache.keep((kind, &key, about), read, write, make),
            None => make(),
        }
    }

    /// What something over the calibration text is made from: the model that is read, the SAE that reads it, where, and
    /// on which tokens. `None` where nothing is kept.
    fn key(&self, kind: &str, of: &str, model: Option<String>) -> Option<String> {
        self.spec.cache.as_ref()?;
        let [w_enc, w_dec] = [&self.sae.w_enc, &self.sae.w_dec].map(content);
        let made_of = (
            (env!("CARGO_PKG_VERSION"), prunelens_kernels::simd::level(), kind, of),
            model?,
            (sha256(&w_enc?), sha256(&w_dec?), &self.sae.b_enc, &self.sae.b_dec, &self.sae.decode_scale),
            (
                format!("{:?} {:?}", self.sae.activation, self.sae.config.normalize),
                self.sae.config.apply_b_dec_to_input,
            ),
            (
                self.hook.to_string(),
                self.space.name(),
                self.spec.dtype.as_str(),
                format!("{:?}", self.original.device.location()),
            ),
            (&self.calibration.windows, &self.calibration.documents),
        );
        serde_json::to_vec(&made_of).ok().map(|text| sha256(&text))
    }
}
