//! The GPU's kernels against their twins on the CPU, over odd sizes: on a GPU where PRUNELENS_DEVICE is cuda and the program
//! was built for it; everywhere else the same kernels and launches, compiled for the processor.
//!
//! Numbers are small fractions of two unless said otherwise, so that sums are exact in any order and results must be equal.

mod attention;
mod bits;
mod latents;
mod layers;
mod real_sizes;
mod sums;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use prunelens::bench::{
    Report,
    kernels::{Sizes, measure},
};
use prunelens_core::{
    compare::matching::Matching,
    prune::Sparsity,
    sae::{Latents, Normalize},
};
use prunelens_kernels::{
    Group, Kept, Ranking, Ranks, TokenErrors, cut,
    device::{self, Backend, Buffer, DeviceRanks, FiringCounts, Largest, Lists, Matrix, Pairs, Route, Steps, Values},
    encode::{self, Encoder, Gate, STEPS},
    firing::Counts,
    keep,
    losses::{TokenLosses, kl_divergence, log_sum_exp},
    ops, ranks as order,
};

use crate::support::{device::at_edges, floats, poison::POISON, stand_in};

fn card_asked() -> bool {
    std::env::var("PRUNELENS_DEVICE").is_ok_and(|device| device.starts_with("cuda"))
}

/// The card to test, or none with the reason printed.
pub fn backend() -> Option<Arc<dyn Backend>> {
    if card_asked() {
        return gpu();
    }
    println!("on the processor: PRUNELENS_DEVICE is not cuda");
    stand_in::stand_in()
}

