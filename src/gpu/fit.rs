//! Whether what is asked for fits a GPU's memory, before anything is loaded.

use candle_core::DType;

use super::Opened;
use crate::error::{Error, Result};

/// Left for activations, logits and the library's own work.
const WORK: u64 = 1 << 30;

/// What a session will keep on a device.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// Numbers of the model's weights, and of those that its pruned copy does not share.
    pub original: u64,
    pub pruned: u64,
    pub dtype: DType,
}

impl Estimate {
    fn weights(&self, dtype: DType) -> [u64; 2] {
        [self.original, self.pruned].map(|numbers| numbers.saturating_mul(dtype.size_in_bytes() as u64))
    }

    fn bytes(&self, dtype: DType) -> u64 {
        self.weights(dtype).iter().fold(WORK, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// An error with the figures, and what would fit instead.
    pub fn check(&self, gpu: &Opened) -> Result<()> {
        let needed = self.bytes(self.dtype);
        if needed <= gpu.free_bytes {
            return Ok(());
        }
        let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64);
        let [original, pruned] = self.weights(self.dtype).map(gib);
        let half = self.bytes(DType::BF16);
        let instead = match self.dtype.size_in_bytes() > 2 {
            true if half <= gpu.free_bytes => format!("use --dtype bf16, which needs {}, or --device cpu", gib(half)),
            true => format!("use --device cpu, or a smaller model (--dtype bf16 would need {})", gib(half)),
            false => "use --device cpu, or a smaller model".into(),
        };
        Err(Error::invalid(format!(
            "the models need {} on the GPU (original {original}, pruned copy {pruned}, work {}), but {} has {} free of {}; {instead}",
            gib(needed),
            gib(WORK),
            gpu.name,
            gib(gpu.free_bytes),
            gib(gpu.total_bytes)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn refusal(dtype: DType, free: u64) -> Option<String> {
        let gpu = Opened { name: "a card".into(), total_bytes: 24 * GIB, free_bytes: free * GIB };
        let estimate = Estimate { original: 2 * GIB, pruned: GIB, dtype };
        estimate.check(&gpu).err().map(|e| e.to_string())
    }

    #[test]
    fn what_fits_is_not_refused() {
        // 8 + 4 + 1 GiB in f32, 4 + 2 + 1 in bf16.
        assert_eq!(refusal(DType::F32, 13), None);
        assert_eq!(refusal(DType::BF16, 7), None);
    }

    #[test]
    fn a_refusal_has_figures_and_a_way_out() {
        let text = refusal(DType::F32, 12).unwrap();
        assert!(text.contains("13.0 GiB") && text.contains("12.0 GiB free of 24.0 GiB"), "{text}");
        assert!(text.contains("--dtype bf16, which needs 7.0 GiB"), "{text}");
        let text = refusal(DType::F32, 6).unwrap();
        assert!(text.contains("use --device cpu") && text.contains("would need 7.0 GiB"), "{text}");
        let text = refusal(DType::BF16, 6).unwrap();
        assert!(text.ends_with("use --device cpu, or a smaller model"), "{text}");
    }
}
