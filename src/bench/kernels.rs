//! Each kernel's time on a GPU beside what the same GPU can do: how fast it copies, and how fast it multiplies.

use candle_core::{DType, Tensor};
use prunelens_core::{
    error::Result,
    prune::Sparsity,
    sae::{Latents, share},
};
use prunelens_kernels::{Group, cut};
use prunelens_kernels::{
    attention::Heads,
    device::{
        self, Backend, Buffer, DeviceRanks, Encoder, FiringCounts, Largest, Lists, Matrix, Pairs, Route, Steps,
        TextSums, attention, layers, ragged,
    },
    encode::STEPS,
    layers::Norm,
    ragged::{Kv, Tokens},
};
use serde::Serialize;

use super::{Report, round, shape::random};

/// A kernel with all that its function does around it.
#[derive(Clone, Debug, Serialize)]
struct KernelFigures<'a> {
    kernel: &'a str,
    shape: &'a str,
    /// What it has to read and write at the least.
    bytes: u64,
    /// Multiplications and additions it has to do at the least; 0 where they are not the point.
    operations: u64,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Timed {
        /// Median, by events on the GPU.
        ms: f64,
        /// Bytes a second as a share of the copy's.
        of_copy: Option<f64>,
        /// Operations a second as a share of the f32 product's.
        of_product: Option<f64>,
    },
    Failed {
        failed: String,
    },
}

impl KernelFigures<'_> {
    /// Of the table for people.
    fn line(&self) -> String {
        let (kernel, shape) = (self.kernel, self.shape);
        match &self.outcome {
            Outcome::Timed { ms, of_copy, of_product } => {
                let share = |share: &Option<f64>| share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
                format!("{kernel:<30} {shape:<26} {ms:>10.3} {:>9} {:>9}", share(of_copy), share(of_product))
            }
            Outcome::Failed { failed } => format!("{kernel:<30} {shape:<26} failed: {failed}"),
        }
    }
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
/// Prompts of tokens that a context has.
const CONTEXT: usize = 32;
/// Texts in a batch of a metric.
const TEXTS: usize = 16;

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
struct Bench<'a, 'b> {
    backend: &'a dyn Backend,
    /// Bytes and operations a millisecond; none where that could not be measured.
    copy: Option<f64>,
    product: Option<f64>,
    repeats: usize,
    report: &'a mut Report<'b>,
}

impl Bench<'_, '_> {
    fn time(
        &mut self,
        kernel: &str,
        shape: String,
        (bytes, operations): (usize, usize),
        work: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let (backend, repeats) = (self.backend, self.repeats);
        let outcome = match self.report.attempt(kernel, || median_ms(backend, repeats, work))? {
            Ok(ms) => {
                let share = |work: usize, rate: Option<f64>| rate.map(|rate| round(work as f64 / ms / rate));
                let (of_copy, of_product) = (share(bytes, self.copy), share(operations, self.product));
                Outcome::Timed { ms: round(ms), of_copy, of_product }
            }
            Err(failed) => Outcome::Failed { failed },
        };
        let (bytes, operations) = (bytes as u64, operations as u64);
        let figures = KernelFigures { kernel, shape: &shape, bytes, operations, outcome };
        self.report.item(KERNELS, &figures, &figures.line())
    }

    /// Some kernels on what has to be made for them first; that may fail, too.
    fn group(&mut self, name: &str, time: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let Err(error) = time(self) else { return Ok(()) };
        let Err(failed) = self.report.attempt(name, || Err::<(), _>(error))? else { return Ok(()) };
        let outcome = Outcome::Failed { failed };
        let figures = KernelFigures { kernel: name, shape: "", bytes: 0, operations: 0, outcome };
        self.report.item(KERNELS, &figures, &figures.line())
    }
}

/// Of the list in the report.
const KERNELS: &str = "kernels";

/// What the GPU copies and multiplies, then all kernels at some sizes, on random numbers.
pub fn measure(backend: &dyn Backend, sizes: Sizes, report: &mut Report) -> Result<()> {
    let Sizes { d_in, d_sae, vocab, copied, side, tokens, repeats } = sizes;
    // Bytes read and written together, of a copy within the GPU's memory.
    let copy = report.made("copy_gb_per_s", || {
        let numbers = Tensor::zeros(copied, DType::F32, backend.device())?;
        Ok(8.0 * copied as f64 / median_ms(backend, repeats, || Ok(numbers.copy().map(drop)?))?)
    })?;
    copy.map_or(Ok(()), |copy| report.figure("copy_gb_per_s", round(copy / 1e6)))?;
    // The library's matrix product of squares.
    let mut product = |name: &str, dtype: DType| {
        let rate = report.made(name, || {
            let x = random((side, side), 1.0, 1)?.to_device(backend.device())?.to_dtype(dtype)?;
            Ok(2.0 * (side as f64).powi(3) / median_ms(backend, repeats, || Ok(x.matmul(&x).map(drop)?))?)
        })?;
        rate.map_or(Ok(()), |rate| report.figure(name, round(rate / 1e9))).map(|()| rate)
    };
    let f32_product = product("f32_tflops", DType::F32)?;
    product("bf16_tflops", DType::BF16)?;
    report.line(&format!("{:<30} {:<26} {:>10} {:>9} {:>9}", "kernel", "shape", "ms", "of copy", "of f32"))?;
    let mut bench = Bench { backend, copy, product: f32_product, repeats, report };
    bench.group("kernels of an SAE", |bench| dictionary(bench, d_in, d_sae, tokens))?;
    bench.group("kernels between products", |bench| between(bench, d_in, tokens))?;
    bench.group("kernels of logits", |bench| logits(bench, tokens, vocab))
}

