//! Formats that put several codes into a word or byte.

use super::{
    super::{
        super::Kind,
        Dequantise, Packed, Stored,
        codes::{E2M1, code, e4m3},
        grid::Grid,
        mlx::powers,
        stored::{FLOATS, WORDS},
    },
    config::Group,
};
use crate::error::Result;

fn matrix(module: &str, shape: [usize; 2], group: &Group, what: &str, weight: impl Dequantise + 'static) -> Packed {
    Packed {
        name: format!("{module}.weight"),
        scheme: format!("compressed-tensors {what}, {}", group.spread.words()),
        shape: [shape[0], shape[1]],
        rows_are_outputs: true,
        counted: vec![format!("{module}.weight_packed"), format!("{module}.weight_scale")],
        beside: Vec::new(),
        weight: Box::new(weight),
    }
}

/// Integers, stored with the middle of their range added; zero points likewise, packed along the outputs.
pub(super) fn integers(stored: &Stored, module: &str, group: &Group) -> Result<Packed> {
    let [packed, scale, zeros, shape, g_idx] =
        ["weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx"]
            .map(|part| format!("{module}.{part}"));
    let [rows, words] = stored.matrix(&packed)?;
    stored.expect_kind(&packed, WORDS)?;
    let sizes: Vec<usize> = stored.integers(&shape)?.into_iter().filter_map(|n| usize::try_from(n).ok()).collect();
    let per_word = 32 / group.bits as usize;
    let fits = |rows_said: usize, cols: usize| rows_said == rows && cols > 0 && cols.div_ceil(per_word) == words;
    let [rows, cols] = match sizes[..] {
        [said, cols] if fits(said, cols) => [rows, cols],
        _ => {
            let what = format!(
                "expected the shape of {rows} rows of {words} words of {per_word} codes ({packed}), found {sizes:?}"
            );
            return Err(stored.wrong(&shape, what));
        }
    };
    let grid = group.spread.grid([rows, cols]);
    super::plain::expect_scales(stored, &scale, &grid)?;
    let has_zeros = stored.has(&zeros);
    if has_zeros {
        let [table_rows, groups] = grid.table();
        stored.expect(&zeros, WORDS, &[table_rows.div_ceil(per_word), groups])?;
    } else if !group.symmetric {
        return Err(stored.wrong(&zeros, "it is missing, and the config says that codes are not symmetric"));
    }
    let what = format!("int{}", group.bits);
    let weight = Integers { module: module.into(), bits: group.bits, words, grid };
    let mut packed = matrix(module, [rows, cols], group, &what, weight);
    if has_zeros {
        packed.counted.push(zeros);
    }
    super::expect_g_idx(stored, &g_idx, cols)?;
    Ok(packed)
}

#[derive(Debug)]
struct Integers {
    module: String,
    bits: u32,
    /// Of a row.
    words: usize,
    grid: Grid,
}

impl Dequantise for Integers {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let part = |part: &str| format!("{}.{part}", self.module);
        let (words, scales) = (stored.words(&part("weight_packed"))?, stored.scales(&part("weight_scale"))?);
        let (zeros, g_idx) = (part("weight_zero_point"), part("weight_g_idx"));
        let [table_rows, groups] = self.grid.table();
        let zeros: Vec<i32> = if stored.has(&zeros) {
            let words = stored.words(&zeros)?;
            let place = |at: usize| (at / groups, at % groups);
            let zero = |(row, group): (usize, usize)| code(|word| words[word * groups + group], row, self.bits) as i32;
            (0..table_rows * groups).map(|at| zero(place(at))).collect()
        } else {
            vec![1 << (self.bits - 1); table_rows * groups]
        };
        // Groups of -1 are columns that no group has: none of the library's writers leaves one.
        let columns = self.grid.listed(stored, &g_idx)?;
        Ok(self.grid.fill(|row, at, out| {
            for (col, out) in out.iter_mut().enumerate() {
                let group = at + columns[col];
                let code = code(|word| words[row * self.words + word], col, self.bits) as i32;
                *out = (code - zeros[group]) as f32 * scales[group];
            }
        }))
    }
}

/// Floats of 4 bits, the low half of a byte first, with fp8 scales that one f32 divides.
pub(super) fn nvfp4(stored: &Stored, module: &str, group: &Group) -> Result<Packed> {
    let global = format!("{module}.weight_global_scale");
    let (shape, grid) = fp4(stored, module, group, &[Kind::F8E4M3])?;
    stored.expect_kind(&global, FLOATS)?;
    if stored.shape(&global)?.iter().product::<usize>() != 1 {
        return Err(stored.wrong(&global, "expected one number"));
    }
    let mut packed = matrix(module, shape, group, "nvfp4", Fp4 { module: module.into(), global: true, grid });
    packed.counted.push(global);
    Ok(packed)
}

/// The same with powers of two for scales.
pub(super) fn mxfp4(stored: &Stored, module: &str, group: &Group) -> Result<Packed> {
    let (shape, grid) = fp4(stored, module, group, &[Kind::U8])?;
    Ok(matrix(module, shape, group, "mxfp4", Fp4 { module: module.into(), global: false, grid }))
}

fn fp4(stored: &Stored, module: &str, group: &Group, scales: &[Kind]) -> Result<([usize; 2], Grid)> {
    let packed = format!("{module}.weight_packed");
    let [rows, bytes] = stored.matrix(&packed)?;
    stored.expect_kind(&packed, &[Kind::U8])?;
    let shape = [rows, bytes.saturating_mul(2)];
    let grid = group.spread.grid(shape);
    stored.expect(&format!("{module}.weight_scale"), scales, &grid.table())?;
    Ok((shape, grid))
}

#[derive(Debug)]
struct Fp4 {
    module: String,
    /// Scales are fp8, divided by one f32.
    global: bool,
    grid: Grid,
}

impl Dequantise for Fp4 {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let part = |part: &str| format!("{}.{part}", self.module);
        let codes = stored.bytes(&part("weight_packed"))?;
        let scale = part("weight_scale");
        let scales: Vec<f32> = if self.global {
            let global = stored.scales(&part("weight_global_scale"))?;
            let divisor = global.first().copied().unwrap_or(1.0);
            stored.floats(&scale)?.iter().map(|scale| scale / divisor).collect()
        } else {
            powers(stored, &scale)?
        };
        let columns = self.grid.columns();
        Ok(self.grid.fill(|row, at, out| {
            let codes = &codes[row * columns.len() / 2..];
            for (col, out) in out.iter_mut().enumerate() {
                let code = codes[col / 2] >> (col % 2 * 4) & 15;
                *out = E2M1[usize::from(code)] * scales[at + columns[col]];
            }
        }))
    }
}

/// Codes of fp8 as numbers.
pub(super) fn fp8(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|code| e4m3(*code)).collect()
}
