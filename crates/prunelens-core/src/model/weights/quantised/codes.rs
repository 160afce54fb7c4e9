//! Codes of a few bits: where they lie, and what floats of 8 and 4 bits are.

use float8::F8E4M3;

/// Code `at` of a string of bits, the lowest first: code j takes the bits from `j * bits` on, and may cross from a word to the
/// next. `word` gives the words of the string.
#[inline(always)]
pub fn code(word: impl Fn(usize) -> u32, at: usize, bits: u32) -> u32 {
    let start = at * bits as usize;
    let (index, shift) = (start / 32, (start % 32) as u32);
    let low = word(index) >> shift;
    let high = if shift + bits > 32 { word(index + 1) << (32 - shift) } else { 0 };
    (low | high) & mask(bits)
}

/// The largest code.
pub fn mask(bits: u32) -> u32 {
    u32::MAX >> (32 - bits)
}

/// Words that hold this many codes, if they fill them.
pub fn words(codes: usize, bits: u32) -> Option<usize> {
    let all = codes.checked_mul(bits as usize)?;
    all.is_multiple_of(32).then_some(all / 32)
}

/// A float of 8 bits with 4 of exponent.
pub fn e4m3(code: u8) -> f32 {
    F8E4M3::from_bits(code).to_f32()
}

/// Floats of 4 bits with 2 of exponent.
pub const E2M1: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// A power of two from its exponent alone; `None` for the code of NaN.
pub fn e8m0(code: u8) -> Option<f32> {
    match code {
        // 2^-127 is below the smallest float that has a leading 1.
        0 => Some(f32::from_bits(1 << 22)),
        255 => None,
        _ => Some(f32::from_bits(u32::from(code) << 23)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_three_bits_cross_words() {
        // 0, 1, ... 7, 0, 1 ... one after another, as one number.
        let all = (0..32_u32).fold(0_u128, |bits, j| bits | u128::from(j % 8) << (3 * j));
        let words = [all as u32, (all >> 32) as u32, (all >> 64) as u32];
        let found: Vec<u32> = (0..32).map(|at| code(|w| words[w], at, 3)).collect();
        assert_eq!(found, (0..32).map(|j| j % 8).collect::<Vec<_>>());
        assert_eq!(code(|_| 0xdead_beef, 0, 32), 0xdead_beef);
    }

    #[test]
    fn small_floats_have_the_values_of_their_formats() {
        assert_eq!([0x7e, 0x01, 0xb8].map(e4m3), [448.0, 2.0_f32.powi(-9), -1.0]);
        assert!(e4m3(0x7f).is_nan() && e4m3(0x80).is_sign_negative());
        assert_eq!([0, 1, 127, 254].map(e8m0), [-127, -126, 0, 127].map(|e| Some(2.0_f32.powi(e))));
        assert_eq!(e8m0(255), None);
    }
}