/// What works on a matrix of an SAE.
fn dictionary(bench: &mut Bench, d_in: usize, d_sae: usize, tokens: usize) -> Result<()> {
    let backend = bench.backend;
    let weight = random((d_sae, d_in), 1.0, 2)?.to_device(backend.device())?;
    let matrix = Matrix::of(backend, &weight)?;
    let weights = d_sae * d_in;
    let norms = Buffer::from_slice(backend, &vec![1.0_f32; d_in])?;
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
            device::row_norms(backend, matrix, &[mask]).map(drop)
        })?;
        bench.group(&format!("encoders of {name}"), |bench| encoders(bench, matrix, &ranks, tokens))?;
    }
    drop(narrow);
    bench.group("kernels of latents", |bench| lists(bench, &matrix, &ranks, tokens))?;
    bench.group("kernels of figures", |bench| figures(bench, d_in, CONTEXT * tokens))?;
    bench.group("kernels of cosines", |bench| cosines(bench, d_sae, tokens))?;
    bench.group("kernels of pruning", |bench| pruning(bench, &weight))
}

/// What is said of a batch of activations and of their reconstructions.
fn figures(bench: &mut Bench, d_in: usize, tokens: usize) -> Result<()> {
    let (backend, kept) = (bench.backend, vec![true; tokens]);
    let x = random((tokens, d_in), 1.0, 10)?.to_device(backend.device())?;
    let recon = random((tokens, d_in), 1.0, 11)?.to_device(backend.device())?;
    let (shape, read) = (format!("{tokens} x {d_in}"), 4 * tokens * d_in);
    bench.time("spread", shape.clone(), (2 * read, 0), || device::spread(backend, &x, &kept).map(drop))?;
    bench.time("token errors", shape, (2 * read, 0), || device::token_errors(backend, &x, &recon).map(drop))
}

