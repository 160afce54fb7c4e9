//! Each kernel's time on a GPU beside what the same GPU can do: how fast it copies, and how fast it multiplies.

use candle_core::{DType, Tensor};
use prunelens_core::{
    error::Result,
    prune::Sparsity,
    sae::{Latents, grid_ratio},
};
use prunelens_kernels::{Group, cut};
use prunelens_kernels::{
    attention::Heads,
    device::{self, Backend, Buffer, DeviceRanks, Encoder, Lists, Matrix, Pairs, Route, layers},
    encode::STEPS,
};
use serde::Serialize;

use super::{round, shape::random};

/// What was measured on a GPU in one run.
#[derive(Clone, Debug, Serialize)]
pub struct CardFigures {
    /// Bytes read and written together, of a copy within the GPU's memory.
    pub copy_gb_per_s: f64,
    /// The library's matrix product of squares.
    pub f32_tflops: f64,
    pub bf16_tflops: f64,
    pub kernels: Vec<KernelFigures>,
}

/// A kernel with all that its function does around it.
#[derive(Clone, Debug, Serialize)]
pub struct KernelFigures {
    pub kernel: String,
    pub shape: String,
    /// What it has to read and write at the least.
    pub bytes: u64,
    /// Multiplications and additions it has to do at the least; 0 where they are not the point.
    pub operations: u64,
    /// Median, by events on the GPU.
    pub ms: f64,
    /// Bytes a second as a share of the copy's.
    pub of_copy: f64,
    /// Operations a second as a share of the f32 product's.
    pub of_product: f64,
}

/// How large everything is; the tests take less.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub d_in: usize,
    pub d_sae: usize,
    pub vocab: usize,
    /// Numbers of the copy, and side of the squares.
    pub copied: usize,
    pub side: usize,
    /// Tokens of a prompt; the encoder is timed around it too.
    pub tokens: usize,
    /// Behind a median, and launches in each.
    pub repeats: usize,
}

impl Sizes {
    pub fn of(d_in: usize, d_sae: usize, vocab: usize) -> Self {
        Self { d_in, d_sae, vocab, copied: 1 << 28, side: 8192, tokens: 64, repeats: 5 }
    }
}

/// Latents that fire on a token, as Gemma Scope's do.
const ACTIVE: usize = 80;
const RATIO: f64 = 0.5;

fn median_ms(backend: &dyn Backend, repeats: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut times = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        times.push(backend.time(&mut || (0..repeats).try_for_each(|_| work()))? / repeats as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[repeats / 2])
}

/// Kernels timed one after the other.
struct Bench<'a> {
    backend: &'a dyn Backend,
    /// Bytes and operations a millisecond.
    copy: f64,
    product: f64,
    repeats: usize,
    done: Vec<KernelFigures>,
}

impl Bench<'_> {
    fn time(
        &mut self,
        kernel: &str,
        shape: String,
        (bytes, operations): (usize, usize),
        work: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let ms = median_ms(self.backend, self.repeats, work)?;
        self.done.push(KernelFigures {
            kernel: kernel.into(),
            shape,
            bytes: bytes as u64,
            operations: operations as u64,
            ms: round(ms),
            of_copy: round(bytes as f64 / ms / self.copy),
            of_product: round(operations as f64 / ms / self.product),
        });
        Ok(())
    }
}

