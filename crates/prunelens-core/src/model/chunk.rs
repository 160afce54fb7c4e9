//! How much is worked on between two looks at whether somebody waits.

use candle_core::Device;

/// How many tokens may be worked on without a tick in between, when one token costs `flops`: some 15 to 25 milliseconds
/// on two cores. A GPU is faster and wants more at once.
pub fn tokens_at_once(flops: f64, device: &Device) -> usize {
    let budget = if device.is_cpu() { 3e9 } else { 2e12 };
    ((budget / flops.max(1.0)) as usize).clamp(32, 8192)
}
