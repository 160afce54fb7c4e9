//! Where each latent fires in a text: how often, how strongly, and on which tokens most.

use crate::sae::Latents;

/// Places kept a latent.
const PLACES: usize = 4;

/// A token of the indexed rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Row of the calibration text.
    pub row: u32,
    /// Token in the row.
    pub position: u32,
    /// Activation of the latent there.
    pub activation: f32,
}

/// Firing counts and strongest places of every latent over some token rows.
#[derive(Clone, Debug)]
pub struct Index {
    counts: Vec<u32>,
    /// Strongest first, at most one a row.
    places: Vec<Vec<Place>>,
    tokens: u64,
}

impl Index {
    /// An index of no tokens yet.
    pub fn new(d_sae: usize) -> Self {
        Self { counts: vec![0; d_sae], places: vec![Vec::new(); d_sae], tokens: 0 }
    }

    /// Latents of token rows `first_row..` of equal `length`; tokens for which `counts` is false are passed over.
    pub fn add(&mut self, latents: &Latents, first_row: usize, length: usize, counts: &[bool]) {
        for token in (0..latents.rows()).filter(|t| counts[*t]) {
            self.tokens += 1;
            let (row, position) = ((first_row + token / length) as u32, (token % length) as u32);
            let (indices, values) = latents.row(token);
            for (latent, activation) in indices.iter().zip(values) {
                self.counts[*latent as usize] += 1;
                insert(&mut self.places[*latent as usize], Place { row, position, activation: *activation });
            }
        }
    }

    /// Share of tokens on which a latent fires.
    pub fn density(&self, latent: u32) -> Option<f64> {
        let count = self.counts.get(latent as usize)?;
        (self.tokens > 0).then(|| f64::from(*count) / self.tokens as f64)
    }

    /// Where a latent is most active, the strongest first.
    pub fn places(&self, latent: u32) -> &[Place] {
        self.places.get(latent as usize).map_or(&[], Vec::as_slice)
    }
}

fn insert(places: &mut Vec<Place>, place: Place) {
    if let Some(at) = places.iter().position(|p| p.row == place.row) {
        if places[at].activation >= place.activation {
            return;
        }
        places.remove(at);
    }
    let at = places.partition_point(|p| p.activation >= place.activation);
    if at < PLACES {
        places.insert(at, place);
        places.truncate(PLACES);
    }
}
