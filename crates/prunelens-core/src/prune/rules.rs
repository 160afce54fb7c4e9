//! The rules by which a model is made small: how each is spelt, what it does, and what its copy shares with the original.

use std::{fmt, str::FromStr, sync::Arc};

use prunelens_kernels::Sparsity;

use super::{codes::Codes, grid::Grid, low_rank::LowRank, rtn::Rtn, second_order::Gptq, structured::Unit};
use crate::{
    error::{Error, Result},
    model::{Config, Model},
    progress::Listener,
};

/// How the compressed copy of the model is made. A new rule has its arms in this file, and its work in a file beside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Compress {
    /// The model itself.
    None,
    /// Canonical Wanda, unstructured.
    Wanda(f64),
    /// Canonical Wanda, n of every m.
    WandaNM(usize, usize),
    /// Whole heads, neurons or blocks.
    Structured(Unit, f64),
    /// The smallest weights of each output row, by magnitude.
    Magnitude(f64),
    /// What the released code of arXiv 2507.15977 does: attention only, output-side norms.
    Paper(f64),
    /// Rounding to nearest.
    Rtn(Rtn),
    /// Activation-aware scales, then rounding.
    Awq(Grid),
    /// Rounding with errors made up for.
    Gptq(Gptq),
    /// Pruning with errors made up for.
    SparseGpt(f64),
    /// The same, n of every m.
    SparseGptNM(usize, usize),
    /// Matrices whose factors take this share of their storage.
    LowRank(LowRank, f64),
    /// Wanda or magnitude in so many passes, at a ratio that grows to the last.
    Iterative(usize, Box<Compress>),
    /// One after another, each on what the one before it gave.
    Stack(Vec<Compress>),
}

/// What rules look at beside the weights: token rows, of equal length in each batch.
#[derive(Clone, Copy, Debug)]
pub struct CalibrationRows<'a> {
    /// Text cut into windows.
    pub windows: &'a [Vec<Vec<u32>>],
    /// Documents, BOS first.
    pub documents: &'a [Vec<Vec<u32>>],
}

impl Compress {
    const SPELLINGS: &str = "wanda:RATIO, wanda:N:M, wanda:heads:RATIO, wanda:neurons:RATIO, shortgpt:RATIO, magnitude:RATIO, \
        paper:RATIO (0 <= RATIO < 1), rtn:int8, \
        rtn:int4:g128[:asym], rtn:fp8, awq:int4:g128, gptq:int4:g128[:actorder], sparsegpt:RATIO, sparsegpt:N:M, svd:SHARE, \
        asvd:SHARE, svd-llm:SHARE (0 < SHARE <= 1), iterative:PASSES:wanda:RATIO, several of them but paper joined by +, or none";

    /// Rules as they can be written, for those who look for one.
    pub fn examples() -> Vec<String> {
        let all = [
            "none",
            "wanda:0.5",
            "wanda:2:4",
            "wanda:heads:0.25",
            "wanda:neurons:0.25",
            "shortgpt:0.25",
            "magnitude:0.5",
            "paper:0.5",
            "sparsegpt:0.5",
            "sparsegpt:2:4",
            "rtn:int8",
            "rtn:int4:g128",
            "rtn:fp8",
            "awq:int4:g128",
            "gptq:int4:g128",
            "svd:0.5",
            "asvd:0.5",
            "svd-llm:0.5",
            "iterative:3:wanda:0.5",
        ];
        all.map(String::from).to_vec()
    }

    /// The pruned copy, which shares what stays as it is.
    pub fn apply(&self, model: &Arc<Model>, rows: CalibrationRows, progress: Listener) -> Result<Arc<Model>> {
        self.apply_coded(model, rows, None, progress)
    }

