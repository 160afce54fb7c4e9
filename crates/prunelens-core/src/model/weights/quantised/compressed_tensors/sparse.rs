//! Matrices whose zeros are left out: a bit for each weight, and the weights that are not 0 one after another.

use super::{
    super::{super::Kind, Dequantise, Packed, Stored},
    config::Config,
};
use crate::error::Result;

#[derive(Clone, Debug)]
pub(super) struct Mask {
    pub shape: [usize; 2],
    /// Names of tensors.
    pub values: String,
    bits: String,
    sizes: String,
    /// Of files that keep where each row starts.
    offsets: Option<String>,
}

impl Mask {
    /// The bitmask of a module, if it has one.
    pub fn find(stored: &Stored, config: &Config, module: &str) -> Result<Option<Self>> {
        let stems = [module.to_owned(), format!("{module}.weight")];
        let Some(stem) = stems.into_iter().find(|stem| stored.has(&format!("{stem}.compressed"))) else {
            return Ok(None);
        };
        let [values, bits, sizes, offsets] =
            ["compressed", "bitmask", "shape", "row_offsets"].map(|part| format!("{stem}.{part}"));
        let Some(format) = &config.sparse else {
            return Err(stored.wrong(&values, "the config has no sparsity_config"));
        };
        let said: Vec<usize> = stored.integers(&sizes)?.into_iter().filter_map(|n| usize::try_from(n).ok()).collect();
        let [rows, cols] = said[..] else {
            return Err(stored.wrong(&sizes, format!("expected rows and columns, found {said:?}")));
        };
        stored.expect(&bits, &[Kind::U8], &[rows, cols.div_ceil(8)])?;
        let flat = format == "sparse-bitmask";
        if !flat && (!cols.is_multiple_of(4) || stored.shape(&values)? != [rows, cols / 2]) {
            let found = stored.shape(&values)?;
            return Err(
                stored.wrong(&values, format!("expected two of every four of [{rows}, {cols}], found shape {found:?}"))
            );
        }
        if flat {
            stored.expect(&offsets, &[Kind::I64, Kind::I32], &[rows])?;
        }
        Ok(Some(Self { shape: [rows, cols], values, bits, sizes, offsets: flat.then_some(offsets) }))
    }

    pub fn counted(&self) -> [String; 2] {
        [self.values.clone(), self.bits.clone()]
    }

    pub fn beside(&self) -> Vec<String> {
        std::iter::once(self.sizes.clone()).chain(self.offsets.clone()).collect()
    }

    pub fn words(&self) -> &'static str {
        if self.offsets.is_some() { "zeros in a bitmask" } else { "2:4 with a bitmask" }
    }

    /// The values at their places, and zeros.
    pub fn spread(&self, stored: &Stored, values: &[f32]) -> Result<Vec<f32>> {
        let (bits, [rows, cols]) = (stored.bytes(&self.bits)?, self.shape);
        let per_row = cols.div_ceil(8);
        let offsets = self.offsets.as_ref().map(|offsets| stored.integers(offsets)).transpose()?;
        let (mut out, mut rest) = (vec![0.0; rows * cols], values.iter());
        let mut taken = 0_usize;
        for (row, out) in out.chunks_mut(cols.max(1)).enumerate() {
            if let (Some(offsets), Some(name)) = (&offsets, &self.offsets)
                && offsets.get(row).copied() != i64::try_from(taken).ok()
            {
                return Err(stored
                    .wrong(name, format!("row {row}: expected {taken} by the bitmask, found {:?}", offsets.get(row))));
            }
            let bits = &bits[row * per_row..];
            for (_, out) in out.iter_mut().enumerate().filter(|(col, _)| bits[col / 8] >> (col % 8) & 1 == 1) {
                let missing = || {
                    stored
                        .wrong(&self.values, format!("its {} values are fewer than the bitmask has bits", values.len()))
                };
                *out = *rest.next().ok_or_else(missing)?;
                taken += 1;
            }
        }
        if taken != values.len() {
            return Err(stored.wrong(
                &self.values,
                format!("expected {taken} values as the bitmask has bits, found {}", values.len()),
            ));
        }
        Ok(out)
    }
}

/// A matrix that is sparse and not quantised.
pub(super) fn open(stored: &Stored, module: &str, mask: Mask) -> Result<Packed> {
    stored.expect_kind(&mask.values, super::super::stored::FLOATS)?;
    Ok(Packed {
        name: format!("{module}.weight"),
        scheme: format!("compressed-tensors {:?}, {}", stored.kind(&mask.values).unwrap_or(Kind::F32), mask.words()),
        shape: [mask.shape[0], mask.shape[1]],
        rows_are_outputs: true,
        counted: mask.counted().to_vec(),
        beside: mask.beside(),
        weight: Box::new(Sparse(mask)),
    })
}

#[derive(Debug)]
struct Sparse(Mask);

impl Dequantise for Sparse {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        self.0.spread(stored, &stored.floats(&self.0.values)?)
    }
}