#[cfg(feature = "cuda")]
fn gpu() -> Option<Arc<dyn Backend>> {
    Some(crate::support::device::TestDevice::asked().ops.backend().expect("a GPU").clone())
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> Option<Arc<dyn Backend>> {
    println!("skipped: PRUNELENS_DEVICE is cuda, but the tests were built without --features cuda");
    None
}

#[test]
fn fresh_memory_is_nonsense() {
    let Some(backend) = backend() else { return };
    if card_asked() && std::env::var_os("PRUNELENS_POISON").is_none() {
        println!("skipped: PRUNELENS_POISON is not set");
        return;
    }
    let fresh = Buffer::<u8>::new(&*backend, 1000).unwrap().to_vec(&*backend).unwrap();
    assert_eq!(fresh, [POISON; 1000]);
    assert_eq!(Buffer::<u8>::zeros(&*backend, 1000).unwrap().to_vec(&*backend).unwrap(), [0; 1000]);
}

/// Numbers that repeat late, from -4 to 4 in steps of an eighth.
fn eighths(len: usize, salt: usize) -> Vec<f32> {
    (0..len).map(|i| (((i + salt) * 7919 + (i / 13) * 104_729 + salt) % 65) as f32 / 8.0 - 4.0).collect()
}

/// Numbers without such a pattern.
fn noise(len: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

const TYPES: [&str; 3] = ["f32", "bf16", "f16"];

fn dtype(name: &str) -> DType {
    match name {
        "bf16" => DType::BF16,
        "f16" => DType::F16,
        _ => DType::F32,
    }
}

/// A tensor on the card in the type named, which must hold the values as they are.
fn tensor(backend: &dyn Backend, name: &str, values: &[f32], columns: usize) -> Tensor {
    let tensor = Tensor::from_slice(values, (values.len() / columns, columns), &Device::Cpu).unwrap();
    tensor.to_dtype(dtype(name)).unwrap().to_device(backend.device()).unwrap()
}

/// Values as that type holds them.
fn rounded(name: &str, values: &[f32]) -> Vec<f32> {
    let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap().to_dtype(dtype(name)).unwrap();
    tensor.to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// Ranks of the rows of a matrix, as wide as asked.
fn row_ranks(weight: &[f32], columns: usize, wide: bool) -> Ranks {
    let rows = weight.len() / columns;
    match order::ranks(rows, columns, Group::Row, |row, column| weight[row * columns + column].abs()) {
        Ranks::U16(ranks) if wide => Ranks::U32(ranks.into_iter().map(u32::from).collect()),
        ranks => ranks,
    }
}

fn matrix(backend: &dyn Backend, name: &str, weight: &[f32], columns: usize) -> Matrix {
    Matrix::of(backend, &tensor(backend, name, weight, columns)).unwrap()
}

fn upload(backend: &dyn Backend, values: &[f32]) -> Buffer<f32> {
    Buffer::from_slice(backend, values).unwrap()
}

#[test]
fn encoder() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    // More tokens than a square, fewer than a warp carries, widths that nothing divides and widths that four does.
    for (at, (tokens, d_in, d_sae)) in
        [(1, 37, 70), (3, 1, 1), (8, 36, 129), (9, 65, 63), (17, 140, 9), (64, 16, 64), (67, 50, 130), (131, 19, 5)]
            .into_iter()
            .enumerate()
    {
        let name = TYPES[at % 3];
        let (x, weight) = (eighths(tokens * d_in, 3), eighths(d_sae * d_in, 5));
        let (bias, floors) = (eighths(d_sae, 7), eighths(d_sae, 11));
        let scale: Vec<f32> = (0..d_sae).map(|latent| (1 << (latent % 3)) as f32).collect();
        let ranks = row_ranks(&weight, d_in, at % 2 == 1);
        let (m, ranks_there) = (matrix(backend, name, &weight, d_in), DeviceRanks::new(backend, &ranks).unwrap());
        let x_there = tensor(backend, "f32", &x, d_in);
        let (bias_there, floors_there, scale_there) =
            (upload(backend, &bias), upload(backend, &floors), upload(backend, &scale));
        for (ratio, gate) in [(0.0, Gate::Positive), (0.5, Gate::Above(&floors)), (0.9, Gate::Positive)] {
            let cut = cut(d_in, ratio);
            let above = matches!(gate, Gate::Above(_));
            let kept = Kept::From(Ranking::Each(&ranks), cut);
            let twin = Encoder { weight: &weight, bias: &bias, scale: Some(&scale), kept, gate };
            let encoder = device::Encoder {
                matrix: &m,
                mask: Some((&ranks_there, cut)),
                bias: &bias_there,
                scale: Some(&scale_there),
                floors: above.then_some(&floors_there),
            };
            let want = twin.encode(&x);
            for route in [Route::Few, Route::Square, Route::Product] {
                let dense = device::encode(backend, &encoder, &x_there, route).unwrap();
                let found = dense.to_vec(backend).unwrap();
                assert_eq!(found, want.dense(), "{name} {tokens}x{d_in}x{d_sae} at {ratio} {route:?}");
                assert_eq!(device::active(backend, &dense, d_sae).unwrap().to_latents(backend).unwrap(), want);
            }
        }
    }
}

#[test]
fn an_encoder_without_ranks_is_not_masked() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    let (x, weight, bias) = (eighths(2 * 5, 1), eighths(7 * 5, 2), eighths(7, 3));
    let m = matrix(backend, "f32", &weight, 5);
    let (x_there, bias_there) = (tensor(backend, "f32", &x, 5), upload(backend, &bias));
    let encoder = device::Encoder { matrix: &m, mask: None, bias: &bias_there, scale: None, floors: None };
    let twin = Encoder { weight: &weight, bias: &bias, scale: None, kept: Kept::All, gate: Gate::Positive };
    let dense = device::encode(backend, &encoder, &x_there, Route::Few).unwrap().to_vec(backend).unwrap();
    assert_eq!(dense, twin.encode(&x).dense());
    let others = DeviceRanks::new(backend, &row_ranks(&[1.0; 5], 5, false)).unwrap();
    let wrong = device::Encoder { mask: Some((&others, 1)), ..encoder };
    assert!(device::encode(backend, &wrong, &x_there, Route::Few).is_err());
}

#[test]
fn masks_and_norms_of_rows() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (at, (rows, columns)) in [(1, 1), (7, 33), (40, 129), (300, 31)].into_iter().enumerate() {
        let (name, weight) = (TYPES[at % 3], eighths(rows * columns, at));
        let ranks = row_ranks(&weight, columns, at % 2 == 0);
        let (m, ranks_there) = (matrix(backend, name, &weight, columns), DeviceRanks::new(backend, &ranks).unwrap());
        for ratio in [0.0, 0.3, 0.99] {
            let cut = cut(columns, ratio);
            let mut want = vec![0.0; weight.len()];
            keep(&weight, Kept::From(Ranking::Each(&ranks), cut), 0..weight.len(), &mut want);
            let mask = Some((&ranks_there, cut));
            let some = rows / 3..rows;
            let found = device::mask(backend, &m, mask, some.clone()).unwrap();
            let found = found.into_tensor(backend, &[some.len(), columns]).unwrap();
            assert_eq!(floats(&found), want[some.start * columns..]);
            let squares: Vec<f32> = want.chunks(columns).map(|row| row.iter().map(|v| v * v).sum()).collect();
            let norms = device::row_norms(backend, &m, &[mask]).unwrap().to_vec(backend).unwrap();
            assert_eq!(norms, squares.iter().map(|s| s.sqrt()).collect::<Vec<_>>());
        }
        assert!(device::mask(backend, &m, None, 0..rows + 1).is_err());
    }
}