/// All kernels at some sizes, on random numbers.
pub fn measure(backend: &dyn Backend, sizes: Sizes) -> Result<CardFigures> {
    let Sizes { d_in, d_sae, vocab, copied, side, tokens, repeats } = sizes;
    let random_on_device = |rows: usize, columns: usize, seed: u64| -> Result<Tensor> {
        Ok(random((rows, columns), 1.0, seed)?.to_device(backend.device())?)
    };
    let numbers = Tensor::zeros(copied, DType::F32, backend.device())?;
    let copy = 8.0 * copied as f64 / median_ms(backend, repeats, || Ok(numbers.copy().map(drop)?))?;
    drop(numbers);
    let square = random_on_device(side, side, 1)?;
    let multiply = |x: &Tensor| -> Result<f64> {
        let ms = median_ms(backend, repeats, || Ok(x.matmul(x).map(drop)?))?;
        Ok(2.0 * (side as f64).powi(3) / ms)
    };
    let product = multiply(&square)?;
    let bf16 = multiply(&square.to_dtype(DType::BF16)?)?;
    drop(square);

    let mut bench = Bench { backend, copy, product, repeats, done: Vec::new() };
    let weight = random_on_device(d_sae, d_in, 2)?;
    let matrix = Matrix::of(backend, &weight)?;
    let weights = d_sae * d_in;
    let norms = Buffer::from_slice(backend, &vec![1.0_f32; d_in.max(d_sae)][..d_in])?;
    let both = format!("{d_sae} x {d_in}");
    let ranked = (2 + 4) * weights;
    bench.time("ranks of rows", both.clone(), (ranked, 0), || {
        device::ranks(backend, &matrix.values, (d_sae, d_in), Group::Row, Some(&norms)).map(drop)
    })?;
    bench.time("ranks of columns", both.clone(), (ranked, 0), || {
        device::ranks(backend, &matrix.values, (d_sae, d_in), Group::Column, None).map(drop)
    })?;
    let ranks = device::ranks(backend, &matrix.values, (d_sae, d_in), Group::Row, None)?;
    let mask = Some((&ranks, cut(d_in, RATIO)));
    // SAEs whose weights fit 16 bits are kept in them.
    let narrow = Matrix::of(backend, &weight.to_dtype(DType::BF16)?)?;
    for matrix in [&matrix, &narrow] {
        // Whatever is masked reads a weight and its rank.
        let (name, width) = (matrix.values.name(), matrix.values.width());
        let masked = (width + ranks.width()) * weights;
        bench.time(&format!("mask {name}"), both.clone(), (masked + width * weights, 0), || {
            device::mask(backend, matrix, mask, 0..d_sae).map(drop)
        })?;
        bench.time(&format!("row norms {name}"), both.clone(), (masked, 2 * weights), || {
            device::row_norms(backend, matrix, mask).map(drop)
        })?;
        encoders(&mut bench, matrix, &ranks, tokens)?;
    }
    drop(narrow);
    lists(&mut bench, &matrix, &ranks, tokens)?;
    pruning(&mut bench, &weight)?;
    between(&mut bench, d_in, tokens)?;
    logits(&mut bench, tokens, vocab)?;
    Ok(CardFigures {
        copy_gb_per_s: round(copy / 1e6),
        f32_tflops: round(product / 1e9),
        bf16_tflops: round(bf16 / 1e9),
        kernels: bench.done,
    })
}

/// The masked encoder by every route, around the numbers of tokens at which the route changes.
fn encoders(bench: &mut Bench, matrix: &Matrix, ranks: &DeviceRanks, tokens: usize) -> Result<()> {
    let (backend, d_sae, d_in) = (bench.backend, matrix.rows, matrix.columns);
    let bias = Buffer::from_slice(backend, &vec![0.0_f32; d_sae])?;
    let mask = Some((ranks, cut(d_in, RATIO)));
    let encoder = Encoder { matrix, mask, bias: &bias, scale: None, floors: None };
    for n in [1, tokens / 8, tokens / 4, tokens / 2, tokens, 2 * tokens, 4 * tokens, 8 * tokens] {
        let x = random((n, d_in), 1.0, 3)?.to_device(backend.device())?;
        let bytes = (matrix.values.width() + ranks.width()) * d_sae * d_in + 4 * n * (d_in + d_sae);
        for route in [Route::Few, Route::Square, Route::Product] {
            let taken = if Route::of(n) == route { " (taken)" } else { "" };
            let shape = format!("{n} x {d_in} x {d_sae}");
            let name = format!("encode {}, {route:?}{taken}", matrix.values.name());
            bench.time(&name, shape, (bytes, 2 * n * d_in * d_sae), || {
                device::encode(backend, &encoder, &x, route).map(drop)
            })?;
        }
    }
    Ok(())
}

/// What works on latents: finding those that fire, decoding them, following them over all ratios.
fn lists(bench: &mut Bench, matrix: &Matrix, ranks: &DeviceRanks, tokens: usize) -> Result<()> {
    let (backend, d_sae, d_in) = (bench.backend, matrix.rows, matrix.columns);
    let active = ACTIVE.min(d_sae);
    let mut latents = Latents::new(d_sae);
    for token in 0..tokens {
        let place = |at: usize| (at * d_sae / active + token % (d_sae / active)) as u32;
        latents.push_row((0..active).map(|at| (place(at), 1.0 + at as f32)));
    }
    let dense = Buffer::from_slice(backend, &latents.dense())?;
    let table = 4 * tokens * d_sae;
    let shape = format!("{tokens} x {d_sae}");
    bench.time("active latents", shape.clone(), (table, 0), || device::active(backend, &dense, d_sae).map(drop))?;
    bench.time(&format!("top {}", active / 2), shape, (table, 0), || {
        device::top_k(backend, &dense, d_sae, active / 2).map(drop)
    })?;
    let pairs = latents.indices.len();
    let (kept, shape) = (pairs * d_in * (4 + ranks.width()), format!("{pairs} pairs x {d_in}"));
    let listed = Lists::from_latents(backend, &latents)?;
    let bias = Buffer::from_slice(backend, &vec![0.0_f32; d_in])?;
    let mask = Some((ranks, cut(d_in, RATIO)));
    bench.time("decode", shape.clone(), (kept, 2 * pairs * d_in), || {
        device::decode(backend, &listed, matrix, mask, &bias, None).map(drop)
    })?;
    let on_device = Pairs::new(backend, &latents)?;
    let cuts: [u32; STEPS] = std::array::from_fn(|step| cut(d_in, grid_ratio(step)));
    let x = Buffer::<f32>::of(backend, &random((tokens, d_in), 1.0, 4)?.to_device(backend.device())?)?;
    let bias = Buffer::from_slice(backend, &vec![0.0_f32; d_sae])?;
    let paths = || device::paths(backend, matrix, ranks, &bias, &x, &on_device, &cuts, None);
    bench.time("paths", shape, (kept, 2 * pairs * d_in), || paths().map(drop))?;
    let (paths, counts) = (paths()?, vec![true; tokens]);
    bench.time("survivors", format!("{pairs} pairs x {STEPS}"), (4 * pairs * STEPS, 0), || {
        device::survivors(backend, &paths, &on_device, None, &counts).map(drop)
    })
}