/// The nearest of a part of a table of cosines: what comes after its product.
fn cosines(bench: &mut Bench, d_sae: usize, rows: usize) -> Result<()> {
    let backend = bench.backend;
    let block = random((rows, d_sae), 1.0, 12)?.to_device(backend.device())?;
    let (of_rows, of_columns) = (Largest::new(backend, rows)?, Largest::new(backend, d_sae)?);
    bench.time("nearest", format!("{rows} x {d_sae}"), (4 * rows * d_sae, 0), || {
        device::raise_largest(backend, &block, (0, 0), &of_rows, Some(&of_columns))
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
            let taken = if Route::of(n, matrix) == route { " (taken)" } else { "" };
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
    bench.time(&format!("top {}", active / 2), shape.clone(), (table, 0), || {
        device::top_k(backend, &dense, d_sae, active / 2).map(drop)
    })?;
    // All tokens in texts of four.
    let lengths: Vec<usize> = (0..tokens).step_by(4).map(|start| 4.min(tokens - start)).collect();
    let counts = vec![true; tokens];
    let divisors = vec![4.0; lengths.len()];
    let sums = TextSums { lengths: &lengths, factors: &vec![1.0; tokens], zeros: None, divisors: &divisors };
    bench.time("sums of texts", shape, (table + table / 4, 0), || {
        device::text_sums(backend, &dense, d_sae, &sums).map(drop)
    })?;
    let pairs = latents.indices.len();
    let (kept, shape) = (pairs * d_in * (4 + ranks.width()), format!("{pairs} pairs x {d_in}"));
    let listed = Lists::from_latents(backend, &latents)?;
    // Each list is read; a latent has two counts.
    bench.time("counts of firing", format!("{pairs} pairs x {d_sae}"), (8 * (pairs + d_sae), 0), || {
        FiringCounts::new(backend, d_sae, &counts, 4)?.add(backend, &listed)
    })?;
    let bias = Buffer::from_slice(backend, &vec![0.0_f32; d_in])?;
    let mask = Some((ranks, cut(d_in, RATIO)));
    bench.time("decode", shape.clone(), (kept, 2 * pairs * d_in), || {
        device::decode(backend, &listed, matrix, mask, &bias, None).map(drop)
    })?;
    let on_device = Pairs::new(backend, &latents)?;
    let cuts: [u32; STEPS] = std::array::from_fn(|step| cut(d_in, share(step)));
    let rows = random((tokens, d_in), 1.0, 4)?.to_device(backend.device())?;
    let x = Buffer::<f32>::of(backend, &rows)?;
    let bias = Buffer::from_slice(backend, &vec![0.0_f32; d_sae])?;
    let steps = Steps { matrix, ranks, bias: &bias, cuts: &cuts, scales: None };
    let paths = || device::paths(backend, &steps, &x, &on_device);
    bench.time("paths", shape, (kept, 2 * pairs * d_in), || paths().map(drop))?;
    let (all, work) = (format!("{tokens} x {d_in} x {d_sae} x {STEPS}"), 2 * tokens * d_in * d_sae);
    let bytes = d_sae * d_in * (matrix.values.width() + ranks.width()) + 8 * tokens * STEPS * d_sae;
    bench.time("last of top at all ratios", all, (bytes, work), || {
        device::last_of_steps(backend, &steps, &rows, active / 2).map(drop)
    })?;
    let paths = paths()?;
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

/// What stands between a block's matrix products: a norm in bf16, and attention of narrow and wide heads.
fn between(bench: &mut Bench, d_in: usize, tokens: usize) -> Result<()> {
    let backend = bench.backend;
    let random_on_device = |rows, columns, dtype| -> Result<Tensor> {
        Ok(random((rows, columns), 1.0, 7)?.to_dtype(dtype)?.to_device(backend.device())?)
    };
    let x = random_on_device(tokens, d_in, DType::BF16)?;
    let norm = Norm { centred: false, eps: 1e-6, weight: None, bias: None };
    bench.time("norm", format!("{tokens} x {d_in}"), (4 * tokens * d_in, 0), || {
        layers::norm(backend, &x, norm).map(drop)
    })?;
    let context = CONTEXT * tokens;
    for (width, dtype, name) in [(64, DType::BF16, "bf16"), (256, DType::BF16, "bf16"), (64, DType::F32, "f32")] {
        let heads = heads(d_in, width);
        let (n, width) = (heads.heads, heads.width);
        let qkv = random_on_device(context, heads.row(), dtype)?;
        let table = random((context, width / 2), 1.0, 8)?.to_device(backend.device())?;
        let bytes = dtype.size_in_bytes() * context * (heads.row() + heads.queries());
        // Products with keys and with values, of those that are seen.
        let operations = 2 * n * width * context * (context + 1);
        bench.time("attention", format!("{context} x {n} x {width} {name}"), (bytes, operations), || {
            attention::causal(backend, &qkv, (1, context), heads, None, Some((&table, &table))).map(drop)
        })?;
    }
    texts(bench, heads(d_in, 64), context)
}

/// As many heads of a width as a model has room for.
fn heads(d_in: usize, width: usize) -> Heads {
    let (heads, width) = ((d_in / width).max(1), width.min(d_in / 8 * 8).max(8));
    Heads { heads, kv_heads: heads, width, scale: 0.125, softcap: None, window: None }
}

/// Attention of texts side by side, and its gradient.
fn texts(bench: &mut Bench, heads: Heads, tokens: usize) -> Result<()> {
    let (backend, length) = (bench.backend, tokens / TEXTS);
    let qkv = random((TEXTS * length, heads.row()), 1.0, 13)?.to_device(backend.device())?;
    let g = random((TEXTS * length, heads.queries()), 1.0, 14)?.to_device(backend.device())?;
    let positions: Vec<usize> = (0..TEXTS).flat_map(|_| 0..length).collect();
    let (new, past) = (vec![length; TEXTS], vec![None; TEXTS]);
    let tokens = Tokens { heads, norms: None, tables: None, new: &new, positions: &positions, past: &past };
    let shape = format!("{TEXTS} x {length} x {} x {}", heads.heads, heads.width);
    let bytes = 4 * TEXTS * length * (heads.row() + heads.queries());
    let operations = 2 * heads.heads * heads.width * TEXTS * length * (length + 1);
    bench.time("attention of texts", shape.clone(), (bytes, operations), || {
        ragged::read(backend, &tokens, &qkv, &mut vec![Kv::default(); TEXTS]).map(drop)
    })?;
    let (_, traced) = ragged::trace(backend, &tokens, &qkv)?;
    // The gradient is as wide as what was read; five products where there were two.
    let bytes = bytes + 4 * TEXTS * length * heads.row();
    bench.time("gradient of attention of texts", shape, (bytes, operations / 2 * 5), || {
        ragged::vjp(backend, &tokens, &traced, &g).map(drop)
    })
}

/// Rows of logits compared with as many others as there are variants.
fn logits(bench: &mut Bench, tokens: usize, vocab: usize) -> Result<()> {
    let (backend, targets) = (bench.backend, vec![0; tokens]);
    let rows = |seed| -> Result<Tensor> {
        Ok(random((tokens, vocab), 1.0, seed)?.to_dtype(DType::BF16)?.to_device(backend.device())?)
    };
    let (p, others) = (rows(5)?, [rows(6)?, rows(7)?, rows(8)?, rows(9)?]);
    let others: Vec<&Tensor> = others.iter().collect();
    for others in [&others[..1], &others] {
        let sets = 1 + others.len();
        bench.time("losses", format!("{tokens} x {vocab} x {sets} bf16"), (2 * sets * tokens * vocab, 0), || {
            device::compare(backend, &p, others, None, &targets).map(drop)
        })?;
    }
    Ok(())
}
