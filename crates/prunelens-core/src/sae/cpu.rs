//! An SAE on the CPU, by the loops of [`prunelens_kernels::encode`].

use std::sync::Arc;

use candle_core::{Device, Tensor};
use prunelens_kernels::{
    Group,
    columns::add_squares,
    encode::{self, Grid, STEPS},
    ranks, with_f32,
};

use super::{Dictionary, Encoded, Latents, Order, Pruning, Ranked, Sae, Side, grid_ratio};
use crate::error::Result;

impl Dictionary for Sae {
    fn sae(&self) -> &Sae {
        self
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn bytes_on_device(&self) -> u64 {
        0
    }

    fn encode(&self, x: &Tensor, pruning: Option<&Pruning>) -> Result<Encoded> {
        let (x, undo) = self.process_input(x)?;
        let mut latents = self.with_encoder(pruning, |encoder| encoder.encode(&x))?;
        self.activation.finish(&mut latents, &self.b_enc);
        Ok(Encoded { latents, undo })
    }

    fn encode_at(&self, x: &Tensor, order: &Arc<Order>, ratios: &[f64]) -> Result<Vec<Latents>> {
        let (x, _) = self.process_input(x)?;
        let cuts: Vec<u32> = ratios.iter().map(|ratio| order.enc.cut(*ratio)).collect();
        let scales = self.scales(order, ratios)?;
        let ranks = order.enc.host()?;
        let mut all = self.with_encoder(None, |encoder| encoder.encode_at(&x, ranks, &cuts, scales.as_deref()))?;
        all.iter_mut().for_each(|latents| self.activation.finish(latents, &self.b_enc));
        Ok(all)
    }

    fn pre_activation_squares(&self, x: &Tensor) -> Result<Vec<f64>> {
        // Dense pre-activations are wide: a few positions at a time.
        let (input, mut squares) = (self.process_input(x)?.0, vec![0.0; self.d_sae()]);
        for rows in input.chunks(64 * self.d_in()) {
            add_squares(&mut squares, &self.pre_activations(rows)?);
        }
        Ok(squares)
    }

    fn grid(&self, order: &Arc<Order>, x: &Tensor, wanted: &Latents) -> Result<Grid> {
        let cuts: [u32; STEPS] = std::array::from_fn(|step| order.enc.cut(grid_ratio(step)));
        let (input, _) = self.process_input(x)?;
        let ratios: [f64; STEPS] = std::array::from_fn(grid_ratio);
        let (scales, ranks) = (self.scales(order, &ratios)?, order.enc.host()?);
        self.with_encoder(None, |encoder| encoder.grid(&input, wanted, ranks, &cuts, scales.as_deref()))
    }

    fn decode(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Tensor> {
        let mut out = self.decode_normalised(encoded, pruning)?;
        encoded.undo.apply(&mut out, self.d_in());
        let n = encoded.latents.rows();
        Ok(Tensor::from_vec(out, (n, self.d_in()), &Device::Cpu)?)
    }

    fn decode_normalised(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Vec<f32>> {
        let norms = self.decoder_norms(pruning)?;
        let divisor = norms.or_else(|| self.decode_scale.as_ref().map(|s| s.iter().map(|v| 1.0 / v).collect()));
        let mask = pruning.map(Pruning::dec).transpose()?;
        with_f32(&self.w_dec, |w| encode::decode(&encoded.latents, w, mask, &self.b_dec, divisor.as_deref()))
    }

    fn rank(&self, side: Side, norm: Option<&[f32]>, group: Group) -> Result<Ranked> {
        let (rows, cols) = (self.d_sae(), self.d_in());
        let w = if side == Side::Enc { &self.w_enc } else { &self.w_dec };
        let ranks = with_f32(w, |w| match (norm, group) {
            (None, _) => ranks::ranks(rows, cols, group, |r, c| w[r * cols + c].abs()),
            (Some(n), Group::Row) => ranks::ranks(rows, cols, group, |r, c| w[r * cols + c].abs() * n[c]),
            (Some(n), Group::Column) => ranks::ranks(rows, cols, group, |r, c| w[r * cols + c].abs() * n[r]),
        })?;
        Ok(Ranked::on_host(ranks, group.len(rows, cols)))
    }
}

impl Sae {
    /// Factors on pre-activations at each ratio, `[ratios][d_sae]`, where there are any.
    fn scales(&self, order: &Arc<Order>, ratios: &[f64]) -> Result<Option<Vec<f32>>> {
        if !self.activation.rescales() {
            return Ok(None);
        }
        let mut scales = Vec::with_capacity(ratios.len() * self.d_sae());
        for &ratio in ratios {
            scales.extend(self.decoder_norms(Some(&Pruning { order: order.clone(), ratio }))?.unwrap_or_default());
        }
        Ok(Some(scales))
    }
}