    /// The same, with the codes of matrices that are rounded last of all.
    pub fn apply_coded(
        &self,
        model: &Arc<Model>,
        rows: CalibrationRows,
        codes: Option<&mut Codes>,
        progress: Listener,
    ) -> Result<Arc<Model>> {
        let pruned = match *self {
            Self::None => return Ok(model.clone()),
            Self::Rtn(rule) => model.rtn(rule, codes, progress)?,
            Self::Awq(grid) => model.awq(rows.windows, grid, progress)?,
            Self::Gptq(rule) => model.gptq(rows.windows, rule, codes, progress)?,
            Self::SparseGpt(ratio) => model.sparsegpt(rows.windows, Sparsity::Ratio(ratio), progress)?,
            Self::SparseGptNM(n, m) => model.sparsegpt(rows.windows, Sparsity::NM(n, m), progress)?,
            Self::LowRank(rule, share) => model.low_rank(rule, share, rows.windows, progress)?,
            Self::Iterative(passes, ref last) => {
                let all = (1..=passes).map(|pass| last.at_share(pass as f64 / passes as f64));
                return Self::in_turn(all, model, rows, codes, progress);
            }
            Self::Stack(ref rules) => return Self::in_turn(rules.iter().cloned(), model, rows, codes, progress),
            Self::Wanda(ratio) => model.wanda(rows.windows, Sparsity::Ratio(ratio), progress)?,
            Self::WandaNM(n, m) => model.wanda(rows.windows, Sparsity::NM(n, m), progress)?,
            Self::Structured(unit, ratio) => model.structured(unit, ratio, rows.windows, progress)?,
            Self::Magnitude(ratio) => model.magnitude(ratio, progress)?,
            Self::Paper(ratio) => {
                let document = rows.documents.first().and_then(|batch| batch.first());
                let document = document.ok_or_else(|| Error::invalid("calibration has no document"))?;
                model.paper(document, ratio, progress)?
            }
        };
        Ok(Arc::new(pruned))
    }

    fn in_turn(
        rules: impl Iterator<Item = Self>,
        model: &Arc<Model>,
        rows: CalibrationRows,
        mut codes: Option<&mut Codes>,
        progress: Listener,
    ) -> Result<Arc<Model>> {
        let mut made = model.clone();
        for rule in rules {
            // What comes later changes the numbers.
            if let Some(codes) = codes.as_deref_mut() {
                codes.clear();
            }
            made = rule.apply_coded(&made, rows, codes.as_deref_mut(), progress)?;
        }
        Ok(made)
    }

    /// The same rule at a share of its ratio.
    fn at_share(&self, share: f64) -> Self {
        match self {
            Self::Wanda(ratio) => Self::Wanda(ratio * share),
            Self::Magnitude(ratio) => Self::Magnitude(ratio * share),
            other => other.clone(),
        }
    }

    /// Whether the copy is the model with zeros in its blocks' matrices and biases, and nothing else.
    pub fn is_a_mask(&self) -> bool {
        match self {
            Self::Wanda(_) | Self::WandaNM(..) | Self::Structured(..) | Self::Magnitude(_) => true,
            Self::Iterative(_, last) => last.is_a_mask(),
            Self::Stack(rules) => rules.iter().all(Self::is_a_mask),
            // The paper's weights are processed first, and all others change numbers.
            _ => false,
        }
    }

    /// Whether what it does last gives codes that a format can store.
    pub fn is_coded(&self) -> bool {
        match self {
            Self::Rtn(Rtn::Int { grid, .. }) | Self::Gptq(Gptq { grid, .. }) => [4, 8].contains(&grid.bits),
            Self::Rtn(Rtn::Fp8) => true,
            Self::Stack(rules) => rules.last().is_some_and(Self::is_coded),
            _ => false,
        }
    }

    /// Whether it leaves at most two of every four weights.
    pub fn is_two_of_four(&self) -> bool {
        match self {
            Self::WandaNM(2, 4) | Self::SparseGptNM(2, 4) => true,
            Self::Stack(rules) => rules.last().is_some_and(Self::is_two_of_four),
            _ => false,
        }
    }

    /// Whether it reads the calibration text.
    pub fn reads_text(&self) -> bool {
        match self {
            Self::None | Self::Rtn(_) | Self::Magnitude(_) | Self::LowRank(LowRank::Svd, _) => false,
            Self::Iterative(_, last) => last.reads_text(),
            Self::Stack(rules) => rules.iter().any(Self::reads_text),
            _ => true,
        }
    }

    /// Weights of the copy that it does not share with a model of this config.
    pub fn own_weights(&self, config: &Config) -> u64 {
        match self {
            Self::None => 0,
            // All weights are processed, the embeddings' too.
            Self::Paper(_) => config.block_weights() + config.embedding_weights(false),
            _ => config.block_weights(),
        }
    }

