//! Some token rows through both models and all SAEs: everything the atlas sums up.

use std::{collections::HashSet, sync::Arc};

use candle_core::Tensor;
use prunelens_core::{
    compare::Reader,
    error::Result,
    model::tokens_at_once,
    progress::Tick,
    sae::{Encoded, Latents},
    session::token_tensor,
};
use prunelens_kernels::with_f32;

use super::{
    heirs::{Bequest, bequests},
    importance::Gradient,
    readers::Readers,
    scaling::{Scaling, Targets},
};

/// Tokens encoded at all ratios together between two looks at who waits.
const TOKENS: usize = 256;

/// What came of some rows; of counted positions only, in their order.
pub struct Batch {
    /// The token at each position.
    pub tokens: Vec<u32>,
    /// Special tokens that were left out.
    pub masked: usize,
    pub original: Latents,
    pub transfer: Latents,
    pub pruned: Latents,
    pub trained: Option<Latents>,
    /// Mass of each latent at each ratio.
    pub grid: Vec<Vec<f64>>,
    /// Positions whose rows were traced; they come first.
    pub traced: usize,
    /// Of each activation in `original`, the gradient of the loss by it; 0 where its row was not traced.
    pub slopes: Vec<f32>,
    /// Of each activation in `original`.
    pub scaling: Vec<Scaling>,
    /// What latents lost from original to pruned, and which took it.
    pub bequests: Vec<Bequest>,
    pub loss: f64,
    pub predicted: usize,
}

impl Batch {
    /// Read rows of equal length, of which the first `traced` say what the loss owes to latents; positions of tokens in
    /// `special` are read, but not counted.
    pub fn read(
        readers: &Readers,
        rows: &[Vec<u32>],
        traced: usize,
        special: &HashSet<u32>,
        tick: Tick,
    ) -> Result<Self> {
        let ids = rows.concat();
        let counts: Vec<bool> = ids.iter().map(|id| !special.contains(id)).collect();
        let at: Vec<u32> = counts.iter().zip(0..).filter(|(counts, _)| **counts).map(|(_, at)| at).collect();
        let (original, transfer) = (&readers.original, &readers.transfer);
        let captured = original.model.capture(&token_tensor(rows, &original.model)?, original.hook, tick)?;
        let pruned = if Arc::ptr_eq(&original.model, &transfer.model) {
            captured.clone()
        } else {
            transfer.model.capture(&token_tensor(rows, &transfer.model)?, transfer.hook, tick)?
        };
        let to_trace = if traced == 0 || Arc::ptr_eq(&original.model, &readers.traced) {
            captured.clone()
        } else {
            readers.traced.capture(&token_tensor(rows, &readers.traced)?, original.hook, tick)?
        };
        let gradient = Gradient::of(&readers.traced, &to_trace, rows, traced, &counts, tick)?;
        let of_traced = traced.min(rows.len()) * captured.time();
        let d_sae = original.sae.d_sae();
        let mut batch = Self {
            masked: ids.len() - at.len(),
            tokens: at.iter().map(|at| ids[*at as usize]).collect(),
            original: Latents::new(d_sae),
            transfer: Latents::new(d_sae),
            pruned: Latents::new(d_sae),
            trained: readers.trained.as_ref().map(|reader| Latents::new(reader.sae.d_sae())),
            grid: vec![vec![0.0; d_sae]; readers.ratios.len()],
            traced: at.iter().filter(|at| (**at as usize) < of_traced).count(),
            slopes: Vec::new(),
            scaling: Vec::new(),
            bequests: Vec::new(),
            loss: gradient.loss,
            predicted: gradient.predicted,
        };
        if !at.is_empty() {
            let counted =
                |x: &Tensor| -> Result<Tensor> { Ok(x.index_select(&Tensor::new(at.as_slice(), x.device())?, 0)?) };
            let inputs = Inputs {
                original: counted(&original.input(&captured)?)?,
                pruned: counted(&transfer.input(&pruned)?)?,
                trained: readers.trained.as_ref().map(|reader| counted(&reader.input(&pruned)?)).transpose()?,
                gradient: counted(&gradient.by_acts)?,
            };
            batch.encode(readers, &inputs, tick)?;
        }
        Ok(batch)
    }

