//! Latents of an atlas that say something, with what death is laid against: from the whole text, or from some blocks of its rows.

use prunelens_core::error::{Error, Result};

use super::{Options, kinds::Kind};
use crate::atlas::{Atlas, Block};
use crate::statistics::{Sorted, quantile};

/// What may go with a latent's death: names for people, and for files.
pub const PREDICTORS: [(&str, &str); 6] = [
    ("density", "density.original"),
    ("strength where it fires", "mean.original"),
    ("encoder norm", "enc_norm"),
    ("decoder norm", "dec_norm"),
    ("importance, without sign", "importance"),
    ("token entropy", "token_entropy.original"),
];
/// Places in [`PREDICTORS`].
const DENSITY: usize = 0;
const IMPORTANCE: usize = 4;
const ENTROPY: usize = 5;
/// A column that varies by less of its mean is constant but for rounding.
const CONSTANT: f64 = 1e-4;

/// What does not come from rows, or of which blocks keep nothing: of the latents that count.
pub struct Fixed {
    enc_norm: Vec<f64>,
    dec_norm: Vec<f64>,
    entropy: Vec<f64>,
}

/// Sums over some text, of the latents that count.
pub struct Totals {
    positions: f64,
    predicted: f64,
    fired: Vec<f64>,
    original: Vec<f64>,
    transfer: Vec<f64>,
    attribution: Vec<f64>,
    grid: Vec<Vec<f64>>,
}

/// An atlas and the latents of it that count.
pub struct Base {
    /// Their numbers.
    pub latents: Vec<usize>,
    pub ratios: Vec<f64>,
    fixed: Fixed,
    blocks: Vec<Block>,
    /// From the whole text.
    pub whole: Sample,
}

/// What figures are computed from: a number a latent that counts.
pub struct Sample {
    /// 0 for those of which the text has nothing.
    pub there: Vec<u32>,
    /// In the order of [`PREDICTORS`].
    pub predictors: Vec<Column>,
    /// First ratio at which less than half of the mass in transfer is left, 1 if there is none.
    pub half: Column,
    /// Mass in transfer over mass in original.
    pub transfer: Column,
    /// Mass at each ratio over mass in original.
    pub kept: Vec<Vec<f64>>,
    /// First-order change of the loss when the latent is ablated, in nats.
    pub importance: Vec<f64>,
    pub kinds: Vec<Kind>,
}

/// Values with their order.
pub struct Column {
    pub values: Vec<f64>,
    pub sorted: Sorted,
}

impl Column {
    fn new(values: Vec<f64>) -> Self {
        Self { sorted: Sorted::new(&values), values }
    }

    /// All but equal.
    pub fn is_constant(&self) -> bool {
        let n = self.values.len() as f64;
        let mean = self.values.iter().sum::<f64>() / n;
        let variance = self.values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        variance.sqrt() <= CONSTANT * mean.abs()
    }
}

impl Base {
    /// Latents that fire often enough, have mass on the pruned model, and an importance.
    pub fn new(atlas: &Atlas, blocks: Vec<Block>, options: &Options) -> Result<Self> {
        let about = &atlas.about;
        let column = |name: &str| {
            let missing = || Error::file(&atlas.path, format!("has no column {name}; run the atlas again"));
            atlas.column(name).ok_or_else(missing)
        };
        let (density, importance) = (column("density.original")?, column("importance")?);
        let (original, transfer) = (column("mass.original")?, column("mass.transfer")?);
        let fired = |latent: usize| (density[latent] * about.positions as f64).round();
        let counts = |latent: &usize| {
            fired(*latent) >= options.firings as f64 && transfer[*latent] > 0.0 && !importance[*latent].is_nan()
        };
        let latents: Vec<usize> = (0..about.d_sae).filter(counts).collect();
        if latents.len() < options.fewest {
            return Err(Error::file(
                &atlas.path,
                format!(
                    "only {} of {} latents fire {} times or more in rows of which importance is known, {} are needed; measure more rows, or lower --firings",
                    latents.len(),
                    about.d_sae,
                    options.firings,
                    options.fewest
                ),
            ));
        }
        let of = |values: &[f64]| -> Vec<f64> { latents.iter().map(|latent| values[*latent]).collect() };
        let grid = about.ratios.iter().map(|ratio| Ok(of(column(&format!("mass.pruned.{ratio}"))?)));
        let totals = Totals {
            positions: about.positions as f64,
            predicted: about.predicted as f64,
            fired: latents.iter().map(|latent| fired(*latent)).collect(),
            original: of(original),
            transfer: of(transfer),
            attribution: latents.iter().map(|latent| -importance[*latent] * about.predicted as f64).collect(),
            grid: grid.collect::<Result<_>>()?,
        };
        let fixed = Fixed {
            enc_norm: of(column("enc_norm")?),
            dec_norm: of(column("dec_norm")?),
            entropy: of(column("token_entropy.original")?),
        };
        let whole = Sample::new(&totals, &fixed, &about.ratios, options);
        Ok(Self { latents, ratios: about.ratios.clone(), fixed, blocks, whole })
    }

