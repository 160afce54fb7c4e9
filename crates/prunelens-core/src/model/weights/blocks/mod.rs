//! Types of blocks in GGUF files that candle does not read: codes of 4 bits by a table, ternary ones, and points of lattices.
//! Written after `gguf-py/gguf/quants.py` of llama.cpp, whose numbers they give bit for bit.

mod lattice;
mod small;

use std::fmt;

use half::f16;
use rayon::prelude::*;

/// A type of blocks.
pub struct Blocks {
    /// In GGUF files.
    pub id: u32,
    /// As llama.cpp calls it.
    pub name: &'static str,
    /// Numbers of a block.
    pub numbers: usize,
    /// What they take.
    pub bytes: usize,
    /// One block's numbers from its bytes, of these lengths.
    block: fn(&[u8], &mut [f32]),
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Blocks {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Blocks {}

static ALL: [Blocks; 13] = [
    Blocks { id: 16, name: "IQ2_XXS", numbers: 256, bytes: 66, block: lattice::iq2_xxs },
    Blocks { id: 17, name: "IQ2_XS", numbers: 256, bytes: 74, block: lattice::iq2_xs },
    Blocks { id: 18, name: "IQ3_XXS", numbers: 256, bytes: 98, block: lattice::iq3_xxs },
    Blocks { id: 19, name: "IQ1_S", numbers: 256, bytes: 50, block: lattice::iq1_s },
    Blocks { id: 20, name: "IQ4_NL", numbers: 32, bytes: 18, block: small::iq4_nl },
    Blocks { id: 21, name: "IQ3_S", numbers: 256, bytes: 110, block: lattice::iq3_s },
    Blocks { id: 22, name: "IQ2_S", numbers: 256, bytes: 82, block: lattice::iq2_s },
    Blocks { id: 23, name: "IQ4_XS", numbers: 256, bytes: 136, block: small::iq4_xs },
    Blocks { id: 29, name: "IQ1_M", numbers: 256, bytes: 56, block: lattice::iq1_m },
    Blocks { id: 34, name: "TQ1_0", numbers: 256, bytes: 54, block: small::tq1_0 },
    Blocks { id: 35, name: "TQ2_0", numbers: 256, bytes: 66, block: small::tq2_0 },
    Blocks { id: 39, name: "MXFP4", numbers: 32, bytes: 17, block: small::mxfp4 },
    Blocks { id: 40, name: "NVFP4", numbers: 64, bytes: 36, block: small::nvfp4 },
];

impl Blocks {
    /// The type with this number in GGUF files.
    pub fn of(id: u32) -> Option<&'static Self> {
        ALL.iter().find(|blocks| blocks.id == id)
    }

    /// All numbers of whole blocks.
    pub fn floats(&self, bytes: &[u8]) -> Vec<f32> {
        let mut values = vec![0.0; bytes.len() / self.bytes * self.numbers];
        let each = values.par_chunks_mut(self.numbers).zip(bytes.par_chunks(self.bytes)).with_min_len(64);
        each.for_each(|(out, bytes)| (self.block)(bytes, out));
        values
    }
}

/// The half-precision number that starts at a byte.
fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_bits(short(bytes, at)).to_f32()
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(short(bytes, at)) | u32::from(short(bytes, at + 2)) << 16
}
