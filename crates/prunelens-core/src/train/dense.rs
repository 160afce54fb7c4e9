//! Loss and gradients where many latents fire: matrix products throughout, with a rule for what becomes of one token's
//! pre-activations in between.

use prunelens_kernels::{matmul::View, simd::dispatch};
use rayon::prelude::*;

use super::{
    figures::Sums,
    gradients::{ByLatent, Gradients, Matrices, Outcome, Task, encoder_path},
    linalg::{axpy, dot, made, product, sized, zeroed},
};

/// What a kind makes of pre-activations, and its own loss, a token at a time.
pub trait Rule: Sync {
    /// Whether the gates, `relu(pre)`, reconstruct as well.
    const GATES: bool = false;

    /// Latents of pre-activations.
    fn forward(&self, pre: &[f32], latents: &mut [f32]);

    /// From gradients by the latents to those by the pre-activations, in place, with those of the rule's own loss.
    fn backward(&self, task: &Task, token: Token, by_latent: &mut [f32], columns: &mut Columns);

    /// The gradient by `b_enc`, which is that by the pre-activations unless latents have it otherwise than through them.
    fn by_b_enc(&self, columns: &Columns) -> Vec<f32> {
        columns.by_pre.clone()
    }
}

/// One token on its way back.
pub struct Token<'a> {
    pub pre: &'a [f32],
    pub latents: &'a [f32],
    /// Gradients by the gates, if they reconstruct.
    pub by_gate: &'a [f32],
}

/// Sums over tokens, one number a latent each.
#[derive(Default)]
pub struct Columns {
    pub by_pre: Vec<f32>,
    pub by_length: Vec<f32>,
    pub vectors: Vec<Vec<f32>>,
    pub fired: Vec<bool>,
    pub penalty: f64,
    pub auxiliary: f64,
    pub active: f64,
}

impl Columns {
    /// Of nothing, in the memory that is there.
    fn clear(&mut self, d_sae: usize, vectors: usize) {
        self.vectors.resize(vectors, Vec::new());
        for sums in [&mut self.by_pre, &mut self.by_length].into_iter().chain(&mut self.vectors) {
            sums.clear();
            sums.resize(d_sae, 0.0);
        }
        self.fired.clear();
        self.fired.resize(d_sae, false);
        (self.penalty, self.auxiliary, self.active) = (0.0, 0.0, 0.0);
    }

    fn add(&mut self, other: &Self) {
        let sum = |mine: &mut Vec<f32>, theirs: &Vec<f32>| mine.iter_mut().zip(theirs).for_each(|(m, t)| *m += t);
        sum(&mut self.by_pre, &other.by_pre);
        sum(&mut self.by_length, &other.by_length);
        self.vectors.iter_mut().zip(&other.vectors).for_each(|(mine, theirs)| sum(mine, theirs));
        self.fired.iter_mut().zip(&other.fired).for_each(|(mine, theirs)| *mine |= theirs);
        self.penalty += other.penalty;
        self.auxiliary += other.auxiliary;
        self.active += other.active;
    }
}

/// Latents held at a time, in numbers; up to five matrices of this size.
const BLOCK: usize = 1 << 22;

/// Tokens that one thread takes at a time; sums of parts are added in order, so that threads do not change them.
const PART: usize = 64;

/// Memory of a step, kept for the next one.
#[derive(Default)]
pub struct Room {
    centred: Vec<f32>,
    encoder: Vec<f32>,
    decoder: Vec<f32>,
    by_outputs: Vec<f32>,
    by_own_output: Vec<f32>,
    /// Of a block of tokens: pre-activations, latents, gradients by them, gates, gradients by these.
    blocks: [Vec<f32>; 5],
    parts: Vec<Columns>,
}

