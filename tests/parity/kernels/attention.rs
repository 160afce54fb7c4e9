//! Causal attention, in f32 by products and in 16 bits by tensor cores.

use prunelens_kernels::{
    attention::{self, Heads},
    device::{attention as there, layers},
    layers::Norm,
};

use super::{layers::assert_near, *};

const PLAIN: Heads = Heads { heads: 4, kv_heads: 2, width: 6, scale: 0.5, softcap: None, window: None };

fn norm(weight: &Tensor) -> Norm<'_> {
    Norm { centred: false, eps: 1e-3, weight: Some(weight), bias: None }
}

#[test]
fn heads_are_split_normed_and_rotated() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (batch, time, heads, half, normed) in [
        (1, 1, PLAIN, 0, false),
        (2, 7, PLAIN, 3, false),
        (1, 40, Heads { kv_heads: 4, width: 33, ..PLAIN }, 8, true),
        (2, 35, Heads { kv_heads: 1, softcap: Some(0.8), ..PLAIN }, 2, true),
        (1, 50, Heads { window: Some(5), softcap: Some(3.0), ..PLAIN }, 3, false),
        (1, 9, Heads { window: Some(9), ..PLAIN }, 0, false),
    ] {
        let qkv = eighths(batch * time * heads.row(), 2);
        let (q_weight, k_weight) = (eighths(heads.width, 4), eighths(heads.width, 9));
        let (cos, sin) = (noise(time * half, 5), noise(time * half, 6));
        let given = |name: &str| {
            let rows = tensor(backend, name, &qkv, heads.row());
            let weights = [&q_weight, &k_weight].map(|weight| tensor(backend, name, weight, heads.width));
            let tables = (half > 0).then(|| [&cos, &sin].map(|table| tensor(backend, "f32", table, half)));
            (rows, weights, tables)
        };
        let split = |name: &str, spread| {
            let (rows, weights, tables) = given(name);
            let norms = normed.then(|| weights.each_ref().map(norm));
            let tables = tables.as_ref().map(|[cos, sin]| (cos, sin));
            layers::split_heads(backend, &rows, (batch, time), heads, norms, tables, (spread, heads.scale)).unwrap()
        };
        let what = format!("{batch} x {time} {heads:?}");
        let all = split("f32", true);
        assert_eq!(all[1].dims(), [batch, heads.heads, time, heads.width]);
        // Each head of keys once, or for every head of queries that shares it.
        let few = split("f32", false);
        assert_eq!(few[1].dims(), [batch, heads.kv_heads, time, heads.width]);
        let share = heads.heads / heads.kv_heads;
        let chosen: Vec<u32> = (0..heads.heads).map(|head| (head / share) as u32).collect();
        let chosen = Tensor::new(chosen, few[1].device()).unwrap();
        for (all, few) in all[1..].iter().zip(&few[1..]) {
            assert_eq!(floats(all), floats(&few.index_select(&chosen, 1).unwrap()), "{what}");
        }
        assert_eq!(floats(&all[0]), floats(&few[0]));
        // In 16 bits the same, rounded at the end; eighths fit both types.
        for name in ["bf16", "f16"] {
            for (got, want) in split(name, false).iter().zip(&few) {
                assert_eq!(got.dtype(), dtype(name));
                assert_eq!(floats(got), floats(&want.to_dtype(dtype(name)).unwrap()), "{name} {what}");
            }
        }
        let mut rows = qkv.clone();
        if normed {
            attention::normalise(&mut rows, heads, [&q_weight, &k_weight], 1e-3);
        }
        if half > 0 {
            attention::rotate(&mut rows, time, heads, &cos, &sin);
        }
        let (rows_there, weights, tables) = given("f32");
        let norms = normed.then(|| weights.each_ref().map(norm));
        let tables = tables.as_ref().map(|[cos, sin]| (cos, sin));
        let z = there::causal(backend, &rows_there, (batch, time), heads, norms, tables).unwrap();
        assert_near("f32", &floats(&z), &attention::causal(&rows, batch, time, heads), &what);
    }
    assert!(there::attend(backend, &tensor(backend, "f32", &[1.0; 6], 2), PLAIN).is_err());
    let rows = tensor(backend, "f32", &eighths(2 * PLAIN.row(), 1), PLAIN.row());
    assert!(layers::split_heads(backend, &rows, (1, 3), PLAIN, None, None, (true, 1.0)).is_err());
}

/// Longer than the queries that are taken together: with keys before a window left out, and those of later queries.
#[test]
fn long_texts() {
    let Some(backend) = backend() else { return };
    let on_device = ops::on(Some(backend.clone()));
    let plain = Heads { heads: 2, kv_heads: 1, width: 3, ..PLAIN };
    for (batch, time, heads) in [
        (1, 513, plain),
        (2, 1100, Heads { softcap: Some(2.0), ..plain }),
        (1, 1100, Heads { window: Some(1), ..plain }),
        (1, 1100, Heads { window: Some(300), ..plain }),
        (1, 1600, Heads { window: Some(513), ..plain }),
    ] {
        let qkv = eighths(batch * time * heads.row(), 2);
        let there = tensor(&*backend, "f32", &qkv, heads.row());
        let z = on_device.attention(there, (batch, time), heads, None, None).unwrap();
        let want = attention::causal(&qkv, batch, time, heads);
        assert_near("f32", &floats(&z), &want, &format!("{batch} x {time} {heads:?}"));
    }
}

