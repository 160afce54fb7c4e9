//! Activations to latents.

use super::{Buffer, Card, Kernel, Matrix, Shape, memory::address};
use crate::error::Result;

/// Up to this many tokens a warp reads a latent's weights for all of them.
const FEW: u64 = 8;
/// Latents and tokens of a block otherwise.
const SIDE: u64 = 64;

/// An encoder on a card.
pub struct Encoder<'a> {
    /// `[d_sae, d_in]`.
    pub matrix: &'a Matrix,
    pub bias: &'a Buffer<f32>,
    /// Factor on each pre-activation, bias included.
    pub scale: Option<&'a Buffer<f32>>,
    /// A latent fires above its floor and above zero.
    pub floors: Option<&'a Buffer<f32>>,
}

/// Dense latents `[tokens, d_sae]` of activations `x [tokens, d_in]`, zero where a latent does not fire; the choice of the k
/// largest is [`super::top_k`]'s. Twin: `kernels::encode::Encoder::encode`.
pub fn encode(card: &dyn Card, encoder: &Encoder, x: &Buffer<f32>, cut: u32) -> Result<Buffer<f32>> {
    let (d_sae, d_in) = (encoder.matrix.rows, encoder.matrix.columns);
    let tokens = x.len() / d_in.max(1);
    x.expect(tokens * d_in, "activations")?;
    encoder.bias.expect(d_sae, "the encoder's bias")?;
    for (buffer, what) in [(encoder.scale, "scales of latents"), (encoder.floors, "thresholds")] {
        buffer.map_or(Ok(()), |buffer| buffer.expect(d_sae, what))?;
    }
    let out = Buffer::new(card, tokens * d_sae)?;
    if out.is_empty() {
        return Ok(out);
    }
    let (n, latents) = (tokens as u64, d_sae as u64);
    let (kernel, shape) = if n <= FEW {
        ("encode_few", Shape::warps(latents, n.div_ceil(FEW))?)
    } else {
        ("encode_many", Shape::grid(n.div_ceil(SIDE), latents.div_ceil(SIDE), 256)?)
    };
    let (name, ranks) = encoder.matrix.masked(kernel, cut)?;
    let arguments = [
        x.address(),
        encoder.matrix.values.address(),
        ranks,
        u64::from(cut),
        encoder.bias.address(),
        address(encoder.scale),
        address(encoder.floors),
        n,
        d_in as u64,
        latents,
        out.address(),
    ];
    // SAFETY: the arguments of both kernels; lengths were checked above.
    unsafe { card.launch(Kernel { file: "encode", name }, shape, &arguments)? };
    Ok(out)
}
