//! Sums over activations: of columns, of texts, and about their mean.

use prunelens_kernels::{
    Spread,
    columns::{add_squares, text_means},
};

use super::*;

#[test]
fn means_of_texts() {
    let Some(backend) = backend() else { return };
    for (width, lengths) in [(1, vec![1]), (33, vec![3, 1, 40]), (300, vec![7, 0, 2])] {
        let tokens: usize = lengths.iter().sum();
        let x = noise(tokens * width, 3);
        let there = tensor(&*backend, "f32", &x, width);
        let found = device::text_means(&*backend, &there, &lengths).unwrap().to_vec(&*backend).unwrap();
        // As text, for a text of no tokens has no mean.
        assert_eq!(format!("{found:?}"), format!("{:?}", text_means(&x, width, &lengths)), "{lengths:?} of {width}");
        assert!(device::text_means(&*backend, &there, &[tokens + 1]).is_err());
    }
}

#[test]
fn sums_of_squares() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    // Columns with and without loads of several numbers, rows of one block and of many.
    for (name, rows, columns) in
        [("f32", 5, 3), ("bf16", 1, 300), ("f16", 37, 65), ("f32", 200, 132), ("bf16", 1000, 264), ("f16", 33, 2048)]
    {
        let x = eighths(rows * columns, 6);
        let mut want = vec![0.0; columns];
        add_squares(&mut want, &x);
        let there = tensor(backend, name, &x, columns);
        assert_eq!(device::column_squares(backend, &there).unwrap(), want, "{name} {rows}x{columns}");
        // Onto what was summed before.
        let sums = Buffer::from_slice(backend, &want).unwrap();
        device::add_column_squares(backend, &there, &sums).unwrap();
        assert!(sums.to_vec(backend).unwrap().iter().zip(&want).all(|(twice, once)| *twice == 2.0 * once));
    }
}

#[test]
fn spread_of_activations() {
    let Some(backend) = backend() else { return };
    for (tokens, width) in [(1, 1), (3, 31), (70, 300), (9, 1500)] {
        let x = noise(tokens * width, 3);
        let all = vec![true; tokens];
        let some: Vec<bool> = (0..tokens).map(|token| token % 3 != 0).collect();
        for kept in [all, some, vec![false; tokens]] {
            let got = device::spread(&*backend, &tensor(&*backend, "f32", &x, width), &kept).unwrap();
            let want = Spread::of(&x, width, &kept);
            // In the order of the tokens, so to the bit; over a row in another.
            assert_eq!(got.sum, want.sum, "{tokens}x{width}");
            for (got, want) in [(got.norm_sq, want.norm_sq), (got.centred_sq, want.centred_sq)] {
                assert_eq!(got.len(), tokens);
                assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-12 * b), "{tokens}x{width}");
            }
        }
        let x = tensor(&*backend, "f32", &x, width);
        assert!(device::spread(&*backend, &x, &vec![true; tokens + 1]).is_err());
    }
}
