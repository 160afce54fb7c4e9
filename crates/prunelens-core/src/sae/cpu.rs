//! An SAE on the CPU, by the loops of [`prunelens_kernels::encode`].

use std::sync::Arc;

use candle_core::{Device, Tensor};
use prunelens_kernels::{
    Group,
    columns::add_squares,
    encode::{self, Encoder, Grid, STEPS},
    ranks,
    select::by_value,
    with_f32,
};
use rayon::prelude::*;

use super::{
    Activation, Dictionary, Encoded, Latents, Order, Plan, Pruning, Ranked, Sae, Side, dictionary::one_by_one,
    gradient::decode_vjp,
};
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
        let x = self.turned(x, pruning);
        let mut latents = self.with_encoder(pruning, |encoder| encoder.encode(&x))?;
        self.activation.finish(&mut latents, &self.b_enc);
        Ok(Encoded::new(latents, undo))
    }

    fn encode_at(&self, x: &Tensor, order: &Arc<Order>, settings: &[f64]) -> Result<Vec<Latents>> {
        // Only where weights go one after the other does a setting keep what the next one keeps, term by term.
        let Plan::Ranks(ranks) = &order.enc else { return one_by_one(self, x, order, settings) };
        let (x, _) = self.process_input(x)?;
        let cuts: Vec<u32> = settings.iter().map(|at| ranks.cut(*at)).collect();
        let scales = self.scales(order, settings)?;
        let ranks = ranks.host()?;
        let mut all = self.with_encoder(None, |encoder| encoder.encode_at(&x, ranks, &cuts, scales.as_deref()))?;
        for latents in &mut all {
            self.activation.finish(latents, &self.b_enc);
        }
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
        let settings = order.knob.scale(self.d_in()).fine();
        let (input, _) = self.process_input(x)?;
        let at = |at: f64| Pruning { order: order.clone(), at };
        let Some(ranking) = order.enc.ranking(self.d_in())? else {
            return stepwise(self, &input, wanted, settings.into_iter().map(at));
        };
        let cuts: [u32; STEPS] = std::array::from_fn(|step| order.enc.cut(settings[step]));
        let scales = self.scales(order, &settings)?;
        let scales = scales.as_deref();
        let Plan::Factors(factors) = &order.enc else {
            return self.with_encoder(None, |encoder| encoder.grid(&input, wanted, ranking, &cuts, scales));
        };
        let input = factors.turn(&input, self.d_in());
        self.with_encoder(None, |encoder| {
            let turned = Encoder { weight: &factors.scores, ..encoder };
            turned.grid(&input, wanted, ranking, &cuts, scales)
        })
    }

    fn decode(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Tensor> {
        let mut out = self.decode_normalised(encoded, pruning)?;
        encoded.undo().apply(&mut out, self.d_in())?;
        let n = encoded.rows();
        Ok(Tensor::from_vec(out, (n, self.d_in()), &Device::Cpu)?)
    }

    fn decode_vjp(&self, encoded: &Encoded, pruning: Option<&Pruning>, g: &Tensor) -> Result<Vec<f32>> {
        decode_vjp(self, encoded, pruning, g)
    }

    fn pruned(&self, pruning: Option<&Pruning>) -> Result<Sae> {
        let Some(pruning) = pruning else { return Ok(self.clone()) };
        let written = |side: Side, like: &Tensor| -> Result<Tensor> {
            let values = self.matrix(side, Some(pruning), |matrix| {
                let mut out = vec![0.0; like.elem_count()];
                out.par_chunks_mut(self.d_in()).enumerate().for_each(|(latent, row)| matrix.row(latent, row));
                out
            })?;
            Ok(Tensor::from_vec(values, like.shape(), like.device())?)
        };
        let (w_enc, w_dec) = (written(Side::Enc, &self.w_enc)?, written(Side::Dec, &self.w_dec)?);
        let mut b_enc = self.b_enc.clone();
        self.matrix(Side::Enc, Some(pruning), |matrix| {
            b_enc.iter_mut().enumerate().filter(|(latent, _)| matrix.kept.drops(*latent)).for_each(|(_, b)| *b = 0.0);
        })?;
        Ok(Self { w_enc, w_dec, b_enc, ..self.clone() })
    }

    fn decode_normalised(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Vec<f32>> {
        let latents = encoded.latents()?;
        let norms = self.decoder_norms(pruning)?;
        let divisor = norms.or_else(|| self.decode_scale.as_ref().map(|s| s.iter().map(|v| 1.0 / v).collect()));
        self.matrix(Side::Dec, pruning, |matrix| {
            let decode = |bias: &[f32]| encode::decode(latents, matrix.weight, matrix.kept, bias, divisor.as_deref());
            match matrix.basis {
                None => decode(&self.b_dec),
                // In the basis, and back from there.
                Some((factors, _)) => factors.back(&decode(&vec![0.0; self.d_in()]), &self.b_dec),
            }
        })
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
    /// Factors on pre-activations at each setting, `[settings][d_sae]`, where there are any.
    fn scales(&self, order: &Arc<Order>, settings: &[f64]) -> Result<Option<Vec<f32>>> {
        if !self.activation.rescales() {
            return Ok(None);
        }
        let mut scales = Vec::with_capacity(settings.len() * self.d_sae());
        for &at in settings {
            scales.extend(self.decoder_norms(Some(&Pruning { order: order.clone(), at }))?.unwrap_or_default());
        }
        Ok(Some(scales))
    }
}

/// A grid by an encoding at each setting, for knobs whose steps share no terms.
fn stepwise(sae: &Sae, input: &[f32], wanted: &Latents, settings: impl Iterator<Item = Pruning>) -> Result<Grid> {
    let mut grid = Grid { paths: vec![[0.0; STEPS]; wanted.indices.len()], last: Vec::new() };
    let k = match sae.activation {
        Activation::TopK { k, .. } => Some(k),
        _ => None,
    };
    grid.last.resize(if k.is_some() { wanted.rows() } else { 0 }, [None; STEPS]);
    for (step, pruning) in settings.enumerate() {
        let latents = sae.with_encoder(Some(&pruning), |encoder| encoder.encode(input))?;
        for token in 0..wanted.rows() {
            for at in wanted.offsets[token]..wanted.offsets[token + 1] {
                grid.paths[at][step] = latents.get(token, wanted.indices[at]);
            }
            let (indices, values) = latents.row(token);
            if k == Some(indices.len()) {
                grid.last[token][step] = indices.iter().copied().zip(values.iter().copied()).max_by(by_value);
            }
        }
    }
    Ok(grid)
}
