//! The latents of one variant over a corpus, by token and by latent.

use crate::sae::Latents;

/// What fires in one variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Fires {
    by_token: Latents,
    /// Tokens of each latent, ascending.
    by_latent: Vec<Vec<u32>>,
}

impl Fires {
    pub(super) fn new(d_sae: usize) -> Self {
        Self { by_token: Latents::new(d_sae), by_latent: vec![Vec::new(); d_sae] }
    }

    /// From what fires by token.
    pub(super) fn of_tokens(by_token: Latents) -> Self {
        let mut fires = Self::new(by_token.d_sae);
        fires.add(&by_token, &vec![true; by_token.rows()]);
        fires
    }

    /// The next tokens; those for which `counts` is false are passed over.
    pub(super) fn add(&mut self, latents: &Latents, counts: &[bool]) {
        for (row, counts) in counts.iter().enumerate() {
            let token = self.by_token.rows() as u32;
            let (indices, values) = if *counts { latents.row(row) } else { Default::default() };
            indices.iter().for_each(|latent| self.by_latent[*latent as usize].push(token));
            self.by_token.push_row(indices.iter().copied().zip(values.iter().copied()));
        }
    }

    /// By token: rows are tokens in the order of reading.
    pub fn by_token(&self) -> &Latents {
        &self.by_token
    }

    /// Size of the dictionary.
    pub fn d_sae(&self) -> usize {
        self.by_latent.len()
    }

    /// Tokens on which a latent fires, ascending.
    pub fn tokens_of(&self, latent: u32) -> &[u32] {
        self.by_latent.get(latent as usize).map_or(&[], Vec::as_slice)
    }

    /// The same with its activation there.
    pub fn of(&self, latent: u32) -> Vec<(u32, f32)> {
        self.tokens_of(latent).iter().map(|token| (*token, self.by_token.get(*token as usize, latent))).collect()
    }

    /// Of what is in it alone, so that an index that was kept goes on as far as one that grew: lists grow by doubling.
    pub(super) fn bytes(&self) -> u64 {
        let grown = |len: usize| if len == 0 { 0 } else { len.next_power_of_two().max(4) };
        let lists: usize = self.by_latent.iter().map(|tokens| size_of::<Vec<u32>>() + 4 * grown(tokens.len())).sum();
        (lists + 8 * grown(self.by_token.indices.len()) + 8 * grown(self.by_token.offsets.len())) as u64
    }
}