    /// As users read it: "wanda 50%".
    pub fn label(&self) -> String {
        let percent = |ratio: f64| format!("{}%", (ratio * 1000.0).round() / 10.0);
        match self {
            Self::None => "not compressed".into(),
            Self::Wanda(ratio) => format!("wanda {}", percent(*ratio)),
            Self::WandaNM(n, m) => format!("wanda {n}:{m}"),
            Self::Structured(unit, ratio) => format!("{} {}", unit.spelling().replace(':', " "), percent(*ratio)),
            Self::Magnitude(ratio) => format!("magnitude {}", percent(*ratio)),
            Self::Paper(ratio) => format!("paper {}", percent(*ratio)),
            Self::SparseGpt(ratio) => format!("sparsegpt {}", percent(*ratio)),
            Self::SparseGptNM(n, m) => format!("sparsegpt {n}:{m}"),
            Self::LowRank(rule, share) => format!("{} {}", rule.name(), percent(*share)),
            Self::Iterative(passes, last) => format!("{} in {passes} passes", last.label()),
            Self::Stack(rules) => rules.iter().map(Self::label).collect::<Vec<_>>().join(", then "),
            Self::Rtn(_) | Self::Awq(_) | Self::Gptq(_) => self.to_string().replace(':', " "),
        }
    }
}

impl fmt::Display for Compress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Wanda(r) => write!(f, "wanda:{r}"),
            Self::WandaNM(n, m) => write!(f, "wanda:{n}:{m}"),
            Self::Structured(unit, r) => write!(f, "{}:{r}", unit.spelling()),
            Self::Magnitude(r) => write!(f, "magnitude:{r}"),
            Self::Paper(r) => write!(f, "paper:{r}"),
            Self::Rtn(rule) => write!(f, "rtn:{}", rule.spelling()),
            Self::Awq(grid) => write!(f, "awq:{}", grid.spelling()),
            Self::Gptq(Gptq { grid, ordered }) => {
                write!(f, "gptq:{}{}", grid.spelling(), if *ordered { ":actorder" } else { "" })
            }
            Self::SparseGpt(r) => write!(f, "sparsegpt:{r}"),
            Self::SparseGptNM(n, m) => write!(f, "sparsegpt:{n}:{m}"),
            Self::LowRank(rule, share) => write!(f, "{}:{share}", rule.name()),
            Self::Iterative(passes, last) => write!(f, "iterative:{passes}:{last}"),
            Self::Stack(rules) => {
                let all: Vec<String> = rules.iter().map(Self::to_string).collect();
                f.write_str(&all.join("+"))
            }
        }
    }
}

impl FromStr for Compress {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self, Error> {
        Self::parse(spec).ok_or_else(|| {
            let alone = |rule: &&str| matches!(Self::parse(rule), Some(Self::None | Self::Paper(_)));
            let expected = Self::SPELLINGS;
            Error::Usage(match spec.split('+').find(alone).filter(|_| spec.contains('+')) {
                Some(rule) => format!("compression {spec:?}: {rule} is not joined with others; expected {expected}"),
                None => format!("compression {spec:?} is not understood; expected {expected}"),
            })
        })
    }
}

