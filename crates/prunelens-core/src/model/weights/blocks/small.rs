//! Blocks of 4-bit codes that a table turns into numbers, and of ternary ones.

use super::{half, short};

/// Of IQ4: close together near 0.
const CURVED: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the floats of 4 bits, for which scales are halved.
const E2M1_TWICE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Low halves of the bytes first, then the high ones, each by a table and a scale.
fn nibbles(codes: &[u8], table: &[i8; 16], scale: f32, out: &mut [f32]) {
    let value = |code: u8| scale * f32::from(table[usize::from(code)]);
    let (low, high) = out.split_at_mut(codes.len());
    for ((code, low), high) in codes.iter().zip(low).zip(high) {
        (*low, *high) = (value(code & 15), value(code >> 4));
    }
}

pub(super) fn iq4_nl(block: &[u8], out: &mut [f32]) {
    nibbles(&block[2..], &CURVED, half(block, 0), out);
}

pub(super) fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let (scale, high) = (half(block, 0), short(block, 2));
    for (group, out) in out.chunks_mut(32).enumerate() {
        let low = block[4 + group / 2] >> (group % 2 * 4) & 15;
        let own = i16::from(low) | ((high >> (2 * group) & 3) << 4) as i16;
        nibbles(&block[8 + 16 * group..][..16], &CURVED, scale * f32::from(own - 32), out);
    }
}

/// A power of two from its exponent, halved.
fn half_power(exponent: u8) -> f32 {
    let e = u32::from(exponent);
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}

pub(super) fn mxfp4(block: &[u8], out: &mut [f32]) {
    nibbles(&block[1..], &E2M1_TWICE, half_power(block[0]), out);
}

/// An fp8 number without sign, halved.
fn half_ue4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    match (code, exponent) {
        (0 | 0x7f, _) => 0.0,
        (_, 0) => mantissa * 2.0_f32.powi(-9) * 0.5,
        _ => (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7) * 0.5,
    }
}

pub(super) fn nvfp4(block: &[u8], out: &mut [f32]) {
    for (group, out) in out.chunks_mut(16).enumerate() {
        nibbles(&block[4 + 8 * group..][..8], &E2M1_TWICE, half_ue4m3(block[group]), out);
    }
}

/// Five ternary numbers a byte, and four in the last bytes: the byte times a power of 3 has each in its upper part.
pub(super) fn tq1_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 52);
    let mut out = out.iter_mut();
    for (codes, numbers) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for power in [1_u8, 3, 9, 27, 81].into_iter().take(numbers) {
            for (code, out) in codes.iter().zip(out.by_ref()) {
                let turned = u16::from(code.wrapping_mul(power));
                *out = scale * (f32::from((turned * 3) >> 8) - 1.0);
            }
        }
    }
}

pub(super) fn tq2_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 64);
    for (at, out) in out.iter_mut().enumerate() {
        let (part, shift, byte) = (at / 128, at / 32 % 4 * 2, at % 32);
        *out = scale * (f32::from(block[32 * part + byte] >> shift & 3) - 1.0);
    }
}
