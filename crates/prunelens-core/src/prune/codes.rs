//! What rounded matrices are made of, for formats that store it: codes, and the scales that spread them.

use std::collections::HashMap;

use float8::F8E4M3;

use super::matrices::Matrix;

/// Of each matrix that the last rule rounded, by its name in the checkpoint.
pub type Codes = HashMap<String, Coded>;

/// A matrix as codes: each number is `(code - zero) * scale`, of its row and group.
#[derive(Clone, Debug, PartialEq)]
pub struct Coded {
    /// What a code is.
    pub number: Number,
    /// Outputs and inputs.
    pub shape: [usize; 2],
    /// Columns that share a scale; `None` for whole rows.
    pub group: Option<usize>,
    /// A byte each, row by row: an `i8`, or fp8.
    pub codes: Vec<u8>,
    /// `[outputs, groups]`.
    pub scales: Vec<f32>,
    /// Likewise, where the codes of 0 are not 0.
    pub zeros: Option<Vec<i8>>,
    /// The group of each column, where groups are not columns side by side.
    pub groups: Option<Vec<u32>>,
}

/// What a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// A whole number of so many bits, around 0.
    Int(u32),
    /// A float of 8 bits (e4m3).
    Fp8,
}

/// Scales that a rule chose for a matrix.
pub struct Scales {
    /// What a code is.
    pub number: Number,
    /// Columns that share one.
    pub group: Option<usize>,
    /// `[outputs, groups]`.
    pub scales: Vec<f32>,
    /// Likewise.
    pub zeros: Option<Vec<i8>>,
    /// The group of each column, where they are scattered.
    pub groups: Option<Vec<u32>>,
}

impl Scales {
    /// The codes of a matrix that was rounded with these scales: what rounding gave is a code times its scale, so the way back
    /// is exact.
    pub fn codes(self, matrix: &Matrix) -> Coded {
        let Self { number, group, scales, zeros, groups } = self;
        let per_row = scales.len() / matrix.rows.max(1);
        let of = |at: usize| {
            let (row, col) = (at / matrix.cols, at % matrix.cols);
            let group = match (&groups, group) {
                (Some(groups), _) => groups[col] as usize,
                (None, Some(width)) => col / width,
                (None, None) => 0,
            };
            let place = row * per_row + group;
            let code = matrix.values[at] / scales[place];
            match number {
                Number::Int(_) => {
                    let zero = zeros.as_ref().map_or(0.0, |zeros| f32::from(zeros[place]));
                    (code.round() + zero) as i8 as u8
                }
                Number::Fp8 => F8E4M3::from_f32(code).to_bits(),
            }
        };
        let codes = (0..matrix.values.len()).map(of).collect();
        Coded { number, shape: [matrix.rows, matrix.cols], group, codes, scales, zeros, groups }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Part;

    #[test]
    fn codes_come_back_from_what_they_gave() {
        let codes: Vec<i8> = (-128..=127).collect();
        let (scale, zero) = (0.037_f32, -17_i8);
        let values = codes.iter().map(|code| (f32::from(*code) - f32::from(zero)) * scale).collect();
        let matrix = Matrix { part: Part::O, name: "w".into(), rows: 1, cols: 256, values };
        let scales =
            Scales { number: Number::Int(8), group: None, scales: vec![scale], zeros: Some(vec![zero]), groups: None };
        assert_eq!(scales.codes(&matrix).codes, codes.iter().map(|code| *code as u8).collect::<Vec<_>>());
        let finite = (0..=255).filter(|bits| F8E4M3::from_bits(*bits).to_f32().is_finite()).collect::<Vec<u8>>();
        let values = finite.iter().map(|bits| F8E4M3::from_bits(*bits).to_f32() * scale).collect();
        let matrix = Matrix { cols: finite.len(), values, ..matrix };
        let scales = Scales { number: Number::Fp8, group: None, scales: vec![scale], zeros: None, groups: None };
        assert_eq!(scales.codes(&matrix).codes, finite);
    }
}
