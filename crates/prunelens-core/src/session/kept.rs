//! What a session computes over its calibration text, kept in the cache under all that it is made from.

use super::{Session, token_tensor};
use crate::{
    compare::{Variant, index::Index},
    digest::sha256,
    error::Result,
    model::Tick,
    prune::{
        masks,
        sae::{Gather, Norms},
    },
    sae::Criterion,
};

/// Kinds of the cache's entries.
const NORMS: &str = "norms";
const EXAMPLES: &str = "examples";

/// Rows of text that go through the model at a time, so that a request in between waits for no more.
const ROWS: usize = 4;

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

    /// Where the pretrained SAE's latents fire in the calibration text on the original model.
    pub fn index(&self, tick: Tick) -> Result<Index> {
        let original = self.spec.cache.as_ref().and_then(|_| masks::digest(&self.original));
        let key = self.key(EXAMPLES, Variant::Original.name(), original);
        let about = format!("{}, {}, {}", self.sae.config.name, self.original.name, self.calibration.label);
        let rows = self.calibration.documents.iter().map(Vec::len).sum();
        let read = |bytes: &[u8]| Index::from_bytes(bytes, self.sae.d_sae(), rows);
        self.keep(EXAMPLES, key, &about, read, Index::to_bytes, || self.read_index(tick))
    }

    fn read_index(&self, tick: Tick) -> Result<Index> {
        let mut index = Index::new(self.sae.d_sae());
        let Some(reader) = self.unpruned(Variant::Original)? else { return Ok(index) };
        let mut row = 0;
        for rows in self.calibration.documents.iter().flat_map(|batch| batch.chunks(ROWS)) {
            let captured = reader.model.capture(&token_tensor(rows, &reader.model)?, self.hook, tick)?;
            let encoded = reader.encode(&reader.input(&captured)?)?;
            let counts: Vec<bool> = rows.iter().flatten().map(|id| !self.tokenizer.special(*id)).collect();
            index.add(&encoded.latents, row, rows.first().map_or(1, Vec::len), &counts);
            row += rows.len();
        }
        Ok(index)
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
        let [w_enc, w_dec] = [&self.sae.w_enc, &self.sae.w_dec].map(masks::content);
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
