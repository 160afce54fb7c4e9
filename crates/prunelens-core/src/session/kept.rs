//! What a session computes over its calibration text, kept in the cache under all that it is made from.

use std::sync::{Arc, PoisonError};

use candle_core::Tensor;
use prunelens_kernels::{gpu, simd};
use serde::Serialize;

use super::Session;
use crate::{
    compare::Variant,
    digest::{self, sha256},
    error::Result,
    index::{Index, Indexing},
    progress::{Tick, aside},
    prune::sae::{Gather, Norms},
    sae::{Criterion, Factors, Sae, Setting},
};

/// Kinds of the cache's entries.
const NORMS: &str = "norms";
const EXAMPLES: &str = "examples";
const BASIS: &str = "basis";

impl Session {
    /// A digest of an SAE's weights, the same wherever its files lie.
    pub fn digest_of(&self, sae: &Sae) -> String {
        let mut all = blake3::Hasher::new();
        for content in self.contents(sae) {
            all.update(&content.unwrap_or_default());
        }
        for value in sae.b_enc.iter().chain(&sae.b_dec) {
            all.update(&value.to_le_bytes());
        }
        all.finalize().to_string()
    }

    /// What [`digest::content`] gives of encoder and decoder of one of the session's SAEs.
    fn contents(&self, sae: &Sae) -> [Option<Vec<u8>>; 2] {
        [&sae.w_enc, &sae.w_dec].map(|matrix| self.content(matrix))
    }

    /// Of a matrix, read once.
    fn content(&self, matrix: &Tensor) -> Option<Vec<u8>> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = known().get(&matrix.id()) {
            return Some(content.clone());
        }
        let content = digest::content(matrix)?;
        known().insert(matrix.id(), content.clone());
        Some(content)
    }

    /// The norms that a criterion needs, of the model that the pruned SAE reads.
    pub(super) fn norms(&self, criterion: Criterion, mut gather: Gather, tick: Tick) -> Result<Norms> {
        let key = self.key(NORMS, criterion.name(), self.models.made_of.clone());
        let about = format!("{}, {}, {criterion}", self.sae.config.name, self.models.compression);
        let read = |bytes: &[u8]| Norms::from_bytes(bytes).filter(|norms| norms.fit(criterion, &self.sae));
        self.keep(NORMS, key, &about, read, Norms::to_bytes, || {
            self.calibrate(criterion, &mut gather, tick)?;
            Ok(gather.norms())
        })
    }

    /// The singular vectors of the SAE's matrices, encoder and decoder. They are of its weights alone.
    pub(super) fn basis(&self, tick: Tick) -> Result<[Vec<f32>; 2]> {
        let key = self.spec.cache.as_ref().and_then(|_| {
            let [w_enc, w_dec] = self.contents(&self.sae);
            let made_of = (env!("CARGO_PKG_VERSION"), simd::level(), BASIS, w_enc?, w_dec?);
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

    /// An index of the corpus with the SAE at a setting, as far as it was kept: what is missing has yet to be read.
    pub fn indexing(&self, setting: Setting, tick: Tick) -> Result<Indexing> {
        self.order(setting.knob, tick)?;
        let key = self.index_key(setting);
        let sizes = Variant::ALL.map(|variant| match variant {
            Variant::Trained => self.trained.as_ref().map(|sae| sae.d_sae()),
            _ => Some(self.sae.d_sae()),
        });
        let kept = match key.clone().zip(self.spec.cache.clone()) {
            Some((key, cache)) => {
                // As much as the corpus has memory: whoever waits for something else is let through meanwhile.
                let corpus = self.models.corpus.clone();
                let read = move || {
                    let bytes = cache.get(EXAMPLES, &key);
                    Ok(bytes.and_then(|bytes| Index::from_bytes(&bytes, corpus, setting, sizes)))
                };
                aside("examples", read, &mut *tick)?
            }
            None => None,
        };
        let (corpus, special) = (self.models.corpus.clone(), self.models.tokenizer.specials());
        let mut new = Indexing::new(self.readers(setting)?, corpus, setting, special, self.spec.memory);
        new.key = key;
        Ok(match kept {
            Some(index) => new.resumed(index),
            None => new,
        })
    }

    /// The `pruned` variant alone over the rows that an index was read from, at another setting; the whole index, where one
    /// of as many rows was kept at that setting.
    pub fn indexing_pruned(&self, rows: &[Vec<u32>], setting: Setting, tick: Tick) -> Result<Indexing> {
        let whole = self.indexing(setting, tick)?;
        if whole.next().is_none() || whole.index.read >= rows.len() {
            return Ok(whole.finished());
        }
        let readers = self.reader(Variant::Pruned, setting)?.into_iter().collect();
        let special = self.models.tokenizer.specials();
        let mut new = Indexing::new(readers, Arc::new(rows.to_vec()), setting, special, self.spec.memory);
        new.key = whole.key;
        Ok(new)
    }

    /// What keeps an index as it is now for the next session of this kind, whole or not; `None` where nothing is kept. It
    /// holds nothing of the index, so that another thread can wait for the disk.
    pub fn keep_index(&self, indexing: &Indexing) -> Option<impl FnOnce() -> Result<()> + Send + use<>> {
        let (key, cache) = indexing.key.clone().zip(self.spec.cache.clone())?;
        let (index, all) = (&indexing.index, indexing.index.rows.len());
        let rows = if index.read < all { format!("{} of {all}", index.read) } else { all.to_string() };
        let about = format!("{}, {}, {rows} rows", self.sae.config.name, self.models.original.name);
        let bytes = index.to_bytes();
        Some(move || cache.put(EXAMPLES, &key, &about, &bytes))
    }

    fn index_key(&self, setting: Setting) -> Option<String> {
        let original = self.models.digest.as_ref()?;
        let trained = match &self.trained {
            // It may read in a space of its own.
            Some(sae) => Some((self.all_of(sae)?, sae.config.space.name())),
            None => None,
        };
        let with = serde_json::to_vec(&(original, setting.at, self.spec.memory, trained, &*self.models.corpus)).ok()?;
        self.key(EXAMPLES, &format!("{} {}", setting.knob, sha256(&with)), self.models.made_of.clone())
    }

    /// Everything that decides what an SAE makes of an activation.
    fn all_of<'a>(&self, sae: &'a Sae) -> Option<impl Serialize + use<'a>> {
        let [w_enc, w_dec] = self.contents(sae);
        Some((
            (sha256(&w_enc?), sha256(&w_dec?), &sae.b_enc, &sae.b_dec, &sae.decode_scale),
            (format!("{:?} {:?}", sae.activation, sae.config.normalize), sae.config.apply_b_dec_to_input),
        ))
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
        let made_of = (
            (env!("CARGO_PKG_VERSION"), gpu::arithmetic(&self.models.original.device), kind, of),
            model?,
            self.all_of(&self.sae)?,
            (self.hook.to_string(), self.space.name(), self.models.original.dtype.as_str()),
            (&self.models.calibration.windows, &self.models.calibration.documents),
        );
        serde_json::to_vec(&made_of).ok().map(|text| sha256(&text))
    }
}