    /// Blocks of rows, if it has any.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The same latents from a text that has each block of rows so many times.
    pub fn redrawn(&self, times: &[u32], options: &Options) -> Sample {
        let blocks = || self.blocks.iter().zip(times).filter(|(_, n)| **n > 0).map(|(block, n)| (block, f64::from(*n)));
        let sum = |of: &dyn Fn(&Block) -> &Vec<f64>| {
            let mut out = vec![0.0; self.latents.len()];
            for (block, n) in blocks() {
                let values = of(block);
                out.iter_mut().zip(&self.latents).for_each(|(sum, latent)| *sum += n * values[*latent]);
            }
            out
        };
        let totals = Totals {
            positions: blocks().map(|(block, n)| n * block.positions).sum(),
            predicted: blocks().map(|(block, n)| n * block.predicted).sum(),
            fired: sum(&|block| &block.fired),
            original: sum(&|block| &block.original),
            transfer: sum(&|block| &block.transfer),
            attribution: sum(&|block| &block.attribution),
            grid: (0..self.ratios.len()).map(|at| sum(&|block| &block.grid[at])).collect(),
        };
        Sample::new(&totals, &self.fixed, &self.ratios, options)
    }
}

impl Sample {
    fn new(totals: &Totals, fixed: &Fixed, ratios: &[f64], options: &Options) -> Self {
        let n = totals.fired.len();
        let there: Vec<u32> =
            (0..n).map(|at| u32::from(totals.original[at] > 0.0 && totals.transfer[at] > 0.0)).collect();
        // What is not there has no figures; 0 has its place in an order, unlike NaN.
        let each = |of: &dyn Fn(usize) -> f64| -> Vec<f64> {
            (0..n).map(|at| if there[at] > 0 { of(at) } else { 0.0 }).collect()
        };
        let importance = each(&|at| -totals.attribution[at] / totals.predicted);
        let half = each(&|at| {
            let gone = |grid: &&Vec<f64>| grid[at] < totals.transfer[at] / 2.0;
            totals.grid.iter().position(|grid| gone(&grid)).map_or(1.0, |ratio| ratios[ratio])
        });
        let predictors = [
            each(&|at| totals.fired[at] / totals.positions),
            each(&|at| totals.original[at] / totals.fired[at]),
            fixed.enc_norm.clone(),
            fixed.dec_norm.clone(),
            importance.iter().map(|v| v.abs()).collect(),
            fixed.entropy.clone(),
        ];
        let kinds = kinds(&predictors, &there, options);
        Self {
            kept: totals.grid.iter().map(|grid| each(&|at| grid[at] / totals.original[at])).collect(),
            transfer: Column::new(each(&|at| totals.transfer[at] / totals.original[at])),
            predictors: predictors.into_iter().map(Column::new).collect(),
            half: Column::new(half),
            there,
            importance,
            kinds,
        }
    }
}

/// By quantiles among those that are there.
fn kinds(predictors: &[Vec<f64>; PREDICTORS.len()], there: &[u32], options: &Options) -> Vec<Kind> {
    let cut = |of: usize, share: f64| {
        let values: Vec<f64> = predictors[of].iter().zip(there).filter(|(_, n)| **n > 0).map(|(v, _)| *v).collect();
        quantile(&values, share)
    };
    let dense = cut(DENSITY, options.dense);
    let important = cut(IMPORTANCE, options.important);
    let (specific, polysemantic) = (cut(ENTROPY, options.specific), cut(ENTROPY, options.polysemantic));
    let kind = |at: usize| {
        let [density, importance, entropy] = [DENSITY, IMPORTANCE, ENTROPY].map(|of| predictors[of][at]);
        if density >= dense && importance < important {
            Kind::DenseUnimportant
        } else if density < dense && entropy < specific {
            Kind::RareSpecific
        } else if entropy >= polysemantic {
            Kind::Polysemantic
        } else {
            Kind::Other
        }
    };
    (0..there.len()).map(kind).collect()
}
