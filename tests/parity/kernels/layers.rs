//! What stands between a transformer's matrix products.

use prunelens_core::model::Act;
use prunelens_kernels::{device::layers, layers::Norm, pointwise};

use super::*;

/// Whether numbers are those wanted: in 16 bits to the last place or so, in f32 to what sums in another order leave.
pub fn assert_near(name: &str, got: &[f32], want: &[f32], what: &str) {
    let place = match name {
        "bf16" => 1.0 / 128.0,
        "f16" => 1.0 / 1024.0,
        _ => 1e-4,
    };
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= place * (want.abs() + 0.1), "{name} {what} at {at}: {got}, not {want}");
    }
}

#[test]
fn norms_of_rows() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (at, (rows, width)) in [(1, 1), (3, 31), (2, 64), (5, 300), (2, 1500)].into_iter().enumerate() {
        let name = TYPES[at % 3];
        let (x, weight, bias) = (eighths(rows * width, 3), eighths(width, 4), eighths(width, 6));
        let [there, weight_there, bias_there] =
            [(&x, width), (&weight, width), (&bias, width)].map(|(values, width)| tensor(backend, name, values, width));
        for weights in [true, false] {
            let (w, b) = (weights.then_some(&weight[..]), weights.then_some(&bias[..]));
            let norm = |centred| Norm {
                centred,
                eps: 1e-3,
                weight: weights.then_some(&weight_there),
                bias: (weights && centred).then_some(&bias_there),
            };
            let got = layers::norm(backend, &there, norm(true)).unwrap();
            assert_eq!((got.dims(), got.dtype()), (there.dims(), there.dtype()));
            assert_near(name, &floats(&got), &pointwise::layer_norm(&x, width, w, b, 1e-3), "layer norm");
            let got = layers::norm(backend, &there, norm(false)).unwrap();
            assert_near(name, &floats(&got), &pointwise::rms_norm(&x, width, w, 1e-3), "RMS norm");
        }
    }
}

/// Rows in 16 bits, weights in 32: what comes out is rounded once.
#[test]
fn norms_keep_the_digits_of_their_weights() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    let (rows, width) = (5, 300);
    let [x, weight] = [noise(rows * width, 3), noise(width, 4).iter().map(|w| 1.0 + w / 16.0).collect()];
    for name in ["bf16", "f16"] {
        let there = tensor(backend, name, &x, width);
        let weights = tensor(backend, "f32", &weight, width);
        let norm = Norm { centred: false, eps: 1e-6, weight: Some(&weights), bias: None };
        let got = floats(&layers::norm(backend, &there, norm).unwrap());
        let want = pointwise::rms_norm(&floats(&there), width, Some(&weight), 1e-6);
        let want = floats(&Tensor::new(want, &Device::Cpu).unwrap().to_dtype(there.dtype()).unwrap());
        // A sum in another order may tip a few over.
        let other = got.iter().zip(&want).filter(|(got, want)| got != want).count();
        assert!(other <= rows * width / 50, "{name}: {other} of {}", rows * width);
    }
}

#[test]
fn sums_with_norms() {
    let Some(backend) = backend() else { return };
    let on_device = ops::on(Some(backend.clone()));
    let backend = &*backend;
    for (at, (rows, width)) in [(1, 1), (3, 31), (2, 64), (5, 300), (2, 1500)].into_iter().enumerate() {
        let name = TYPES[at % 3];
        let [x, delta] = [3, 8].map(|salt| tensor(backend, name, &noise(rows * width, salt), width));
        let [weight, bias] = [4, 6].map(|salt| tensor(backend, name, &noise(width, salt), width));
        let layer_norm = Norm { centred: true, eps: 1e-3, weight: Some(&weight), bias: Some(&bias) };
        let rms = Norm { centred: false, eps: 1e-6, weight: Some(&weight), bias: None };
        let bare = Norm { centred: false, eps: 1e-5, weight: None, bias: None };
        for (post, next) in [
            (None, None),
            (Some(rms), None),
            (None, Some(layer_norm)),
            (Some(bare), Some(rms)),
            (Some(layer_norm), Some(bare)),
        ] {
            let what = format!("{name} {rows}x{width} {post:?} {next:?}");
            let added = post.map_or(delta.clone(), |post| layers::norm(backend, &delta, post).unwrap());
            let sum = (&x + added).unwrap();
            let (got, normed) = on_device.add_norm(&x, &delta, post, next).unwrap();
            assert_eq!((got.dims(), got.dtype()), (x.dims(), x.dtype()), "{what}");
            assert_eq!(floats(&got), floats(&sum), "{what}");
            let want = next.map(|next| floats(&layers::norm(backend, &sum, next).unwrap()));
            assert_eq!(normed.map(|normed| floats(&normed)), want, "{what}");
        }
        let wider = tensor(backend, name, &noise(rows * (width + 1), 3), width + 1);
        assert!(layers::add_norm(backend, &x, &wider, None, None).is_err());
    }
}

#[test]
fn activations() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (at, (rows, width)) in [(1, 1), (3, 70), (9, 300)].into_iter().enumerate() {
        let (name, x) = (TYPES[at % 3], eighths(rows * 2 * width, 3));
        let there = tensor(backend, name, &x, 2 * width);
        let plain = |run: fn(&mut [f32])| {
            let mut out = x.clone();
            run(&mut out);
            out
        };
        for (act, gated, want) in [
            (Act::Gelu, false, plain(pointwise::gelu)),
            (Act::GeluTanh, false, plain(pointwise::gelu_tanh)),
            (Act::Relu, false, x.iter().map(|v| v.max(0.0)).collect()),
            (Act::Silu, true, pointwise::silu_gated(&x, width)),
            (Act::GeluTanh, true, pointwise::gelu_tanh_gated(&x, width)),
        ] {
            let got = layers::activate(backend, &there, act, gated).unwrap();
            assert_eq!(got.dims(), [rows, if gated { width } else { 2 * width }]);
            assert_near(name, &floats(&got), &want, &format!("{act:?} gated {gated}"));
        }
    }
    assert!(layers::activate(backend, &tensor(backend, "f32", &[1.0; 9], 3), Act::Silu, true).is_err());
}
