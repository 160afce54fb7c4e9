//! Vector arithmetic of the training step, for bodies of `dispatch!`.

use prunelens_kernels::{
    matmul::{View, multiply},
    simd::madd,
};

const LANES: usize = 32;

/// Dot product, summed in [`LANES`] fixed partial sums.
#[inline(always)]
pub fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] = madd::<FMA>(a[lane], b[lane], sums[lane]);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `y += scale x`.
#[inline(always)]
pub fn axpy<const FMA: bool>(y: &mut [f32], scale: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = madd::<FMA>(scale, *x, *y);
    }
}

/// The first `len` numbers of work memory that is kept from step to step, whatever they are now.
pub fn sized(memory: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if memory.len() < len {
        memory.resize(len, 0.0);
    }
    &mut memory[..len]
}

/// The same, all zero.
pub fn zeroed(memory: &mut Vec<f32>, len: usize) -> &mut [f32] {
    let memory = sized(memory, len);
    memory.fill(0.0);
    memory
}

/// The first `len` of things that are kept for their own memory.
pub fn made<T: Default>(kept: &mut Vec<T>, len: usize) -> &mut [T] {
    if kept.len() < len {
        kept.resize_with(len, T::default);
    }
    &mut kept[..len]
}

/// `out = a b`, or `out += a b` if `keep`, with contiguous rows, on all threads. The result does not depend on timing:
/// each element is summed by one thread in a fixed order.
pub fn product(out: &mut [f32], columns: usize, a: View, b: View, keep: bool) {
    multiply(out, columns, a, b, 1.0, keep, rayon::current_num_threads());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn dot_covers_the_rest_after_whole_lanes() {
        let mut rng = Rng::new(2, 0);
        for n in [0, 1, 31, 32, 33, 100] {
            let mut random = || (0..n).map(|_| rng.normal() as f32).collect::<Vec<_>>();
            let (a, b) = (random(), random());
            let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum();
            assert!((f64::from(dot::<false>(&a, &b)) - expected).abs() < 1e-4);
        }
    }
}
