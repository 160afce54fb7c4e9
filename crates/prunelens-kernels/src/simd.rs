//! Compile a loop for several instruction sets, choose when it runs.

/// Wraps a function whose body may use the constant `FMA` (see [`madd`]) so that it is compiled for AVX-512, for AVX2 and
/// for the baseline. The body must be plain loops that the compiler can vectorise.
#[macro_export]
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, clippy::extra_unused_type_parameters)]
            fn body<const FMA: bool>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn v4($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn v3($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
                match $crate::simd::level() {
                    // SAFETY: the CPU reports the features this version was compiled for.
                    4 => return unsafe { v4($($arg),*) },
                    // SAFETY: likewise.
                    3 => return unsafe { v3($($arg),*) },
                    _ => {}
                }
            }
            body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub use dispatch;

/// 4: AVX-512, 3: AVX2 with FMA, 0: neither.
#[cfg(target_arch = "x86_64")]
pub fn level() -> u8 {
    use std::sync::OnceLock;
    static LEVEL: OnceLock<u8> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let v3 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let v4 = ["f", "bw", "vl", "dq"].iter().all(|part| match *part {
            "f" => is_x86_feature_detected!("avx512f"),
            "bw" => is_x86_feature_detected!("avx512bw"),
            "vl" => is_x86_feature_detected!("avx512vl"),
            _ => is_x86_feature_detected!("avx512dq"),
        });
        match (v3, v4) {
            (true, true) => 4,
            (true, false) => 3,
            _ => 0,
        }
    })
}

/// `a * b + c`, fused only where the CPU does it in one instruction (elsewhere fusing is a slow library call).
#[inline(always)]
pub fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` to about one unit in the last place for -87 < x < 88, clamped outside. Range reduction by ln 2 and a polynomial
/// of degree 6 (the coefficients of the Cephes library); no branches, so that loops around it vectorise.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let shifted = madd::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let r = madd::<FMA>(n, -0.693_359_4, x);
    let r = madd::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = madd::<FMA>(p, r, coefficient);
    }
    let y = madd::<FMA>(p, r * r, r) + 1.0;
    y * f32::from_bits(((exponent + 127) << 23) as u32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_is_close_to_the_library() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let (a, b) = (super::exp::<false>(x), x.exp());
            assert!((a - b).abs() <= 4e-7 * b, "exp({x}) = {a}, expected {b}");
        }
    }
}