/// Loss and gradients of a batch.
pub fn gradients<'a, R: Rule>(task: &Task, rule: &R, room: &'a mut Room) -> Outcome<'a> {
    let weights = task.weights;
    let (d_in, d_sae, batch) = (weights.d_in, weights.d_sae, task.tokens());
    let Room { centred, encoder: by_encoder, decoder: by_decoder, by_outputs, by_own_output, blocks, parts: room } =
        room;
    let (by_encoder, by_decoder) = (zeroed(by_encoder, d_sae * d_in), zeroed(by_decoder, d_sae * d_in));
    let mut sums = Sums::new(d_in);
    let mut columns = Columns::default();
    columns.clear(d_sae, weights.vectors.len());
    // Every part of it is written before it is read.
    let by_outputs = sized(by_outputs, task.x.len());
    let centred = task.centred(centred);
    let encoder = View::contiguous(&weights.w_enc, d_sae, d_in);
    let decoder = View::contiguous(&weights.w_dec, d_sae, d_in);

    let block = (BLOCK / d_sae).clamp(1, batch.max(1));
    let [pre, latents, by_latent, gates, by_gate] = blocks;
    let (pre, latents, by_latent) =
        (sized(pre, block * d_sae), sized(latents, block * d_sae), sized(by_latent, block * d_sae));
    let gated = if R::GATES { block * d_sae } else { 0 };
    let (gates, by_gate) = (sized(gates, gated), sized(by_gate, gated));
    for first in (0..batch).step_by(block) {
        let n = block.min(batch - first);
        let range = first * d_in..(first + n) * d_in;
        let (x, centred, by_output) = (&task.x[range.clone()], &centred[range.clone()], &mut by_outputs[range]);
        let all = n * d_sae;
        let (pre, latents, by_latent) = (&mut pre[..all], &mut latents[..all], &mut by_latent[..all]);
        product(pre, d_sae, View::contiguous(centred, n, d_in), encoder.t(), false);
        pre.par_chunks_mut(d_sae).zip(latents.par_chunks_mut(d_sae)).for_each(|(pre, latents)| {
            pre.iter_mut().zip(&weights.b_enc).for_each(|(pre, b)| *pre += b);
            rule.forward(pre, latents);
        });
        // Every way back: from errors to gradients by latents and by the decoder.
        let mut reconstruct = |latents: &[f32], by_latent: &mut [f32], by_output: &mut [f32]| {
            product(by_output, d_in, View::contiguous(latents, n, d_sae), decoder, false);
            let parts = by_output.par_chunks_mut(PART * d_in).zip(x.par_chunks(PART * d_in));
            let parts: Vec<_> = parts.map(|(out, x)| errors(x, &weights.b_dec, out, 2.0 / batch as f32)).collect();
            product(by_latent, d_sae, View::contiguous(by_output, n, d_in), decoder.t(), false);
            let (latents, by_output) = (View::contiguous(latents, n, d_sae).t(), View::contiguous(by_output, n, d_in));
            product(by_decoder, d_in, latents, by_output, true);
            parts
        };
        reconstruct(latents, by_latent, by_output).iter().for_each(|part| sums.add(part));
        if R::GATES {
            let (gates, by_gate) = (&mut gates[..all], &mut by_gate[..all]);
            gates.par_iter_mut().zip(&*pre).for_each(|(gate, pre)| *gate = pre.max(0.0));
            let by_own_output = sized(by_own_output, by_output.len());
            for part in reconstruct(gates, by_gate, by_own_output) {
                sums.auxiliary += part.squared_error;
            }
            by_output.iter_mut().zip(by_own_output).for_each(|(by, own)| *by += *own);
        }
        let by_gate = &by_gate[..if R::GATES { all } else { 0 }];
        let parts = pre.par_chunks(PART * d_sae).zip(latents.par_chunks(PART * d_sae));
        let parts = parts.zip(by_latent.par_chunks_mut(PART * d_sae));
        let room = made(room, n.div_ceil(PART));
        parts.zip(&mut *room).enumerate().for_each(|(at, (((pre, latents), by_latent), columns))| {
            columns.clear(d_sae, weights.vectors.len());
            let rows = pre.chunks_exact(d_sae).zip(latents.chunks_exact(d_sae));
            for (row, ((pre, latents), by)) in rows.zip(by_latent.chunks_exact_mut(d_sae)).enumerate() {
                let by_gate = by_gate.get((at * PART + row) * d_sae..).unwrap_or_default();
                rule.backward(task, Token { pre, latents, by_gate }, by, columns);
                count(latents, by, columns);
            }
        });
        room.iter().for_each(|part| columns.add(part));
        let by_pre = View::contiguous(by_latent, n, d_sae).t();
        product(by_encoder, d_in, by_pre, View::contiguous(centred, n, d_in), true);
    }
    sums.active = columns.active;
    sums.penalty = columns.penalty;
    sums.auxiliary += columns.auxiliary;
    let b_dec = encoder_path(by_outputs, &columns.by_pre, weights);
    let b_enc = rule.by_b_enc(&columns);
    let Columns { by_length, vectors, fired, .. } = columns;
    let latents = ByLatent::Dense(Matrices { encoder: by_encoder, decoder: by_decoder, d_in });
    Outcome { sums, gradients: Gradients { b_enc, b_dec, vectors, by_length, fired, latents }, least: None }
}

dispatch! {
    /// Add a token's gradients by the pre-activations, and what fired.
    fn count(latents: &[f32], by_pre: &[f32], columns: &mut Columns) {
        axpy::<FMA>(&mut columns.by_pre, 1.0, by_pre);
        let mut active = 0u32;
        for (fired, latent) in columns.fired.iter_mut().zip(latents) {
            active += u32::from(*latent != 0.0);
            *fired |= *latent != 0.0;
        }
        columns.active += f64::from(active);
    }
}

dispatch! {
    /// From `f W_dec` to `scale (x̂ - x)`, in place.
    fn errors(x: &[f32], b_dec: &[f32], out: &mut [f32], scale: f32) -> Sums {
        let mut sums = Sums::new(b_dec.len());
        for (out, x) in out.chunks_exact_mut(b_dec.len()).zip(x.chunks_exact(b_dec.len())) {
            for ((o, x), b) in out.iter_mut().zip(x).zip(b_dec) {
                *o += b - x;
            }
            sums.tokens += 1.0;
            sums.squared_error += f64::from(dot::<FMA>(out, out));
            sums.squared_input += f64::from(dot::<FMA>(x, x));
            for (sum, x) in sums.input.iter_mut().zip(x) {
                *sum += f64::from(*x);
            }
            for o in out.iter_mut() {
                *o *= scale;
            }
        }
        sums
    }
}
