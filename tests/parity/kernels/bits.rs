//! Bits of what is the same, and memory that numbers are sent from.

use half::bf16;
use prunelens_kernels::{bits, device::Staging};

use super::*;

/// Lengths that eight divide and that they do not, with zeros of both signs.
#[test]
fn bits_of_what_is_the_same() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (at, len) in [1, 7, 8, 9, 64, 1003, 70_000].into_iter().enumerate() {
        for (name, salt) in TYPES.into_iter().zip(at..) {
            let mut values = eighths(len, salt);
            values.iter_mut().step_by(3).for_each(|value| *value = -0.0);
            let mut others = values.clone();
            others.iter_mut().skip(salt % 2).step_by(1 + salt % 5).for_each(|value| *value = 0.0);
            let here = |values: &[f32]| {
                let dtype = tensor(backend, name, values, len).dtype();
                Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
            };
            let (before, after) = (here(&values), here(&others));
            let want = bits::same(&before, &after).unwrap();
            let [before_there, after_there] = [&values, &others].map(|values| tensor(backend, name, values, len));
            let got = device::same_bits(backend, &before_there, &after_there).unwrap();
            assert_eq!(got, want, "{name}, {len}");

            let kept = device::keep_bits(backend, &before_there, &want).unwrap();
            assert_eq!((kept.dims(), kept.dtype()), (before_there.dims(), before.dtype()));
            let kept = kept.to_device(&Device::Cpu).unwrap().flatten_all().unwrap();
            let same = bits::same(&kept, &bits::keep(&before, &want).unwrap()).unwrap();
            assert_eq!(same.iter().map(|byte| byte.count_ones()).sum::<u32>() as usize, len, "{name}, {len}");
            assert!(device::keep_bits(backend, &before_there, &[0; 1 << 14]).is_err());
            assert!(device::same_bits(backend, &before_there, &tensor(backend, name, &[0.0; 3], 3)).is_err());
        }
    }
}

/// In pieces from memory that is filled again and again, as weights are.
#[test]
fn what_is_sent_in_pieces_is_whole() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    let values: Vec<bf16> = noise(100_003, 5).into_iter().map(bf16::from_f32).collect();
    let mut out = Buffer::<bf16>::new(backend, values.len()).unwrap();
    let mut places: [Staging; 2] = std::array::from_fn(|_| backend.staging(2 * 4096).unwrap());
    for (at, part) in values.chunks(4096).enumerate() {
        let place = &mut places[at % 2];
        place.numbers(part.len()).unwrap().copy_from_slice(part);
        out.send(backend, at * 4096, place, part.len()).unwrap();
    }
    assert_eq!(out.to_vec(backend).unwrap(), values);
    assert!(out.send(backend, values.len() - 1, &mut places[0], 2).is_err());
    assert!(places[0].numbers::<f64>(2 * 4096).is_err());
}