/// A matrix of a model pruned, and the norms of what it reads.
fn pruning(bench: &mut Bench, weight: &Tensor) -> Result<()> {
    let backend = bench.backend;
    let (rows, columns) = weight.dims2()?;
    let (rows, columns) = (rows.min(4 * columns), columns - columns % 4);
    let weight = weight.narrow(0, 0, rows)?.narrow(1, 0, columns)?.contiguous()?.to_dtype(DType::BF16)?;
    let norms = vec![1.0; columns];
    let shape = format!("{rows} x {columns} bf16");
    for (name, sparsity) in [("prune half", Sparsity::Ratio(RATIO)), ("prune 2:4", Sparsity::NM(2, 4))] {
        bench.time(name, shape.clone(), (4 * rows * columns, 0), || {
            device::prune(backend, &weight, Some(&norms), sparsity).map(drop)
        })?;
    }
    bench.time("column squares", shape, (2 * rows * columns, 2 * rows * columns), || {
        device::column_squares(backend, &weight).map(drop)
    })
}

/// What stands between a block's matrix products, in bf16: a norm, heads of 64 with their positions, attention's weights.
fn between(bench: &mut Bench, d_in: usize, tokens: usize) -> Result<()> {
    let backend = bench.backend;
    let (width, n) = (64.min(d_in), (d_in / 64).max(1));
    let heads = Heads { heads: n, kv_heads: n, width, scale: 0.125, softcap: None, window: None };
    let random_on_device = |rows, columns| -> Result<Tensor> {
        Ok(random((rows, columns), 1.0, 7)?.to_dtype(DType::BF16)?.to_device(backend.device())?)
    };
    let (x, qkv) = (random_on_device(tokens, d_in)?, random_on_device(tokens, heads.row())?);
    let norm = layers::Norm { centred: false, eps: 1e-6, weight: None, bias: None };
    bench.time("norm", format!("{tokens} x {d_in}"), (4 * tokens * d_in, 0), || {
        layers::norm(backend, &x, norm).map(drop)
    })?;
    let table = random((tokens, width / 2), 1.0, 8)?.to_device(backend.device())?;
    let both = 4 * tokens * heads.row();
    bench.time("split heads", format!("{tokens} x {}", heads.row()), (both, 0), || {
        layers::split_heads(backend, &qkv, (1, tokens), heads, None, Some((&table, &table))).map(drop)
    })?;
    let products = random_on_device(n * tokens, tokens)?;
    bench.time("attention's weights", format!("{n} x {tokens} x {tokens}"), (4 * n * tokens * tokens, 0), || {
        layers::attend(backend, &products, heads).map(drop)
    })
}

/// Two rows of logits compared.
fn logits(bench: &mut Bench, tokens: usize, vocab: usize) -> Result<()> {
    let (backend, targets) = (bench.backend, vec![0; tokens]);
    let row = |seed| -> Result<Tensor> { Ok(random((tokens, vocab), 1.0, seed)?.to_device(backend.device())?) };
    let (p, q) = (row(5)?, row(6)?);
    bench.time("losses", format!("{tokens} x {vocab}"), (8 * tokens * vocab, 0), || {
        device::losses(backend, &p, &q, &targets).map(drop)
    })
}

/// A table for people.
pub fn table(figures: &CardFigures) -> String {
    let mut lines = vec![
        format!("{:<30} {} GB/s", "copy", figures.copy_gb_per_s),
        format!("{:<30} {} TFLOPS in f32, {} in bf16", "matrix product", figures.f32_tflops, figures.bf16_tflops),
        format!("{:<30} {:<26} {:>10} {:>9} {:>9}", "kernel", "shape", "ms", "of copy", "of f32"),
    ];
    lines.extend(figures.kernels.iter().map(|k| {
        let share = |share: f64| format!("{:.1} %", 100.0 * share);
        format!("{:<30} {:<26} {:>10.3} {:>9} {:>9}", k.kernel, k.shape, k.ms, share(k.of_copy), share(k.of_product))
    }));
    lines.join("\n")
}
