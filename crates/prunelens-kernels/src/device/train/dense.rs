//! Loss and gradients where many latents fire: matrix products throughout, with a rule for what becomes of pre-activations in
//! between. Products over latents or tokens are the library's in f32: as parts in bfloat16 their factors would first be written turned
//! and six times as wide. Twins: `core::train::{dense, relu, gated, jumprelu}`.

use candle_core::Tensor;

use super::{
    super::{encode::products, lists::count_active},
    Backend, Buffer, Gradients, Outcome, Shape, Sums, Task, address_of, bits, launch,
};
use crate::error::Result;

/// What a kind makes of pre-activations, and its own loss.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// ReLU, with an L1 penalty.
    Relu {
        /// Its weight.
        l1: f32,
    },
    /// Gates by the pre-activations, with an L1 penalty; magnitudes by `vectors`, `r_mag` and `b_mag`.
    Gated {
        /// Weight of the penalty.
        l1: f32,
    },
    /// Those above the thresholds in `vectors`.
    JumpRelu {
        /// Which sparsity loss.
        sparsity: Sparsity,
        /// Its weight.
        l0: f32,
        /// Width of the band around a threshold within which pre-activations count in its gradient.
        bandwidth: f32,
        /// Whether the step's estimated gradient reaches the pre-activations.
        to_input: bool,
        /// Weight of the loss that pulls dead latents up to their thresholds.
        pull: f32,
    },
}

/// Sparsity loss of JumpReLU, for a token.
#[derive(Clone, Copy, Debug)]
pub enum Sparsity {
    /// The number of active latents.
    Step,
    /// `Σ tanh(scale f n)`, of this scale.
    Tanh(f32),
    /// `2 (L0 - target)² / target`, of this target.
    Quadratic(f32),
}

/// Threads that keep any GPU busy: a latent and some of the tokens each.
const BUSY: usize = 1 << 18;
const THREADS: u32 = 256;
/// Sums of a latent, as in the kernels: by the pre-activation, by the decoder row's length, by two vectors, by the bias; penalty,
/// pull on dead latents, tokens on which it fires.
const FLOATS: usize = 5;
const DOUBLES: usize = 3;

/// Loss and gradients of a batch. Up to five matrices `[tokens, d_sae]` are in memory at a time.
pub fn dense(backend: &dyn Backend, task: &Task, rule: Rule) -> Result<Outcome> {
    let weights = task.weights;
    let d_sae = weights.d_sae();
    let centred = task.centred()?;
    let Forward { pre, latents, gates } = forward(backend, task, &centred, rule)?;
    let mut back = reconstruct(backend, task, &latents)?;
    let mut of_gates = None;
    if let Some(gates) = &gates {
        let own = reconstruct(backend, task, gates)?;
        (back.by_output, back.w_dec) = ((back.by_output + own.by_output)?, (back.w_dec + own.w_dec)?);
        of_gates = Some((own.by_latent, own.squares));
    }
    let by_pre = &back.by_latent;
    let by_gate = of_gates.as_ref().map(|(by_latent, _)| by_latent);
    let (floats, doubles) = backward(backend, task, rule, [&pre, &latents], by_gate, by_pre)?;
    let w_enc = by_pre.t()?.matmul(&centred)?;
    let column = |at: usize| -> Result<Tensor> { Ok(floats.get(at)?.force_contiguous()?) };
    let b_dec = Gradients::of_b_dec(&back.by_output, &column(0)?, weights)?;
    let doubles = doubles.to_vec(backend)?;
    let [squared_error, squared_input] = sums_of(backend, &back.squares)?;
    let [of_gates, _] = of_gates.map_or(Ok([0.0; 2]), |(_, squares)| sums_of(backend, &squares))?;
    let total = |at: usize| doubles[at * d_sae..(at + 1) * d_sae].iter().sum::<f64>();
    let sums = Sums {
        squared_error,
        squared_input,
        inner: 0.0,
        auxiliary: of_gates + total(1),
        penalty: total(0),
        active: total(2),
        input: task.input()?,
    };
    let gradients = Gradients {
        w_enc,
        b_enc: column(4)?,
        w_dec: back.w_dec,
        b_dec,
        vectors: (0..weights.vectors.len()).map(|at| column(2 + at)).collect::<Result<_>>()?,
        by_length: Buffer::of(backend, &column(1)?)?,
    };
    let fired = doubles[2 * d_sae..].iter().map(|active| *active > 0.0).collect();
    Ok(Outcome { sums, gradients, fired, least: None })
}

struct Forward {
    pre: Tensor,
    latents: Tensor,
    gates: Option<Tensor>,
}

fn forward(backend: &dyn Backend, task: &Task, centred: &Tensor, rule: Rule) -> Result<Forward> {
    let weights = task.weights;
    let pre = products(backend, centred, &weights.w_enc)?;
    let shape = pre.dims2()?;
    let (len, d_sae) = (pre.elem_count(), shape.1);
    let new = || Buffer::<f32>::new(backend, len);
    let (latents, gates) = (new()?, if matches!(rule, Rule::Gated { .. }) { Some(new()?) } else { None });
    let vectors = weights.vectors.iter().map(|vector| address_of(backend, vector)).collect::<Result<Vec<_>>>()?;
    let name = match rule {
        Rule::Relu { .. } => "relu_forward",
        Rule::Gated { .. } => "gated_forward",
        Rule::JumpRelu { .. } => "jumprelu_forward",
    };
    let mut arguments = vec![address_of(backend, &pre)?, address_of(backend, &weights.b_enc)?];
    arguments.extend(vectors);
    arguments.extend([len as u64, d_sae as u64, latents.address()]);
    arguments.extend(gates.as_ref().map(Buffer::address));
    launch(backend, "rules", name, Shape::over(len as u64)?, &arguments)?;
    let made = |buffer: Buffer<f32>| buffer.into_tensor(backend, &[shape.0, shape.1]);
    Ok(Forward { pre, latents: made(latents)?, gates: gates.map(made).transpose()? })
}