#[test]
fn ranks_of_groups() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (at, (rows, columns)) in [(1, 1), (3, 255), (5, 256), (2, 1500), (700, 9)].into_iter().enumerate() {
        let name = TYPES[at % 3];
        // Eighths have many ties; what the types hold is exact either way.
        let mut weights = vec![eighths(rows * columns, at)];
        if name == "f32" {
            weights.push(noise(rows * columns, 3));
        }
        for weight in weights {
            for group in [Group::Row, Group::Column] {
                let norms: Vec<f32> = noise(group.len(rows, columns), 8).iter().map(|v| v.abs()).collect();
                let there = Buffer::from_slice(backend, &norms).unwrap();
                let weights = Values::of(backend, &tensor(backend, name, &weight, columns)).unwrap();
                let got = device::ranks(backend, &weights, (rows, columns), group, Some(&there)).unwrap();
                let want = order::ranks(rows, columns, group, |row, column| {
                    weight[row * columns + column].abs() * norms[if group == Group::Row { column } else { row }]
                });
                assert_eq!(got.to_ranks(backend).unwrap(), want, "{name} {rows}x{columns} {group:?}");
                let got = device::ranks(backend, &weights, (rows, columns), group, None).unwrap();
                let want = order::ranks(rows, columns, group, |row, column| weight[row * columns + column].abs());
                assert_eq!(got.to_ranks(backend).unwrap(), want, "{name} {rows}x{columns} {group:?} by magnitude");
            }
        }
    }
}

#[test]
fn long_groups_take_wide_ranks() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    let weight = noise(70_000, 5);
    let weights = Values::of(backend, &tensor(backend, "f32", &weight, 70_000)).unwrap();
    let got = device::ranks(backend, &weights, (1, 70_000), Group::Row, None).unwrap();
    let want = order::ranks(1, 70_000, Group::Row, |_, column| weight[column].abs());
    assert!(matches!(want, Ranks::U32(_)));
    assert!(got.to_ranks(backend).unwrap() == want);
}

#[test]
fn pruned_weights() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (at, (rows, columns)) in [(1, 8), (5, 32), (9, 200)].into_iter().enumerate() {
        let (name, weight) = (TYPES[at % 3], eighths(rows * columns, at));
        let norms: Vec<f32> = noise(columns, 8).iter().map(|v| v.abs()).collect();
        let there = tensor(backend, name, &weight, columns);
        let here = tensor(backend, "f32", &weight, columns).to_device(&Device::Cpu).unwrap();
        for sparsity in [Sparsity::Ratio(0.0), Sparsity::Ratio(0.6), Sparsity::NM(2, 4), Sparsity::NM(1, 8)] {
            for norms in [None, Some(&norms[..])] {
                let want = floats(&ops::on(None).prune(&here, norms, sparsity).unwrap());
                let got = device::prune(backend, &there, norms, sparsity).unwrap();
                assert_eq!((got.dims(), got.dtype()), (there.dims(), there.dtype()));
                assert_eq!(floats(&got), want, "{name} {rows}x{columns} {sparsity:?}");
            }
        }
        assert!(device::prune(backend, &there, None, Sparsity::NM(1, 3)).is_err());
    }
}

