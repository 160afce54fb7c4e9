//! Formats with a byte a code: int8 and fp8, perhaps with their zeros left out.

use super::{
    super::{super::Kind, Dequantise, Packed, Stored, grid::Grid, stored::FLOATS},
    config::Group,
    packed::fp8,
    sparse::Mask,
};
use crate::error::Result;

/// One scale may come without dimensions, one a row without a second.
pub(super) fn expect_scales(stored: &Stored, name: &str, grid: &Grid) -> Result<()> {
    let ([rows, groups], found) = (grid.table(), stored.shape(name)?);
    let fits = match found {
        [] => rows * groups == 1,
        [n] => groups == 1 && *n == rows,
        found => found == [rows, groups],
    };
    if !fits {
        return Err(stored.wrong(name, format!("expected shape {:?}, found {found:?}", [rows, groups])));
    }
    stored.expect_kind(name, FLOATS)
}

pub(super) fn open(stored: &Stored, module: &str, group: &Group, mask: Option<Mask>) -> Result<Packed> {
    let [weight, scale, zeros] = ["weight", "weight_scale", "weight_zero_point"].map(|part| format!("{module}.{part}"));
    let kind = if group.float { Kind::F8E4M3 } else { Kind::I8 };
    let shape = match &mask {
        None => stored.matrix(&weight)?,
        Some(mask) => mask.shape,
    };
    stored.expect_kind(mask.as_ref().map_or(&weight, |mask| &mask.values), &[kind])?;
    let grid = group.spread.grid(shape);
    expect_scales(stored, &scale, &grid)?;
    let has_zeros = stored.has(&zeros) && !group.float;
    if has_zeros {
        let (found, expected) = (stored.shape(&zeros)?, stored.shape(&scale)?);
        if found != expected {
            return Err(
                stored.wrong(&zeros, format!("expected shape {expected:?} as its scales have, found {found:?}"))
            );
        }
        stored.expect_kind(&zeros, &[Kind::I8])?;
    } else if !group.symmetric && !group.float {
        return Err(stored.wrong(&zeros, "it is missing, and the config says that codes are not symmetric"));
    }
    let g_idx = format!("{module}.weight_g_idx");
    super::expect_g_idx(stored, &g_idx, shape[1])?;
    let (mut counted, mut beside) = (vec![scale.clone()], Vec::new());
    if has_zeros {
        counted.push(zeros.clone());
    } else {
        // Of floats it is 0.
        beside.extend(stored.present([zeros.clone()]));
    }
    let mut what = if group.float { "fp8 e4m3".to_owned() } else { format!("int{}", group.bits) };
    match &mask {
        None => counted.insert(0, weight.clone()),
        Some(mask) => {
            counted.extend(mask.counted());
            beside.extend(mask.beside());
            what = format!("{what}, {}", mask.words());
        }
    }
    Ok(Packed {
        name: weight.clone(),
        scheme: format!("compressed-tensors {what}, {}", group.spread.words()),
        shape: [shape[0], shape[1]],
        rows_are_outputs: true,
        counted,
        beside,
        weight: Box::new(Bytes {
            weight,
            scale,
            zeros: has_zeros.then_some(zeros),
            g_idx,
            float: group.float,
            mask,
            grid,
        }),
    })
}

#[derive(Debug)]
struct Bytes {
    weight: String,
    scale: String,
    zeros: Option<String>,
    /// May not be there.
    g_idx: String,
    float: bool,
    mask: Option<Mask>,
    grid: Grid,
}

impl Dequantise for Bytes {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let bytes = stored.bytes(self.mask.as_ref().map_or(&self.weight, |mask| &mask.values))?;
        let codes = if self.float { fp8(&bytes) } else { bytes.iter().map(|code| f32::from(*code as i8)).collect() };
        let codes = match &self.mask {
            None => codes,
            Some(mask) => mask.spread(stored, &codes)?,
        };
        let scales = stored.scales(&self.scale)?;
        let zeros: Vec<f32> = match &self.zeros {
            Some(zeros) => stored.bytes(zeros)?.iter().map(|zero| f32::from(*zero as i8)).collect(),
            None => vec![0.0; scales.len()],
        };
        let columns = self.grid.listed(stored, &self.g_idx)?;
        Ok(self.grid.fill(|row, at, out| {
            let codes = &codes[row * columns.len()..];
            for ((out, code), group) in out.iter_mut().zip(codes).zip(&columns) {
                let group = at + group;
                *out = (code - zeros[group]) * scales[group];
            }
        }))
    }
}
