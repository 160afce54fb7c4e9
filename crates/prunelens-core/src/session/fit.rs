//! Whether what is asked for fits a GPU's memory, before anything is loaded.

use candle_core::DType;
use prunelens_kernels::gpu::Opened;

use crate::{
    error::{Error, Result},
    text::bytes,
};

/// Left for what is there for a while, of which no two are at a time: activations of 4,096 tokens on their way through a block (0.4 GiB
/// for Gemma 2 2B in bf16, twice that in f32), logits of five passes (1.3 GiB), an SAE's masked rows and dense latents (1.5 GiB),
/// paths of all latents (1 GiB); and for the library's own.
const WORK: u64 = 1 << 31;

/// What a session will keep on a device.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// Numbers of the model's weights, and of those that its pruned copy does not share.
    pub original: u64,
    pub pruned: u64,
    pub dtype: DType,
    /// Bytes of SAEs and their ranks.
    pub saes: u64,
    /// Numbers of the residual streams that wait between blocks while a copy is made by a calibration text.
    pub streams: u64,
}

impl Estimate {
    fn weights(&self, dtype: DType) -> [u64; 2] {
        [self.original, self.pruned].map(|numbers| numbers.saturating_mul(dtype.size_in_bytes() as u64))
    }

    fn work(&self, dtype: DType) -> u64 {
        WORK.saturating_add(self.streams.saturating_mul(dtype.size_in_bytes() as u64))
    }

    fn bytes(&self, dtype: DType) -> u64 {
        let beside = self.work(dtype).saturating_add(self.saes);
        self.weights(dtype).iter().fold(beside, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// "13.5 GiB of the 137.0 GiB that are free on NVIDIA H200".
    pub fn line(&self, gpu: &Opened) -> String {
        format!("{} of the {} that are free on {}", bytes(self.bytes(self.dtype)), bytes(gpu.free_bytes), gpu.name)
    }

    /// An error with the figures, and what would fit instead.
    pub fn check(&self, gpu: &Opened) -> Result<()> {
        let needed = self.bytes(self.dtype);
        if needed <= gpu.free_bytes {
            return Ok(());
        }
        let [original, pruned] = self.weights(self.dtype).map(bytes);
        let half = self.bytes(DType::BF16);
        let without_saes = self.bytes(self.dtype) - self.saes <= gpu.free_bytes;
        let smaller = if without_saes { "a smaller SAE" } else { "a smaller model" };
        let instead = match self.dtype.size_in_bytes() > 2 {
            true if half <= gpu.free_bytes => {
                format!("use --dtype bf16, which needs {}, {smaller}, or --device cpu", bytes(half))
            }
            true => format!("use {smaller}, or --device cpu (--dtype bf16 would need {})", bytes(half)),
            false => format!("use {smaller}, or --device cpu"),
        };
        Err(Error::invalid(format!(
            "models and SAEs need {} on the GPU (original {original}, pruned copy {pruned}, SAEs and ranks {}, work {}), but {} has {} free of {}; {instead}",
            bytes(needed),
            bytes(self.saes),
            bytes(self.work(self.dtype)),
            gpu.name,
            bytes(gpu.free_bytes),
            bytes(gpu.total_bytes)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn refusal(dtype: DType, saes: u64, free: u64) -> Option<String> {
        let gpu = Opened { name: "a card".into(), total_bytes: 24 * GIB, free_bytes: free * GIB / 2 };
        let estimate = Estimate { original: 2 * GIB, pruned: GIB, dtype, saes: saes * GIB, streams: 0 };
        estimate.check(&gpu).err().map(|e| e.to_string())
    }

    #[test]
    fn what_fits_is_not_refused() {
        // 8 + 4 + 2 GiB in f32, 4 + 2 + 2 in bf16; free memory is given in halves of a GiB.
        assert_eq!(refusal(DType::F32, 0, 28), None);
        assert_eq!(refusal(DType::BF16, 0, 16), None);
        assert_eq!(refusal(DType::BF16, 2, 20), None);
        let gpu = Opened { name: "a card".into(), total_bytes: 24 * GIB, free_bytes: 20 * GIB };
        let mut estimate = Estimate { original: 2 * GIB, pruned: GIB, dtype: DType::BF16, saes: GIB, streams: 0 };
        assert_eq!(estimate.line(&gpu), "9.0 GiB of the 20.0 GiB that are free on a card");
        // As wide as the model's type.
        estimate.streams = GIB / 2;
        assert_eq!(estimate.line(&gpu), "10.0 GiB of the 20.0 GiB that are free on a card");
    }

    #[test]
    fn a_refusal_has_figures_and_a_way_out() {
        let text = refusal(DType::F32, 0, 26).unwrap();
        assert!(text.contains("14.0 GiB") && text.contains("13.0 GiB free of 24.0 GiB"), "{text}");
        assert!(text.contains("--dtype bf16, which needs 8.0 GiB"), "{text}");
        let text = refusal(DType::F32, 0, 12).unwrap();
        assert!(text.contains("use a smaller model, or --device cpu") && text.contains("would need 8.0 GiB"), "{text}");
        let text = refusal(DType::BF16, 0, 12).unwrap();
        assert!(text.ends_with("use a smaller model, or --device cpu"), "{text}");
        let text = refusal(DType::BF16, 2, 16).unwrap();
        assert!(
            text.contains("SAEs and ranks 2.0 GiB") && text.ends_with("use a smaller SAE, or --device cpu"),
            "{text}"
        );
    }
}