/// The way from latents to errors, and back.
struct Back {
    by_output: Tensor,
    by_latent: Tensor,
    w_dec: Tensor,
    /// Of errors and inputs, token by token; read when all is launched.
    squares: Buffer<f64>,
}

/// Sums of the squares of errors and of inputs.
fn sums_of(backend: &dyn Backend, squares: &Buffer<f64>) -> Result<[f64; 2]> {
    let squares = squares.to_vec(backend)?;
    Ok([0, 1].map(|of| squares.iter().skip(of).step_by(2).sum()))
}

fn reconstruct(backend: &dyn Backend, task: &Task, latents: &Tensor) -> Result<Back> {
    let weights = task.weights;
    let out = latents.matmul(&weights.w_dec)?;
    let (tokens, d_in) = out.dims2()?;
    let squares = Buffer::<f64>::new(backend, 2 * tokens)?;
    let arguments = [
        address_of(backend, task.x)?,
        address_of(backend, &weights.b_dec)?,
        d_in as u64,
        address_of(backend, &out)?,
        squares.address(),
    ];
    launch(backend, "rules", "errors", Shape::many_rows(tokens, d_in)?, &arguments)?;
    let (by_latent, w_dec) = (products(backend, &out, &weights.w_dec)?, latents.t()?.matmul(&out)?);
    Ok(Back { by_output: out, by_latent, w_dec, squares })
}

/// From gradients by the latents to those by the pre-activations, in place; and what each latent sums.
fn backward(
    backend: &dyn Backend,
    task: &Task,
    rule: Rule,
    [pre, latents]: [&Tensor; 2],
    by_gate: Option<&Tensor>,
    by_latent: &Tensor,
) -> Result<(Tensor, Buffer<f64>)> {
    let weights = task.weights;
    let (tokens, d_sae) = by_latent.dims2()?;
    let at = |tensor: &Tensor| address_of(backend, tensor);
    let lengths = task.lengths.address();
    let parts = (BUSY / d_sae.max(1)).clamp(1, tokens.clamp(1, 64));
    let floats = Buffer::<f32>::new(backend, parts * FLOATS * d_sae)?;
    let doubles = Buffer::<f64>::new(backend, parts * DOUBLES * d_sae)?;
    // Kept until the kernel is launched.
    let (counts, dead, numbers);
    let (name, mut arguments) = match rule {
        Rule::Relu { l1 } => ("relu_backward", vec![at(latents)?, lengths, bits(l1)]),
        Rule::Gated { l1 } => {
            let by_gate = by_gate.map_or(Ok(0), at)?;
            let r_mag = at(&weights.vectors[0])?;
            let arguments = vec![at(pre)?, at(latents)?, by_gate, lengths, r_mag, at(&weights.b_enc)?, bits(l1)];
            ("gated_backward", arguments)
        }
        Rule::JumpRelu { sparsity, l0, bandwidth, to_input, pull } => {
            counts = count_active(backend, at(latents)?, tokens, d_sae, d_sae)?;
            let pulled = pull > 0.0 && !task.dead.is_empty();
            let mut flags = vec![0_u32; if pulled { d_sae } else { 0 }];
            if pulled {
                task.dead.iter().for_each(|latent| flags[*latent as usize] = 1);
            }
            dead = Buffer::from_slice(backend, &flags)?;
            // As the kernel numbers them.
            let (kind, number) = match sparsity {
                Sparsity::Step => (0, 0.0),
                Sparsity::Tanh(scale) => (1, scale),
                Sparsity::Quadratic(target) => (2, target),
            };
            let to_input = if to_input { 1.0 } else { 0.0 };
            numbers = Buffer::from_slice(backend, &[number, l0, 1.0 / bandwidth, to_input, pull])?;
            let arguments = vec![
                at(pre)?,
                at(latents)?,
                lengths,
                at(&weights.vectors[0])?,
                counts.address(),
                if pulled { dead.address() } else { 0 },
                kind,
                numbers.address(),
            ];
            ("jumprelu_backward", arguments)
        }
    };
    arguments.extend([tokens as u64, d_sae as u64, at(by_latent)?, floats.address(), doubles.address()]);
    let shape = Shape::grid((d_sae as u64).div_ceil(u64::from(THREADS)), parts as u64, THREADS)?;
    launch(backend, "rules", name, shape, &arguments)?;

    let (sums, wide) = (Buffer::<f32>::new(backend, FLOATS * d_sae)?, Buffer::<f64>::new(backend, DOUBLES * d_sae)?);
    for (name, parts_at, len, out) in [
        ("sum_parts_f32", floats.address(), sums.len() as u64, sums.address()),
        ("sum_parts_f64", doubles.address(), wide.len() as u64, wide.address()),
    ] {
        launch(backend, "rules", name, Shape::over(len)?, &[parts_at, parts as u64, len, out])?;
    }
    Ok((sums.into_tensor(backend, &[FLOATS, d_sae])?, wide))
}
