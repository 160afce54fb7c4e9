//! What turns pre-activations into latents.

use super::Latents;

/// What makes latents of pre-activations.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `tanh(relu(x))` of SAELens up to 5.
    TanhRelu,
    /// The `k` largest of a token, those above zero. Rescaling multiplies pre-activations by the norms of the decoder rows
    /// before choosing, and divides latents by them when decoding.
    TopK {
        /// How many of the largest are kept.
        k: usize,
        /// Latents are scaled by the norms of their decoder rows before they are chosen.
        rescale_by_decoder_norm: bool,
    },
    /// Those above their threshold and above zero.
    JumpRelu {
        /// One a latent: what does not pass it is zero.
        threshold: Vec<f32>,
    },
    /// `b_enc` is the gate's bias: `[pre > 0] relu((pre - b_gate) exp(r_mag) + b_mag)`.
    Gated {
        /// Logarithm of the factor between gate and magnitude, one a latent.
        r_mag: Vec<f32>,
        /// Bias of the magnitudes, one a latent.
        b_mag: Vec<f32>,
    },
}

impl Activation {
    /// Whether pre-activations are multiplied by the norms of the decoder rows.
    pub fn rescales(&self) -> bool {
        matches!(self, Self::TopK { rescale_by_decoder_norm: true, .. })
    }

    /// Latent from its pre-activation, for everything but the choice among latents that TopK makes.
    #[inline]
    pub fn value(&self, latent: usize, pre: f32, b_enc: &[f32]) -> f32 {
        match self {
            Self::Relu | Self::TopK { .. } => pre.max(0.0),
            Self::TanhRelu => pre.max(0.0).tanh(),
            Self::JumpRelu { threshold } => {
                if pre > threshold[latent] {
                    pre.max(0.0)
                } else {
                    0.0
                }
            }
            Self::Gated { r_mag, b_mag } => {
                if pre > 0.0 {
                    ((pre - b_enc[latent]) * r_mag[latent].exp() + b_mag[latent]).max(0.0)
                } else {
                    0.0
                }
            }
        }
    }

    /// Turn the pre-activations that passed the gate into latents.
    pub fn finish(&self, latents: &mut Latents, b_enc: &[f32]) {
        match self {
            Self::Relu | Self::TopK { .. } | Self::JumpRelu { .. } => {}
            Self::TanhRelu => latents.values.iter_mut().for_each(|v| *v = v.tanh()),
            Self::Gated { .. } => {
                let mut out = Latents::new(latents.d_sae);
                for row in 0..latents.rows() {
                    let (indices, values) = latents.row(row);
                    let finished = indices.iter().zip(values).map(|(i, v)| (*i, self.value(*i as usize, *v, b_enc)));
                    out.push_row(finished.filter(|(_, v)| *v > 0.0));
                }
                *latents = out;
            }
        }
    }

    /// One token's pre-activations as SAELens names them: for a gated SAE the magnitudes, else unchanged.
    pub fn magnitudes(&self, pre: &mut [f32], b_enc: &[f32]) {
        if let Self::Gated { r_mag, b_mag } = self {
            for (latent, pre) in pre.iter_mut().enumerate() {
                *pre = (*pre - b_enc[latent]) * r_mag[latent].exp() + b_mag[latent];
            }
        }
    }
}