    /// A few positions at a time, so that a wide SAE does not keep the user waiting.
    fn encode(&mut self, readers: &Readers, inputs: &Inputs, tick: Tick) -> Result<()> {
        let (n, d_in) = inputs.original.dims2()?;
        let chunk = tokens_at_once((2 * d_in * readers.original.sae.d_sae()) as f64, readers.original.sae.device());
        for start in (0..n).step_by(chunk) {
            let part = inputs.part(start, chunk.min(n - start))?;
            let original = self.compare(readers, &part, start < self.traced, tick)?;
            tick()?;
            let live = readers.pruned.encode(&part.pruned)?.into_latents()?;
            self.bequests.extend(bequests(readers.original.sae.sae(), &readers.weights, &original, &live)?);
            self.pruned.extend(&live);
            self.at_ratios(readers, &part.pruned, &live, tick)?;
            if let (Some(reader), Some(latents), Some(x)) = (&readers.trained, &mut self.trained, &part.trained) {
                tick()?;
                latents.extend(reader.encode(x)?.latents()?);
            }
        }
        Ok(())
    }

    /// The SAE at every setting; `live` are its latents at the one of `pruned`.
    fn at_ratios(&mut self, readers: &Readers, x: &Tensor, live: &Latents, tick: Tick) -> Result<()> {
        let (ratios, n) = (&readers.ratios, x.dim(0)?);
        let is_live = |at: &usize| ratios[*at] == readers.pruning.at;
        let others: Vec<usize> = (0..ratios.len()).filter(|at| !is_live(at)).collect();
        // Settings that share no terms take turns, so that nobody waits for all of them.
        let (settings, tokens) = if readers.together() { (others.len(), TOKENS) } else { (1, n) };
        for start in (0..n).step_by(tokens.max(1)) {
            let part = x.narrow(0, start, tokens.min(n - start))?;
            for others in others.chunks(settings.max(1)) {
                tick()?;
                let at: Vec<f64> = others.iter().map(|at| ratios[*at]).collect();
                let found = readers.pruned.sae.encode_at(&part, &readers.pruning.order, &at)?;
                for (at, latents) in others.iter().zip(&found) {
                    add(&mut self.grid[*at], latents);
                }
            }
        }
        (0..ratios.len()).filter(is_live).for_each(|at| add(&mut self.grid[at], live));
        Ok(())
    }

    /// The unpruned SAE on both models; its latents on the original one.
    fn compare(&mut self, readers: &Readers, part: &Inputs, traced: bool, tick: Tick) -> Result<Latents> {
        let of = |reader: &Reader, x: &Tensor| -> Result<(Encoded, Vec<f32>)> {
            let encoded = reader.encode(x)?;
            let recon = with_f32(&reader.decode(&encoded)?, <[f32]>::to_vec)?;
            Ok((encoded, recon))
        };
        tick()?;
        let (original, recon) = of(&readers.original, &part.original)?;
        tick()?;
        let (transfer, other_recon) = of(&readers.transfer, &part.pruned)?;
        tick()?;
        let (x, other_x) = (with_f32(&part.original, <[f32]>::to_vec)?, with_f32(&part.pruned, <[f32]>::to_vec)?);
        let targets = Targets { x: [&x, &other_x], recon: [&recon, &other_recon] };
        let sae = readers.original.sae.sae();
        self.scaling.extend(Scaling::of(sae, &readers.weights, &original, &targets)?);
        tick()?;
        match traced {
            true => self.slopes.extend(readers.original.sae.decode_vjp(&original, None, &part.gradient)?),
            false => self.slopes.extend(std::iter::repeat_n(0.0, original.latents()?.values.len())),
        }
        self.original.extend(original.latents()?);
        self.transfer.extend(transfer.latents()?);
        original.into_latents()
    }
}

/// Activations at the hook, in each SAE's space, and the gradient by the original's: `[n, d_in]` each.
struct Inputs {
    original: Tensor,
    pruned: Tensor,
    trained: Option<Tensor>,
    gradient: Tensor,
}

impl Inputs {
    fn part(&self, start: usize, len: usize) -> Result<Self> {
        let part = |x: &Tensor| -> Result<Tensor> { Ok(x.narrow(0, start, len)?.contiguous()?) };
        Ok(Self {
            original: part(&self.original)?,
            pruned: part(&self.pruned)?,
            trained: self.trained.as_ref().map(part).transpose()?,
            gradient: part(&self.gradient)?,
        })
    }
}

fn add(masses: &mut [f64], latents: &Latents) {
    for (latent, value) in latents.indices.iter().zip(&latents.values) {
        // What is not above 0 is no firing.
        masses[*latent as usize] += f64::from(value.max(0.0));
    }
}
