//! Where each latent fires in a text: how often, how strongly, and on which tokens most.

use crate::sae::Latents;

/// Places kept a latent.
const PLACES: usize = 4;
/// Bytes of a place, and of a latent's firing count and number of places.
const PLACE: usize = 12;
const LATENT: usize = 8;

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

    /// Tokens; then of each latent its firing count, the number of its places, and these.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.tokens.to_le_bytes().to_vec();
        for (count, places) in self.counts.iter().zip(&self.places) {
            bytes.extend([*count, places.len() as u32].into_iter().flat_map(u32::to_le_bytes));
            for place in places {
                bytes.extend(
                    [place.row, place.position, place.activation.to_bits()].into_iter().flat_map(u32::to_le_bytes),
                );
            }
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) gave of `d_sae` latents over `rows` rows.
    pub fn from_bytes(bytes: &[u8], d_sae: usize, rows: usize) -> Option<Self> {
        let words = |bytes: &[u8]| -> Vec<u32> { bytes.as_chunks().0.iter().map(|w| u32::from_le_bytes(*w)).collect() };
        let (tokens, mut rest) = bytes.split_first_chunk()?;
        let mut index = Self::new(0);
        index.tokens = u64::from_le_bytes(*tokens);
        for _ in 0..d_sae {
            let (head, after) = rest.split_at_checked(LATENT)?;
            let [count, places] = words(head).try_into().ok()?;
            let (places, after) = after.split_at_checked((places as usize).min(PLACES + 1) * PLACE)?;
            let place = |place: &[u8]| {
                let [row, position, activation] = words(place).try_into().ok()?;
                let known = (row as usize) < rows;
                known.then_some(Place { row, position, activation: f32::from_bits(activation) })
            };
            index.counts.push(count);
            index.places.push(places.chunks_exact(PLACE).map(place).collect::<Option<_>>()?);
            rest = after;
        }
        rest.is_empty().then_some(index)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_give_the_index_again_or_nothing() {
        let latents = Latents {
            d_sae: 3,
            offsets: vec![0, 2, 3, 4],
            indices: vec![0, 2, 2, 0],
            values: vec![1.0, 0.5, 3.0, 2.0],
        };
        let mut index = Index::new(3);
        index.add(&latents, 5, 2, &[true, true, true]);
        assert_eq!(
            index.places(0).iter().map(|p| (p.row, p.position, p.activation)).collect::<Vec<_>>(),
            [(6, 0, 2.0), (5, 0, 1.0)]
        );
        let bytes = index.to_bytes();
        let again = Index::from_bytes(&bytes, 3, 7).unwrap();
        assert_eq!((again.to_bytes(), again.density(2)), (bytes.clone(), Some(2.0 / 3.0)));
        assert!(Index::from_bytes(&bytes, 3, 6).is_none(), "row 6 of six");
        assert!(Index::from_bytes(&bytes, 2, 7).is_none() && Index::from_bytes(&bytes, 4, 7).is_none());
        assert!((0..bytes.len()).all(|end| Index::from_bytes(&bytes[..end], 3, 7).is_none()));
    }
}
