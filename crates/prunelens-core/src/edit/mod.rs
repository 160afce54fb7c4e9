//! Edits: changes of latents, or of the activation itself, that are in force while a model reads or continues a text.
//!
//! With `x` the activation at the hook and `f = encode(x)`, ablating, scaling and setting make `f'` of `f`, in the order in
//! which they are listed. The model goes on from `x + decode(f') - decode(f)`, which keeps what the SAE misses (SAELens'
//! error term), or from `decode(f')`. What is added comes last: `S W_dec[J]`, a multiple of the decoder's row.

mod spec;

pub use spec::{Change, Edit, ErrorTerm, Positions};

/// Edits in force together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    /// In the order in which they are made.
    pub list: Vec<Edit>,
    /// What becomes of the part that the SAE misses.
    pub error: ErrorTerm,
}

impl Edits {
    /// Refuse latents that a dictionary does not have.
    pub fn check(&self, d_sae: usize) -> crate::error::Result<()> {
        match self.list.iter().find(|edit| edit.latent as usize >= d_sae) {
            Some(edit) => Err(crate::error::Error::Usage(format!(
                "edit {edit}: there is no latent #{}; they go from #0 to #{}",
                edit.latent,
                d_sae.saturating_sub(1)
            ))),
            None => Ok(()),
        }
    }
}