#[test]
fn losses_of_logits() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    // Widths with and without loads of several numbers; rising logits correct every sum at every step.
    let rising =
        |len: usize, width: usize| (0..len).map(|i| (i % width / 64) as f32 / 8.0 + 20.0).collect::<Vec<f32>>();
    let sizes =
        [("f32", 1, 1), ("f32", 3, 1023), ("f32", 2, 4100), ("bf16", 2, 5000), ("f16", 2, 257), ("f16", 3, 256)];
    for (name, rows, width) in sizes.into_iter().chain([("f32", 1, 50_257), ("bf16", 2, 8), ("f32", 2, 40_960)]) {
        for (p, cap) in [
            (eighths(rows * width, 1), None),
            (eighths(rows * width, 1), Some(2.5)),
            (rising(rows * width, width), None),
        ] {
            // What the type holds.
            let stored = |values: &[f32]| floats(&tensor(backend, name, values, width));
            let (p, q) = (stored(&p), stored(&eighths(rows * width, 2)));
            // The last row has no target.
            let targets: Vec<u32> = (0..rows)
                .map(|row| if row > 0 && row + 1 == rows { u32::MAX } else { (row * 31 % width) as u32 })
                .collect();
            let (p_there, q_there) = (tensor(backend, name, &p, width), tensor(backend, name, &q, width));
            let losses = |p: &Tensor, others: &[&Tensor]| {
                let found = device::compare(backend, p, others, cap, &targets).unwrap();
                found.to_compared(backend).unwrap()
            };
            // One row of q for all.
            let first = q_there.narrow(0, 0, 1).unwrap();
            let all_first = first.broadcast_as(p_there.shape()).unwrap().contiguous().unwrap();
            // More at once than the kernel takes, with each in another place than before.
            let got = losses(&p_there, &[&q_there, &first, &p_there, &all_first, &first, &q_there]);
            let same = |a: &TokenLosses, b: &TokenLosses| bits(&a.ce) == bits(&b.ce) && bits(&a.kl) == bits(&b.kl);
            for (a, b) in [(0, 5), (1, 3), (1, 4)] {
                assert!(same(&got.others[a], &got.others[b]), "{name} {rows}x{width}: {a} and {b}");
            }
            // Nothing lies between a row and itself; without other rows there are cross-entropies alone.
            assert!(got.others[2].kl.iter().all(|kl| *kl == 0.0) && bits(&got.others[2].ce) == bits(&got.ce));
            let alone = losses(&q_there, &[]);
            assert!(alone.others.is_empty() && bits(&alone.ce) == bits(&got.others[0].ce));
            let capped = |row: &[f32]| -> Vec<f32> {
                row.iter().map(|v| cap.map_or(*v, |cap| cap as f32 * (v / cap as f32).tanh())).collect()
            };
            for row in 0..rows {
                let (p, q) = (capped(&p[row * width..][..width]), capped(&q[row * width..][..width]));
                let (p_lse, q_lse) = (log_sum_exp(&p), log_sum_exp(&q));
                let at = targets[row] as usize;
                let ce = |lse: f32, logits: &[f32]| logits.get(at).map_or(f32::NAN, |logit| lse - logit);
                let close = |a: f32, b: f32| a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-5 * (1.0 + b.abs());
                let TokenLosses { ce: ce_q, kl } = &got.others[0];
                assert!(close(kl[row], kl_divergence(&p, p_lse, &q, q_lse)), "{name} {rows}x{width} {got:?}");
                assert!(
                    close(got.ce[row], ce(p_lse, &p)) && close(ce_q[row], ce(q_lse, &q)),
                    "{name} {rows}x{width} {got:?}"
                );
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// What `bench` says of a GPU, at sizes at which nothing but the bookkeeping is tried.
#[test]
fn figures_of_a_card() {
    let Some(backend) = backend() else { return };
    let sizes = Sizes { d_in: 36, d_sae: 100, vocab: 50, copied: 1000, side: 8, tokens: 8, repeats: 1 };
    let mut out = Vec::new();
    let mut report = Report::new(&mut out, true);
    measure(&*backend, sizes, &mut report).unwrap();
    assert_eq!(report.end().unwrap(), [] as [String; 0]);
    let figures: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(figures["copy_gb_per_s"].as_f64().unwrap() > 0.0, "{figures}");
    assert!(figures["f32_tflops"].is_number() && figures["bf16_tflops"].is_number(), "{figures}");
    let kernels = figures["kernels"].as_array().unwrap();
    let names: Vec<&str> = kernels.iter().map(|k| k["kernel"].as_str().unwrap()).collect();
    let few = ["encode f32, Few (taken)", "encode bf16, Few (taken)"];
    let some = [
        "ranks of rows",
        "top 40",
        "decode",
        "paths",
        "prune 2:4",
        "norm",
        "losses",
        "nearest",
        "gradient of attention of texts",
    ];
    for name in some.into_iter().chain(few) {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert!(kernels.iter().all(|k| k["ms"].as_f64().is_some_and(|ms| ms > 0.0) && k["bytes"].as_u64() > Some(0)));
}

/// A tensor that begins anywhere in another is read from where loads of several numbers can be.
#[test]
fn parts_of_tensors() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    let values = eighths(11 * 6, 1);
    for name in TYPES {
        let whole = tensor(backend, name, &values, 6);
        for start in 0..8 {
            let part = Values::of(backend, &whole.narrow(0, start, 3).unwrap()).unwrap();
            assert_eq!((part.address() % 16, part.len()), (0, 18), "{name} from row {start}");
            let kept =
                device::mask(backend, &Matrix::of(backend, &whole.narrow(0, start, 3).unwrap()).unwrap(), None, 0..3);
            assert_eq!(floats(&kept.unwrap().into_tensor(backend, &[3, 6]).unwrap()), values[start * 6..][..18]);
        }
    }
}

/// Blocks of a table taken in any order, with many equal numbers, negative ones, none at all, and zeros of both signs.
#[test]
fn largest_numbers_of_a_table() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (n, m) in [(1, 1), (70, 300), (300, 70), (129, 129)] {
        let mut table = eighths(n * m, 3);
        table.iter_mut().step_by(11).for_each(|v| *v = -0.0);
        table.iter_mut().skip(5).step_by(13).for_each(|v| *v = f32::NAN);
        table.chunks_mut(m).skip(2).step_by(40).for_each(|row| row.iter_mut().for_each(|v| *v = -v.abs() - 1.0));
        let there = tensor(backend, "f32", &table, m);
        // A table of things with themselves is symmetric, and here its diagonal has the largest number.
        let own: Vec<f32> =
            (0..n * n).map(|i| if i / n == i % n { 99.0 } else { ((i / n) * (i % n) % 7) as f32 }).collect();
        let own_there = tensor(backend, "f32", &own, n);
        let [rows, columns, both] = [n, m, n].map(|len| Largest::new(backend, len).unwrap());
        let (high, wide) = (n.div_ceil(2), m.div_ceil(3));
        for row in (0..n).step_by(high).rev() {
            let high = high.min(n - row);
            for column in (0..m).step_by(wide) {
                let block = there.narrow(0, row, high).unwrap().narrow(1, column, wide.min(m - column)).unwrap();
                device::raise_largest(backend, &block, (row, column), &rows, Some(&columns)).unwrap();
            }
            let block = own_there.narrow(0, row, high).unwrap().narrow(1, row, n - row).unwrap();
            device::raise_largest(backend, &block, (row, row), &both, None).unwrap();
        }
        // The first among equals; what is no number is passed over.
        let largest = |values: &mut dyn Iterator<Item = f32>| {
            (0..).zip(values).filter(|(_, v)| !v.is_nan()).fold(None, |best: Option<(u32, f32)>, (at, v)| match best {
                Some((_, other)) if other >= v => best,
                _ => Some((at, v)),
            })
        };
        let of_rows: Vec<_> = table.chunks(m).map(|row| largest(&mut row.iter().copied())).collect();
        let of_columns: Vec<_> =
            (0..m).map(|column| largest(&mut table.iter().skip(column).step_by(m).copied())).collect();
        let without_itself =
            |i: usize| (0..n).map(move |j| (i, j)).map(|(i, j)| if i == j { f32::NAN } else { own[i * n + j] });
        let of_both: Vec<_> = (0..n).map(|i| largest(&mut without_itself(i))).collect();
        assert_eq!(rows.found(backend).unwrap(), of_rows, "{n}x{m}");
        assert_eq!(columns.found(backend).unwrap(), of_columns, "{n}x{m}");
        assert_eq!(both.found(backend).unwrap(), of_both, "{n}");
        // Beyond the table.
        assert!(device::raise_largest(backend, &there, (1, 0), &rows, Some(&columns)).is_err());
    }
}

/// Dictionaries matched where they lie.
#[test]
fn matches_of_dictionaries() {
    let Some(backend) = backend() else { return };
    let sae = |seed: usize| {
        let mut sae = prunelens_core::demo::sae(None).unwrap();
        let (rows, d) = (300, sae.d_in());
        sae.w_dec = Tensor::from_vec(eighths(rows * d, seed), (rows, d), &Device::Cpu).unwrap();
        sae.w_enc = sae.w_dec.clone();
        sae.b_enc = vec![0.0; rows];
        sae.config.d_sae = rows;
        sae
    };
    let (a, b) = (sae(1), sae(40));
    let quiet = &mut || Ok(());
    let want = Matching::new(&a, &b, &*ops::on(None), quiet).unwrap();
    let got = Matching::new(&a, &b, &*ops::on(Some(backend.clone())), quiet).unwrap();
    let mut others = 0;
    for latent in 0..300 {
        let (want, got) = (want.get(latent).unwrap(), got.get(latent).unwrap());
        // Of two that are equally near, sums in another order may choose the other one.
        others += usize::from((got.latent, got.mutual) != (want.latent, want.mutual));
        assert!((got.cosine - want.cosine).abs() < 1e-5);
    }
    println!("{others} of 300 matches differ");
    assert!(others <= at_edges(backend.device(), 300), "{others} of 300 matches differ");
}

/// No route multiplies in less than f32: numbers that need all of it, against sums in f64.
#[test]
fn encoder_in_full_precision() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    let (tokens, d_in, d_sae) = (130, 96, 40);
    let x = noise(tokens * d_in, 3);
    let x_there = tensor(backend, "f32", &x, d_in);
    // All fire.
    let bias = upload(backend, &vec![8.0; d_sae]);
    for name in TYPES {
        let weight = rounded(name, &noise(d_sae * d_in, 4));
        let m = matrix(backend, name, &weight, d_in);
        let encoder = device::Encoder { matrix: &m, mask: None, bias: &bias, scale: None, floors: None };
        for route in [Route::Few, Route::Square, Route::Product] {
            let got = device::encode(backend, &encoder, &x_there, route).unwrap().to_vec(backend).unwrap();
            for (at, got) in got.iter().enumerate() {
                let (x, w) = (&x[at / d_sae * d_in..][..d_in], &weight[at % d_sae * d_in..][..d_in]);
                let terms = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let want: f64 = terms.sum::<f64>() + 8.0;
                // Half a unit of the last place at 8 is 5e-7; products of numbers of 11 bits are off by hundreds of times more. A card's
                // units for matrices cut sums off where others round, once for every sixteen products.
                let most = if card_asked() { 1e-5 } else { 2e-6 };
                assert!((f64::from(*got) - want).abs() < most, "{name} {route:?} at {at}: {got}, not {want}");
            }
        }
    }
}
