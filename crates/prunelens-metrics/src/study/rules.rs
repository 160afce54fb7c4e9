//! Which rule of pruning the model keeps latents alive, at equal sparsity.

use prunelens_core::{
    error::{Error, Result},
    rng::Rng,
};
use serde::{Deserialize, Serialize};

use crate::{
    atlas::{
        Atlas, Block,
        fate::{DEAD, WEAKENED},
    },
    statistics::{Interval, Resampled, draw},
    sweep::LayerResult,
};

/// Resamples of blocks of rows.
const RESAMPLES: usize = 2000;
/// Latents that fire fewer times on the original model do not count.
pub const FIRINGS: f64 = 10.0;
/// Shares of zeros that lie further apart are not equal.
pub const EQUAL: f64 = 0.01;

/// What is measured of one rule, beside its atlas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleFigures {
    /// Share of the weights of the blocks' matrices that are 0.
    pub zeros: f64,
    /// The SAE untouched on both models, and pruned on the pruned one.
    pub curves: LayerResult,
}

/// A share of latents, over all rows, and where it may lie by resampling blocks of rows; and how far it is from the first rule's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Over all rows.
    pub value: f64,
    /// None of an atlas without blocks.
    pub interval: Option<Interval>,
    /// This less the first rule's, with the same draws.
    pub against_first: Option<(f64, Option<Interval>)>,
}

/// Latents that outlive one rule.
#[derive(Clone, Debug, Serialize)]
pub struct Survival {
    /// Latents that count.
    pub latents: usize,
    /// Of them with half or more of their mass, on the pruned model.
    pub half: Share,
    /// Of them with less than a hundredth of it.
    pub dead: Share,
    /// Of them with half or more of their mass, with the SAE pruned as well.
    pub half_pruned: Share,
    /// Mean correlation of activations on both models, of those that have one.
    pub correlation: f64,
}

/// Shares of one atlas in a text that has each block so many times: half, dead, half with the SAE pruned.
const SHARES: usize = 3;

struct Masses<'a> {
    latents: Vec<usize>,
    blocks: &'a [Block],
}

impl Masses<'_> {
    fn shares(&self, times: &[u32]) -> Vec<f64> {
        let sum = |of: &dyn Fn(&Block) -> f64| -> f64 {
            self.blocks.iter().zip(times).filter(|(_, n)| **n > 0).map(|(block, n)| f64::from(*n) * of(block)).sum()
        };
        let mut counts = [0.0; SHARES];
        let mut there = 0.0;
        for latent in &self.latents {
            let original = sum(&|block| block.original[*latent]);
            if original > 0.0 {
                there += 1.0;
                let transfer = sum(&|block| block.transfer[*latent]);
                let pruned = sum(&|block| block.grid.last().map_or(f64::NAN, |grid| grid[*latent]));
                add(&mut counts, [original, transfer, pruned]);
            }
        }
        counts.map(|n| n / there).into()
    }
}

fn add(counts: &mut [f64; SHARES], [original, transfer, pruned]: [f64; 3]) {
    counts[0] += f64::from(transfer >= WEAKENED * original);
    counts[1] += f64::from(transfer < DEAD * original);
    counts[2] += f64::from(pruned >= WEAKENED * original);
}

/// Of atlases on the same rows, a rule each; all with the same SAE, whose last ratio is the one that is pruned alike.
pub fn survival(atlases: &[Atlas], seed: u64) -> Result<Vec<Survival>> {
    let Some(first) = atlases.first() else { return Ok(Vec::new()) };
    if let Some(other) = atlases.iter().find(|atlas| atlas.about.tokens_sha256 != first.about.tokens_sha256) {
        return Err(Error::file(&other.path, format!("is of other rows than {}", first.path.display())));
    }
    let blocks = atlases.iter().map(Atlas::blocks).collect::<Result<Vec<_>>>()?;
    let column = |atlas: &Atlas, name: &str| -> Result<Vec<f64>> {
        let found = atlas.column(name).map(<[f64]>::to_vec);
        found.ok_or_else(|| Error::file(&atlas.path, format!("has no column {name}")))
    };
    let density = column(first, "density.original")?;
    let fires = |latent: &usize| density[*latent] * first.about.positions as f64 >= FIRINGS - 0.5;
    let latents: Vec<usize> = (0..first.about.d_sae).filter(fires).collect();
    let masses: Vec<Masses> = blocks.iter().map(|blocks| Masses { latents: latents.clone(), blocks }).collect();
    let mut whole = Vec::new();
    for atlas in atlases {
        let last = atlas.about.ratios.last().copied().unwrap_or_default();
        let names = ["mass.original", "mass.transfer", &format!("mass.pruned.{last}")];
        let [original, transfer, pruned] = names.map(|name| column(atlas, name));
        let (original, transfer, pruned) = (original?, transfer?, pruned?);
        let mut counts = [0.0; SHARES];
        latents.iter().for_each(|at| add(&mut counts, [original[*at], transfer[*at], pruned[*at]]));
        whole.push(counts.map(|n| n / latents.len() as f64));
    }
    let n = blocks.iter().map(Vec::len).min().unwrap_or(0);
    let alike = blocks.iter().all(|blocks| blocks.len() == n);
    // Shares of every rule, then their differences from the first's.
    let shares = || whole.iter().flatten().copied();
    let less_first = whole.iter().flat_map(|of| of.iter().zip(&whole[0]).map(|(a, b)| a - b));
    let values: Vec<f64> = shares().chain(less_first).collect();
    let intervals = (n > 0 && alike).then(|| {
        let resampled = Resampled::new(RESAMPLES, |at| {
            let times = draw(n, &mut Rng::new(seed, at));
            let shares: Vec<Vec<f64>> = masses.iter().map(|masses| masses.shares(&times)).collect();
            let less_first = shares.iter().flat_map(|of| of.iter().zip(&shares[0]).map(|(a, b)| a - b));
            shares.iter().flatten().copied().chain(less_first).collect()
        });
        resampled.around(&values)
    });
    let share = |rule: usize, of: usize| {
        let at = rule * SHARES + of;
        let interval = |at: usize| intervals.as_ref().map(|found| found[at]);
        let less_first = at + atlases.len() * SHARES;
        let difference = (values[less_first], interval(less_first));
        Share { value: whole[rule][of], interval: interval(at), against_first: (rule > 0).then_some(difference) }
    };
    let of = |(rule, atlas): (usize, &Atlas)| {
        let corr = column(atlas, "corr.transfer")?;
        let known: Vec<f64> = latents.iter().map(|at| corr[*at]).filter(|r| !r.is_nan()).collect();
        Ok(Survival {
            latents: latents.len(),
            half: share(rule, 0),
            dead: share(rule, 1),
            half_pruned: share(rule, 2),
            correlation: known.iter().sum::<f64>() / known.len() as f64,
        })
    };
    atlases.iter().enumerate().map(of).collect()
}
