//! An index as bytes, for the cache.

use std::sync::Arc;

use super::{Fires, Index};
use crate::sae::{Latents, Setting};

impl Index {
    /// Rows and tokens read; then of each variant the size of its dictionary (0: absent), what fires on each token, and
    /// the latents with their activations.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = [self.read as u64, self.tokens].into_iter().flat_map(u64::to_le_bytes).collect();
        for fires in &self.variants {
            let Some(fires) = fires else {
                bytes.extend(0_u64.to_le_bytes());
                continue;
            };
            let latents = fires.by_token();
            let counts = latents.offsets.windows(2).map(|ends| (ends[1] - ends[0]) as u32);
            bytes.extend([fires.d_sae() as u64, latents.rows() as u64].into_iter().flat_map(u64::to_le_bytes));
            bytes.extend(counts.chain(latents.indices.iter().copied()).flat_map(u32::to_le_bytes));
            bytes.extend(latents.values.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) gave over the same corpus. `d_sae` are the sizes of the variants' dictionaries.
    pub fn from_bytes(
        mut bytes: &[u8],
        rows: Arc<Vec<Vec<u32>>>,
        setting: Setting,
        d_sae: [Option<usize>; 4],
    ) -> Option<Self> {
        let mut index = Self::new(rows, setting);
        index.read = usize::try_from(number(&mut bytes)?).ok().filter(|read| *read <= index.rows.len())?;
        index.tokens = number(&mut bytes)?;
        for row in &index.rows[..index.read] {
            let end = index.starts.last()? + u32::try_from(row.len()).ok()?;
            index.starts.push(end);
        }
        let tokens = *index.starts.last()? as usize;
        for (at, expected) in d_sae.into_iter().enumerate() {
            let found = number(&mut bytes)? as usize;
            if found != expected.unwrap_or(0) {
                return None;
            }
            if expected.is_some() {
                index.variants[at] = Some(Fires::of_tokens(latents(&mut bytes, found, tokens)?));
            }
        }
        bytes.is_empty().then_some(index)
    }
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

fn words(bytes: &mut &[u8], n: usize) -> Option<Vec<u32>> {
    let (words, rest) = bytes.split_at_checked(n.checked_mul(4)?)?;
    *bytes = rest;
    Some(words.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

/// What fires on each of `tokens` tokens: ascending latents of the dictionary, or nothing at all.
fn latents(bytes: &mut &[u8], d_sae: usize, tokens: usize) -> Option<Latents> {
    if number(bytes)? != tokens as u64 {
        return None;
    }
    let counts = words(bytes, tokens)?;
    let total = counts.iter().try_fold(0_usize, |sum, n| sum.checked_add(*n as usize))?;
    let indices = words(bytes, total)?;
    let values: Vec<f32> = words(bytes, total)?.into_iter().map(f32::from_bits).collect();
    let mut latents = Latents::new(d_sae);
    let (mut indices, mut values) = (indices.into_iter(), values.into_iter());
    for n in counts {
        let row: Vec<(u32, f32)> = indices.by_ref().zip(values.by_ref()).take(n as usize).collect();
        let ascending = row.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !ascending || row.last().is_some_and(|(latent, _)| *latent as usize >= d_sae) {
            return None;
        }
        latents.push_row(row);
    }
    Some(latents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Variant;

    #[test]
    fn bytes_give_the_index_again_or_nothing() {
        let rows = Arc::new(vec![vec![7, 8], vec![9, 10, 11]]);
        let mut fires = Latents::new(3);
        for row in [vec![], vec![(0, 1.0), (2, 0.5)], vec![(2, 3.0)], vec![(0, 2.0)], vec![(2, 1.0)]] {
            fires.push_row(row);
        }
        let setting = crate::sae::Knob::Bits.at(4.0);
        let mut index = Index::new(rows.clone(), setting);
        index.variants[0] = Some(Fires::of_tokens(fires));
        (index.read, index.tokens, index.starts) = (2, 4, vec![0, 2, 5]);
        let places = |index: &Index, latent| {
            let places = index.strongest(Variant::Original, latent, 9);
            places.iter().map(|p| (p.row, p.position, p.activation)).collect::<Vec<_>>()
        };
        assert_eq!(places(&index, 0), [(1, 1, 2.0), (0, 1, 1.0)]);
        assert_eq!(places(&index, 2), [(1, 0, 3.0), (0, 1, 0.5)], "each row once");
        let bytes = index.to_bytes();
        let sizes = [Some(3), None, None, None];
        let read = |bytes: &[u8], sizes| Index::from_bytes(bytes, rows.clone(), setting, sizes);
        let again = read(&bytes, sizes).unwrap();
        assert_eq!((again.to_bytes(), again.density(Variant::Original, 2)), (bytes.clone(), Some(0.75)));
        assert_eq!((places(&again, 2), again.density(Variant::Pruned, 2)), (places(&index, 2), None));
        assert!(read(&bytes, [Some(2), None, None, None]).is_none(), "another dictionary");
        assert!(read(&bytes, [Some(3), Some(3), None, None]).is_none(), "a variant more");
        assert!((0..bytes.len()).all(|end| read(&bytes[..end], sizes).is_none()));
    }
}
