//! At the sizes of Gemma Scope's widest SAEs, which only a card does in bearable time: indices beyond 2^28, groups that fill the
//! scratch memory, and grids that are cut.

use super::{latents::largest, *};

const D_IN: usize = 2304;
const D_SAE: usize = 131_072;
const TOKENS: usize = 130;

/// None off a card, with that printed.
fn card() -> Option<Arc<dyn Backend>> {
    if card_asked() {
        return gpu();
    }
    println!("skipped: these sizes are for a card, and PRUNELENS_DEVICE is not cuda");
    None
}

/// Rows over the whole matrix, the last among them.
fn sample() -> Vec<usize> {
    (0..512).map(|at| D_SAE - 1 - at * 255).collect()
}

fn rows_of<T: Copy>(matrix: &[T], columns: usize, rows: &[usize]) -> Vec<T> {
    rows.iter().flat_map(|row| matrix[row * columns..][..columns].iter().copied()).collect()
}

#[test]
fn encoder_at_real_sizes() {
    let Some(backend) = card() else { return };
    let backend = &*backend;
    let (x, weight, bias) = (eighths(TOKENS * D_IN, 3), eighths(D_SAE * D_IN, 5), eighths(D_SAE, 7));
    let m = matrix(backend, "f32", &weight, D_IN);
    let ranks = device::ranks(backend, &m.values, (D_SAE, D_IN), Group::Row, None).unwrap();
    let (x_there, bias_there) = (tensor(backend, "f32", &x, D_IN), upload(backend, &bias));
    // What the twin says of some latents; sums are exact in any order.
    let rows = sample();
    let (some, some_bias) = (rows_of(&weight, D_IN, &rows), rows_of(&bias, 1, &rows));
    let some_ranks = row_ranks(&some, D_IN, false);
    let cut = cut(D_IN, 0.5);
    let twin = Encoder {
        weight: &some,
        bias: &some_bias,
        scale: None,
        kept: Kept::From(Ranking::Each(&some_ranks), cut),
        gate: Gate::Positive,
    };
    let want = twin.encode(&x).dense();
    let encoder =
        device::Encoder { matrix: &m, mask: Some((&ranks, cut)), bias: &bias_there, scale: None, floors: None };
    let mut first: Option<Vec<f32>> = None;
    for route in [Route::Few, Route::Square, Route::Product] {
        let dense = device::encode(backend, &encoder, &x_there, route).unwrap();
        let found = dense.to_vec(backend).unwrap();
        let there = found.chunks(D_SAE).flat_map(|row| rows.iter().map(|latent| row[*latent]));
        assert!(there.eq(want.iter().copied()), "{route:?} differs from the CPU");
        let active = device::active(backend, &dense, D_SAE).unwrap().to_latents(backend).unwrap();
        assert!(active.dense() == found, "{route:?}: the lists are not what is in the table");
        let top = device::top_k(backend, &dense, D_SAE, 64).unwrap().to_latents(backend).unwrap();
        for (row, values) in found.chunks(D_SAE).enumerate() {
            let (indices, values_there) = top.row(row);
            let there: Vec<(u32, f32)> = indices.iter().copied().zip(values_there.iter().copied()).collect();
            assert_eq!(there, largest(values, 64), "{route:?}, token {row}");
        }
        match &first {
            Some(first) => assert!(*first == found, "{route:?} differs from the first route"),
            None => first = Some(found),
        }
    }
}

#[test]
fn ranks_of_columns_at_real_sizes() {
    let Some(backend) = card() else { return };
    let backend = &*backend;
    let weight = noise(D_SAE * D_IN, 5);
    let weights = Values::of(backend, &tensor(backend, "f32", &weight, D_IN)).unwrap();
    let ranks = device::ranks(backend, &weights, (D_SAE, D_IN), Group::Column, None).unwrap();
    let Ranks::U32(ranks) = ranks.to_ranks(backend).unwrap() else { panic!("long groups take wide ranks") };
    for column in [0, 1, 77, 1151, D_IN - 2, D_IN - 1] {
        let values: Vec<f32> = weight.iter().skip(column).step_by(D_IN).copied().collect();
        let Ranks::U32(want) = order::ranks(1, D_SAE, Group::Row, |_, row| values[row].abs()) else {
            panic!("long groups take wide ranks")
        };
        assert!(ranks.iter().skip(column).step_by(D_IN).eq(&want), "column {column}");
    }
}
