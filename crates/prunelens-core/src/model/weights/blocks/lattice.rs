//! Blocks whose codes are places in a list of lattice points, with signs and scales beside them. The lists in `grids/` are those
//! of `gguf-py` (MIT): a few bits for each coordinate, the lowest first.

use std::sync::LazyLock;

use super::{half, short, word};

/// Points one after another.
struct Grid {
    width: usize,
    points: Vec<f32>,
}

impl Grid {
    fn new(width: usize, packed: &[u8], values: &[f32]) -> Self {
        // Two bits hold one of three values, four bits one of eight.
        let bits = if values.len() > 4 { 4 } else { 2 };
        let codes = packed.iter().flat_map(|byte| (0..8 / bits).map(move |at| byte >> (at * bits) & ((1 << bits) - 1)));
        Self { width, points: codes.map(|code| values[usize::from(code)]).collect() }
    }

    fn point(&self, at: usize) -> &[f32] {
        &self.points[at * self.width..][..self.width]
    }
}

const TWO: [f32; 3] = [8.0, 25.0, 43.0];
const THREE_XXS: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];
const THREE_S: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];
const ONE: [f32; 3] = [-1.0, 0.0, 1.0];

static IQ2_XXS: LazyLock<Grid> = LazyLock::new(|| Grid::new(8, include_bytes!("grids/iq2_xxs.bin"), &TWO));
static IQ2_XS: LazyLock<Grid> = LazyLock::new(|| Grid::new(8, include_bytes!("grids/iq2_xs.bin"), &TWO));
static IQ2_S: LazyLock<Grid> = LazyLock::new(|| Grid::new(8, include_bytes!("grids/iq2_s.bin"), &TWO));
static IQ3_XXS: LazyLock<Grid> = LazyLock::new(|| Grid::new(4, include_bytes!("grids/iq3_xxs.bin"), &THREE_XXS));
static IQ3_S: LazyLock<Grid> = LazyLock::new(|| Grid::new(4, include_bytes!("grids/iq3_s.bin"), &THREE_S));
static IQ1: LazyLock<Grid> = LazyLock::new(|| Grid::new(8, include_bytes!("grids/iq1_s.bin"), &ONE));

/// Eight signs from seven bits: an even number of them is negative.
fn even(signs: u32) -> u8 {
    let signs = (signs & 127) as u8;
    signs | (signs.count_ones() as u8 & 1) << 7
}

/// A point with its signs, scaled.
fn put(point: &[f32], signs: u8, scale: f32, out: &mut [f32]) {
    for (at, (out, coordinate)) in out.iter_mut().zip(point).enumerate() {
        *out = scale * coordinate * if signs >> at & 1 == 0 { 1.0 } else { -1.0 };
    }
}

pub(super) fn iq2_xxs(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (group, out) in out.chunks_mut(32).enumerate() {
        let at = 2 + 8 * group;
        let rest = word(block, at + 4);
        let scale = d * (0.5 + (rest >> 28) as f32) * 0.25;
        for (i, out) in out.chunks_mut(8).enumerate() {
            put(IQ2_XXS.point(usize::from(block[at + i])), even(rest >> (7 * i)), scale, out);
        }
    }
}

/// The scale of 16 numbers, two of them a byte.
fn nibble(scales: &[u8], at: usize) -> f32 {
    f32::from(scales[at / 2] >> (at % 2 * 4) & 15)
}

pub(super) fn iq2_xs(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (i, out) in out.chunks_mut(8).enumerate() {
        let code = short(block, 2 + 2 * i);
        let scale = d * (0.5 + nibble(&block[66..], i / 2)) * 0.25;
        put(IQ2_XS.point(usize::from(code & 511)), even(u32::from(code >> 9)), scale, out);
    }
}

pub(super) fn iq2_s(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (i, out) in out.chunks_mut(8).enumerate() {
        let high = block[66 + i / 4] >> (i % 4 * 2) & 3;
        let scale = d * (0.5 + nibble(&block[74..], i / 2)) * 0.25;
        let code = usize::from(block[2 + i]) | usize::from(high) << 8;
        put(IQ2_S.point(code), block[34 + i], scale, out);
    }
}

pub(super) fn iq3_xxs(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (group, out) in out.chunks_mut(32).enumerate() {
        let rest = word(block, 66 + 4 * group);
        let scale = d * (0.5 + (rest >> 28) as f32) * 0.5;
        for (i, out) in out.chunks_mut(4).enumerate() {
            let signs = even(rest >> (7 * (i / 2))) >> (i % 2 * 4);
            put(IQ3_XXS.point(usize::from(block[2 + 8 * group + i])), signs, scale, out);
        }
    }
}

pub(super) fn iq3_s(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (i, out) in out.chunks_mut(4).enumerate() {
        let high = block[66 + i / 8] >> (i % 8) & 1;
        let scale = d * (1.0 + 2.0 * nibble(&block[106..], i / 8));
        let code = usize::from(block[2 + i]) | usize::from(high) << 8;
        put(IQ3_S.point(code), block[74 + i / 2] >> (i % 2 * 4), scale, out);
    }
}

/// All coordinates of a point are moved by this, up or down.
const SHIFT: f32 = 0.125;

fn put_shifted(point: &[f32], down: bool, scale: f32, out: &mut [f32]) {
    let shift = if down { -SHIFT } else { SHIFT };
    out.iter_mut().zip(point).for_each(|(out, coordinate)| *out = scale * (coordinate + shift));
}

pub(super) fn iq1_s(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (group, out) in out.chunks_mut(32).enumerate() {
        let high = short(block, 34 + 2 * group);
        let scale = d * f32::from(2 * (high >> 12 & 7) + 1);
        for (i, out) in out.chunks_mut(8).enumerate() {
            let code = usize::from(block[2 + 4 * group + i]) | usize::from(high >> (3 * i) & 7) << 8;
            put_shifted(IQ1.point(code), high & 0x8000 != 0, scale, out);
        }
    }
}

pub(super) fn iq1_m(block: &[u8], out: &mut [f32]) {
    let scales = [48, 50, 52, 54].map(|at| short(block, at));
    // The upper four bits of each are a part of the scale of all.
    let bits = scales.iter().enumerate().fold(0_u16, |bits, (at, part)| bits | (part & 0xf000) >> (12 - 4 * at));
    let d = half::f16::from_bits(bits).to_f32();
    for (i, out) in out.chunks_mut(8).enumerate() {
        let high = block[32 + i / 2] >> (i % 2 * 4);
        let own = scales[i / 8] >> (i / 2 % 4 * 3) & 7;
        let code = usize::from(block[i]) | usize::from(high & 7) << 8;
        put_shifted(IQ1.point(code), high & 8 != 0, d * f32::from(2 * own + 1), out);
    }
}