/// Heads of every size that the kernel is made for, and between them; texts that end within, at and after its blocks of queries
/// and keys; windows that begin within and at them.
#[test]
fn by_tensor_cores() {
    let Some(backend) = backend() else { return };
    let plain = Heads { heads: 2, kv_heads: 1, width: 64, scale: 0.3, softcap: None, window: None };
    for (batch, time, heads) in [
        (1, 1, plain),
        (2, 7, Heads { width: 8, ..plain }),
        (1, 64, Heads { width: 64, softcap: Some(3.0), ..plain }),
        (3, 65, Heads { heads: 3, kv_heads: 3, width: 24, window: Some(64), ..plain }),
        (1, 129, Heads { width: 48, window: Some(1), ..plain }),
        (2, 130, Heads { heads: 4, kv_heads: 2, width: 80, softcap: Some(0.7), window: Some(65), ..plain }),
        (1, 300, Heads { width: 128, window: Some(33), ..plain }),
        (1, 257, Heads { heads: 1, width: 96, ..plain }),
        (1, 70, Heads { width: 136, ..plain }),
        (2, 96, Heads { width: 256, scale: 0.06, softcap: Some(50.0), window: Some(50), ..plain }),
    ] {
        for name in ["bf16", "f16"] {
            let rows = tensor(&*backend, name, &noise(batch * time * heads.row(), 3), heads.row());
            let rows = (rows * 4.0).unwrap();
            let z = there::causal(&*backend, &rows, (batch, time), heads, None, None).unwrap();
            assert_eq!((z.dims(), z.dtype()), (&[batch * time, heads.queries()][..], dtype(name)));
            let want = attention::causal(&floats(&rows), batch, time, heads);
            // Weights and what they add up to are rounded, values are up to two.
            let place = if name == "bf16" { 1.0 / 128.0 } else { 1.0 / 1024.0 };
            for (at, (got, want)) in floats(&z).iter().zip(&want).enumerate() {
                assert!((got - want).abs() < place, "{name} {batch} x {time} {heads:?} at {at}: {got}, not {want}");
            }
        }
    }
}

/// A value that stands in one number for each key says its weight: nothing at all of those that are not seen.
#[test]
fn tensor_cores_see_no_other_keys() {
    let Some(backend) = backend() else { return };
    let (time, width) = (200, 256);
    for window in [None, Some(1), Some(31), Some(32), Some(33), Some(64), Some(130)] {
        let heads = Heads { heads: 1, kv_heads: 1, width, scale: 0.5, softcap: None, window };
        let mut rows = noise(time * heads.row(), 8);
        for (t, row) in rows.chunks_mut(heads.row()).enumerate() {
            row[2 * width..].fill(0.0);
            row[2 * width + t] = 1.0;
        }
        let rows = tensor(&*backend, "bf16", &rows, heads.row());
        let z = there::causal(&*backend, &rows, (1, time), heads, None, None).unwrap();
        for (t, weights) in floats(&z).chunks(width).enumerate() {
            let seen = (t + 1).saturating_sub(window.unwrap_or(time))..=t;
            for (s, weight) in weights.iter().enumerate() {
                assert_eq!(seen.contains(&s), *weight > 0.0, "{t} of {s} {window:?}: {weight}");
            }
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 0.01, "{t} {window:?}");
        }
    }
}

/// What is no number stays with the queries that see it, and scores as large as 16 bits do not hold are ordinary.
#[test]
fn tensor_cores_and_numbers_that_are_none() {
    let Some(backend) = backend() else { return };
    let heads = Heads { heads: 1, kv_heads: 1, width: 16, scale: 1.0, softcap: None, window: None };
    let mut rows = vec![1.0; 100 * heads.row()];
    rows[40 * heads.row() + 16] = f32::NAN;
    let z = there::causal(&*backend, &tensor(&*backend, "f16", &rows, heads.row()), (1, 100), heads, None, None);
    for (t, z) in floats(&z.unwrap()).chunks(16).enumerate() {
        assert!(z.iter().all(|z| if t < 40 { *z == 1.0 } else { z.is_nan() }), "{t}: {z:?}");
    }
    // Keys grow: the last one has all the weight.
    let grown = |t: usize, i: usize| if i < 32 { 200.0 + t as f32 } else { t as f32 };
    let rows: Vec<f32> = (0..100 * heads.row()).map(|at| grown(at / heads.row(), at % heads.row())).collect();
    let z = there::causal(&*backend, &tensor(&*backend, "f16", &rows, heads.row()), (1, 100), heads, None, None);
    for (t, z) in floats(&z.unwrap()).chunks(16).enumerate() {
        assert!(z.iter().all(|z| *z == t as f32), "{t}: {z:?}");
    }
}

#[test]
fn widths_without_a_kernel_go_by_candle() {
    let Some(backend) = backend() else { return };
    assert!(there::takes(DType::F32, 3) && there::takes(DType::BF16, 72) && there::takes(DType::F16, 256));
    assert!(!there::takes(DType::BF16, 6) && !there::takes(DType::BF16, 264) && !there::takes(DType::F64, 64));
    let (on_device, heads) = (ops::on(Some(backend.clone())), Heads { width: 12, ..PLAIN });
    let rows = tensor(&*backend, "bf16", &eighths(9 * heads.row(), 2), heads.row());
    let z = |ops: &dyn ops::Ops| floats(&ops.attention(rows.clone(), (1, 9), heads, None, None).unwrap());
    assert_eq!(z(&*on_device), z(&*ops::on(None)));
}