impl Compress {
    fn parse(spec: &str) -> Option<Self> {
        if spec.contains('+') {
            let rules: Vec<Self> = spec.split('+').map(Self::parse).collect::<Option<_>>()?;
            // The paper's rule works on weights that no other reads, and none is nothing to join.
            return rules.iter().all(|rule| !matches!(rule, Self::None | Self::Paper(_))).then_some(Self::Stack(rules));
        }
        let ratio = |text: &str| text.parse().ok().filter(|r| (0.0..1.0).contains(r));
        let share = |text: &str| text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
        let of_every = |n: &str, m: &str| match (n.parse(), m.parse()) {
            (Ok(n), Ok(m)) if n < m && m <= 64 => Some((n, m)),
            _ => None,
        };
        let passes = |text: &str| text.parse().ok().filter(|passes| (1..=100).contains(passes));
        match spec.split(':').collect::<Vec<_>>()[..] {
            ["none"] => Some(Self::None),
            ["wanda", "heads", r] => Some(Self::Structured(Unit::Heads, ratio(r)?)),
            ["wanda", "neurons", r] => Some(Self::Structured(Unit::Neurons, ratio(r)?)),
            ["shortgpt", r] => Some(Self::Structured(Unit::Blocks, ratio(r)?)),
            ["wanda", n, m] => of_every(n, m).map(|(n, m)| Self::WandaNM(n, m)),
            ["wanda", r] => ratio(r).map(Self::Wanda),
            ["wanda"] => Some(Self::Wanda(0.5)),
            ["magnitude", r] => ratio(r).map(Self::Magnitude),
            ["paper", r] => ratio(r).map(Self::Paper),
            ["rtn", ref words @ ..] => Rtn::parse(words).map(Self::Rtn),
            ["awq", ref words @ ..] => match Grid::parse(words)? {
                (grid, []) => Some(Self::Awq(grid)),
                _ => None,
            },
            ["gptq", ref words @ ..] => match Grid::parse(words)? {
                (grid, []) => Some(Self::Gptq(Gptq { grid, ordered: false })),
                (grid, ["actorder"]) => Some(Self::Gptq(Gptq { grid, ordered: true })),
                _ => None,
            },
            ["sparsegpt", n, m] => of_every(n, m).map(|(n, m)| Self::SparseGptNM(n, m)),
            ["sparsegpt", r] => ratio(r).map(Self::SparseGpt),
            ["iterative", n, "wanda", r] => Some(Self::Iterative(passes(n)?, Box::new(Self::Wanda(ratio(r)?)))),
            ["iterative", n, "magnitude", r] => Some(Self::Iterative(passes(n)?, Box::new(Self::Magnitude(ratio(r)?)))),
            ["iterative", r, n] => Some(Self::Iterative(passes(n)?, Box::new(Self::Wanda(ratio(r)?)))),
            [name, s] => {
                let rule = LowRank::NAMES.iter().find(|(known, _)| *known == name)?.1;
                Some(Self::LowRank(rule, share(s)?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_spelt_as_they_are_parsed() {
        let examples = Compress::examples();
        for example in &examples {
            assert_eq!(example.parse::<Compress>().unwrap().to_string(), *example);
        }
        let specs = [
            "none",
            "wanda:0.5",
            "wanda:2:4",
            "wanda:heads:0.25",
            "wanda:neurons:0.25+rtn:int8",
            "shortgpt:0.25",
            "rtn:int8",
            "rtn:int4:g128",
            "rtn:int3:g32:asym",
            "rtn:fp8",
            "awq:int4:g32",
            "gptq:int4:g32:actorder",
            "sparsegpt:0.5",
            "sparsegpt:2:4+rtn:int4:g32",
            "svd-llm:0.5",
            "iterative:2:wanda:0.5",
        ];
        for spec in specs {
            assert_eq!(spec.parse::<Compress>().unwrap().to_string(), spec);
        }
        let others = ["magnitude:0.5", "svd:0.5", "asvd:0.5", "iterative:2:magnitude:0.5", "magnitude:0.5+rtn:int8"];
        let silent = |spec: &&str| !spec.parse::<Compress>().unwrap().reads_text();
        let silent: Vec<&str> = specs.into_iter().chain(others).filter(silent).collect();
        let rtn = ["rtn:int8", "rtn:int4:g128", "rtn:int3:g32:asym", "rtn:fp8"];
        let none = ["magnitude:0.5", "svd:0.5", "iterative:2:magnitude:0.5", "magnitude:0.5+rtn:int8"];
        assert_eq!(silent, [&["none"], &rtn[..], &none[..]].concat(), "read no text");
        assert_eq!("rtn:int4".parse::<Compress>().unwrap().to_string(), "rtn:int4:g128");
        assert_eq!("iterative:0.5:3".parse::<Compress>().unwrap().to_string(), "iterative:3:wanda:0.5");
        for wrong in ["rtn:int9", "rtn:int4:g0", "rtn:fp8:asym", "svd:0", "svd:1.5", "gptq", "a+b", "+"] {
            assert!(wrong.parse::<Compress>().unwrap_err().to_string().contains("is not understood"), "{wrong}");
        }
        for (stacked, alone) in [("wanda:0.5+none", "none"), ("paper:0.5+rtn:int8", "paper:0.5")] {
            let said = stacked.parse::<Compress>().unwrap_err().to_string();
            assert!(said.contains(&format!("{alone} is not joined with others")), "{said}");
        }
    }
}
