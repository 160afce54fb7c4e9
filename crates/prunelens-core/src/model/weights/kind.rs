//! Types of stored numbers, and their values as f32.

use candle_core::{
    Device,
    quantized::{GgmlDType, ggml_file::qtensor_from_ggml},
};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use super::blocks::Blocks;

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Floats of 64 bits.
    F64,
    /// Floats of 32 bits.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// Floats of 8 bits, 4 of them the exponent: numbers only beside their scales.
    F8E4M3,
    /// Integers of 64 bits.
    I64,
    /// Integers of 32 bits.
    I32,
    /// Integers of 16 bits.
    I16,
    /// Integers of 8 bits.
    I8,
    /// Integers of 32 bits without sign.
    U32,
    /// Integers of 8 bits without sign.
    U8,
    /// A byte each.
    Bool,
    /// Blocks of GGUF files.
    Ggml(GgmlDType),
    /// Blocks of GGUF files that candle does not read.
    Blocks(&'static Blocks),
}

impl Kind {
    /// `None` for types that are not read.
    pub fn of_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype;
        Some(match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F8_E4M3 => Self::F8E4M3,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U32 => Self::U32,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// Bytes of `n` numbers; `None` if they do not fill whole blocks or overflow.
    pub fn bytes(self, n: usize) -> Option<usize> {
        let width = match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::F8E4M3 | Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Ggml(dtype) => {
                let block = dtype.block_size();
                return n.is_multiple_of(block).then(|| (n / block).checked_mul(dtype.type_size())).flatten();
            }
            Self::Blocks(blocks) => {
                return n
                    .is_multiple_of(blocks.numbers)
                    .then(|| (n / blocks.numbers).checked_mul(blocks.bytes))
                    .flatten();
            }
        };
        n.checked_mul(width)
    }

    /// Floats of this kind as f32; `None` for integers.
    pub fn floats(self, bytes: &[u8]) -> Option<Vec<f32>> {
        const CHUNK: usize = 1 << 16;
        let width = match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Ggml(dtype) => return blocks(dtype, bytes),
            Self::Blocks(blocks) => return Some(blocks.floats(bytes)),
            _ => return None,
        };
        let mut values = vec![0.0_f32; bytes.len() / width];
        values.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * width)).for_each(|(out, bytes)| match self {
            Self::F16 => {
                let half: Vec<f16> = bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
                half.convert_to_f32_slice(out);
            }
            Self::BF16 => {
                for (out, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *out = bf16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            Self::F64 => {
                for (out, b) in out.iter_mut().zip(bytes.chunks_exact(8)) {
                    *out = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
                }
            }
            _ => {
                for (out, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
        });
        Some(values)
    }

    /// Integers of this kind; `None` for floats.
    pub fn integers(self, bytes: &[u8]) -> Option<Vec<i64>> {
        fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> i64) -> Vec<i64> {
            bytes.as_chunks::<N>().0.iter().map(|b| value(*b)).collect()
        }
        Some(match self {
            Self::I64 => each(bytes, i64::from_le_bytes),
            Self::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
            Self::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
            Self::I8 => each(bytes, |b| i8::from_le_bytes(b).into()),
            Self::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
            Self::U8 | Self::Bool => each(bytes, |b: [u8; 1]| b[0].into()),
            Self::F64 | Self::F32 | Self::F16 | Self::BF16 | Self::F8E4M3 | Self::Ggml(_) | Self::Blocks(_) => {
                return None;
            }
        })
    }
}

impl Kind {
    /// "Q4_K", "BF16": as GGUF files call it.
    pub fn of_gguf(self) -> String {
        match self {
            Self::Ggml(dtype) => format!("{dtype:?}").replace('K', "_K"),
            other => format!("{other:?}"),
        }
    }
}

/// Blocks dequantised by candle, some at a time: its copies of them are as large as the result.
fn blocks(dtype: GgmlDType, bytes: &[u8]) -> Option<Vec<f32>> {
    let (block, size) = (dtype.block_size(), dtype.type_size());
    let chunk = (1 << 18) / block;
    let parts: Option<Vec<Vec<f32>>> = bytes
        .par_chunks(chunk * size)
        .map(|bytes| {
            let n = bytes.len() / size * block;
            let tensor = qtensor_from_ggml(dtype, bytes, vec![n], &Device::Cpu).ok()?;
            tensor.dequantize(&Device::Cpu).ok()?.to_vec1().ok()
        })
        .collect();
    Some(parts?.concat())
}
