//! `config.json` of every family, as one structure.

use prunelens_kernels::Act;
use serde_json::Value;

use super::{Part, known};
use crate::error::{Error, Result};

/// How the residual stream is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Less its mean, by its standard deviation.
    LayerNorm,
    /// By its root mean square.
    RmsNorm,
}

/// Rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Leading dimensions of a head that are rotated; the rest pass unchanged.
    pub dim: usize,
    /// What is done to them for longer texts.
    pub scaling: RopeScaling,
}

/// Changes of the frequencies for texts longer than those of training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as they are.
    None,
    /// All frequencies by one factor.
    Linear {
        /// Divisor of the frequencies.
        factor: f64,
    },
    /// As Llama 3: low frequencies by a factor, high ones as they are, a slope between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Turns over the original context up to which a frequency is low.
        low_freq_factor: f64,
        /// Turns over the original context from which a frequency is high.
        high_freq_factor: f64,
        /// Tokens of the context before.
        original_context: f64,
    },
    /// A divisor a pair, as GGUF files give them.
    Divisors(Vec<f32>),
}

/// What a `config.json` says of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `model_type` of `config.json`.
    pub family: String,
    /// Blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Heads of keys and values.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Width of the MLP.
    pub d_mlp: usize,
    /// Tokens of the vocabulary.
    pub d_vocab: usize,
    /// Longest text, in tokens.
    pub n_ctx: usize,
    /// Of every norm on the residual stream.
    pub norm: NormKind,
    /// Added inside the norms' root.
    pub eps: f64,
    /// Of the MLP.
    pub act: Act,
    /// The MLP has a gate beside its input matrix.
    pub gated: bool,
    /// Attention and MLP both read the block's input (GPT-NeoX); there is no `hook_resid_mid`.
    pub parallel: bool,
    /// Factor on the embedding.
    pub embed_scale: f64,
    /// None: learned positions.
    pub rope: Option<Rope>,
    /// Of layers with a window, where it is another (Gemma 3).
    pub rope_local: Option<Rope>,
    /// Factor on attention scores, per layer.
    pub attn_scale: Vec<f64>,
    /// Keys that a query sees, itself included, per layer; `None` is all before it.
    pub windows: Vec<Option<usize>>,
    /// `cap tanh(x / cap)` on attention scores.
    pub attn_softcap: Option<f64>,
    /// The same on logits.
    pub logit_softcap: Option<f64>,
    /// Token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Token that ends a text.
    pub eos_token_id: Option<u32>,
    /// Token that fills rows up.
    pub pad_token_id: Option<u32>,
    /// The output matrix is the embedding, whatever else the file holds.
    pub tied: bool,
    /// Which matrices of a block have a bias.
    pub biases: Biases,
    /// What in the file was not read, in words.
    pub warnings: Vec<String>,
}

/// Which matrices of a block have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The output of attention.
    pub o: bool,
    /// Both matrices of the MLP, and its gate.
    pub mlp: bool,
}

impl Biases {
    /// Whether this part's matrices have one.
    pub fn of(self, part: Part) -> bool {
        match part {
            Part::Qkv => self.qkv,
            Part::O => self.o,
            Part::MlpIn | Part::MlpOut => self.mlp,
        }
    }
}

/// Sizes beyond these are a damaged or hostile file, not a model.
const LIMIT: usize = 1 << 24;
const WIDEST: usize = 1 << 20;

/// Typed access to a JSON object, with errors that name the key.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// The object.
    pub value: &'a Value,
    /// Where the object was read, for messages.
    pub path: &'a std::path::Path,
}

impl<'a> Keys<'a> {
    /// The value of a key that is there and not null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|v| !v.is_null())
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map_or("nothing".to_owned(), |v| crate::text::shorten(&v.to_string(), 60));
        Error::file(self.path, format!("key {key:?}: expected {expected}, found {found}"))
    }

    /// A size between 1 and a bound far above any real model.
    pub fn size(&self, key: &str) -> Result<usize> {
        let size = self.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        size.filter(|n| (1..=LIMIT).contains(n)).ok_or_else(|| self.wrong(key, "a size"))
    }

    /// A size, or `default` where the key is not there.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    /// A number of layers: lists have one entry each, so it is bounded before they are made.
    pub fn layers(&self, key: &str) -> Result<usize> {
        let n = self.size(key)?;
        if n <= 4096 { Ok(n) } else { Err(self.wrong(key, "at most 4096 layers")) }
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Result<f64> {
        self.get(key).and_then(Value::as_f64).filter(|n| n.is_finite()).ok_or_else(|| self.wrong(key, "a number"))
    }

    /// A finite number, or `default` where the key is not there.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        if self.get(key).is_some() { self.number(key) } else { Ok(default) }
    }

    /// True or false, or `default` where the key is not there.
    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    /// A text, or `default` where the key is not there.
    pub fn str_or(&self, key: &str, default: &'a str) -> Result<&'a str> {
        match self.get(key) {
            None => Ok(default),
            Some(v) => v.as_str().ok_or_else(|| self.wrong(key, "a text")),
        }
    }

    /// A token id; of a list, the first.
    pub fn token(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let first = value.as_array().and_then(|a| a.first()).unwrap_or(value);
        let id = first.as_u64().and_then(|n| u32::try_from(n).ok());
        id.map(Some).ok_or_else(|| self.wrong(key, "a token id"))
    }

    /// An activation function by transformers' name.
    pub fn act(&self, key: &str, default: &'a str) -> Result<Act> {
        match self.str_or(key, default)? {
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Act::GeluTanh),
            "gelu" | "gelu_python" => Ok(Act::Gelu),
            "silu" | "swish" => Ok(Act::Silu),
            "relu" => Ok(Act::Relu),
            _ => Err(self.wrong(key, "gelu_new, gelu_pytorch_tanh, gelu, silu or relu")),
        }
    }

    /// A positive number, if there is one.
    pub fn positive(&self, key: &str) -> Result<Option<f64>> {
        if self.get(key).is_none() {
            return Ok(None);
        }
        self.number(key).ok().filter(|n| *n > 0.0).map(Some).ok_or_else(|| self.wrong(key, "a number above 0"))
    }

    /// A count, which may be 0.
    pub fn count(&self, key: &str) -> Result<usize> {
        if self.get(key).and_then(Value::as_u64) == Some(0) { Ok(0) } else { self.size(key) }
    }

    /// The window of each layer that has one: as `layer_types` says, else by the family's rule.
    pub fn windows(
        &self,
        n_layers: usize,
        window: Option<usize>,
        rule: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<usize>>> {
        let Some(types) = self.get("layer_types") else {
            return Ok((0..n_layers).map(|layer| window.filter(|_| rule(layer))).collect());
        };
        let kinds = "a list with \"full_attention\" or \"sliding_attention\" for each layer";
        let types = types.as_array().filter(|types| types.len() == n_layers);
        let types = types.ok_or_else(|| self.wrong("layer_types", kinds))?;
        let of = |kind: &Value| match (kind.as_str(), window) {
            (Some("full_attention"), _) => Ok(None),
            (Some("sliding_attention"), Some(window)) => Ok(Some(window)),
            (Some("sliding_attention"), None) => {
                Err(self.refuse("layer_types", "some layers have a window, and no sliding_window is switched on"))
            }
            _ => Err(self.wrong("layer_types", kinds)),
        };
        types.iter().map(of).collect()
    }

    /// Rotary settings of `dim` dimensions, `share` of a head: `rope_theta` and `rope_scaling`, or both in
    /// `rope_parameters`.
    pub fn rope(&self, dim: usize, share: f64) -> Result<Rope> {
        let (newer, older) = (self.get("rope_parameters"), self.get("rope_scaling"));
        if newer.is_some() && older.is_some() {
            return Err(self.refuse("rope_parameters", "stands beside rope_scaling, and they may disagree; keep one"));
        }
        let theta_keys = newer.filter(|p| p.get("rope_theta").is_some()).unwrap_or(self.value);
        let theta = Keys { value: theta_keys, ..*self }.number_or("rope_theta", 10_000.0)?;
        let Some(inner) = newer.or(older) else { return Ok(Rope { theta, dim, scaling: RopeScaling::None }) };
        let keys = Keys { value: inner, ..*self };
        if !inner.is_object() {
            return Err(self.wrong(if newer.is_some() { "rope_parameters" } else { "rope_scaling" }, "an object"));
        }
        known::check_rope(keys)?;
        if keys.number_or("partial_rotary_factor", share)? != share {
            return Err(keys.refuse("partial_rotary_factor", &format!("expected {share} of each head to be rotated")));
        }
        let kind = keys.str_or("rope_type", keys.str_or("type", "default")?)?;
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: keys.number("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: keys.number("factor")?,
                low_freq_factor: keys.number("low_freq_factor")?,
                high_freq_factor: keys.number("high_freq_factor")?,
                original_context: keys.number("original_max_position_embeddings")?,
            },
            _ => return Err(keys.wrong("rope_type", "default, linear or llama3")),
        };
        Ok(Rope { theta, dim, scaling })
    }

    /// Refuse a setting that this program does not compute.
    pub fn refuse(&self, key: &str, why: &str) -> Error {
        Error::file(self.path, format!("key {key:?}: {why}"))
    }
}

impl Config {
    /// Weights of the matrices of all blocks: what pruning changes.
    pub fn block_weights(&self) -> u64 {
        let heads = 2 * (self.n_heads + self.n_kv_heads) * self.d_head;
        let mlp = if self.gated { 3 } else { 2 } * self.d_mlp;
        self.n_layers as u64 * self.d_model as u64 * (heads + mlp) as u64
    }

    /// Weights of the embedding, and of the output matrix where it is not the same.
    pub fn embedding_weights(&self, tied: bool) -> u64 {
        let matrices = if tied { 1 } else { 2 };
        matrices * self.d_vocab as u64 * self.d_model as u64
    }

    /// Refuses sizes that do not fit each other.
    pub fn check(self, path: &std::path::Path) -> Result<Self> {
        let wrong = |what: String| Err(Error::file(path, what));
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return wrong(format!("{} query heads cannot share {} key/value heads", self.n_heads, self.n_kv_heads));
        }
        // Wider than any model; lists with an entry for each row are made before tensors are looked at.
        let heads = (self.n_heads + 2 * self.n_kv_heads).checked_mul(self.d_head);
        let widest = [heads.unwrap_or(usize::MAX), self.d_mlp, self.d_model].into_iter().max().unwrap_or(0);
        if widest > WIDEST {
            return wrong(format!("a width of {widest} is more than any model has"));
        }
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return wrong(format!("the norms' epsilon must be a number from 0, found {}", self.eps));
        }
        for rope in self.rope.iter().chain(&self.rope_local) {
            if !(rope.theta > 0.0 && rope.theta.is_finite()) {
                return wrong(format!("the base of rotary positions must be above 0, found {}", rope.theta));
            }
            if !rope.dim.is_multiple_of(2) || rope.dim == 0 || rope.dim > self.d_head {
                let (found, most) = (rope.dim, self.d_head);
                return wrong(format!("rotary positions need an even width of at most {most}, found {found}"));
            }
        }
        Ok(self)
    }
}

impl Rope {
    /// Inverse frequencies of each pair.
    fn frequencies(&self) -> Vec<f64> {
        let base = (0..self.dim / 2).map(|i| self.theta.powf(-2.0 * i as f64 / self.dim as f64));
        match self.scaling {
            RopeScaling::None => base.collect(),
            RopeScaling::Divisors(ref divisors) => {
                base.zip(divisors.iter().chain(std::iter::repeat(&1.0))).map(|(f, d)| f / f64::from(*d)).collect()
            }
            RopeScaling::Linear { factor } => base.map(|f| f / factor).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => base
                .map(|f| {
                    let wavelength = 2.0 * std::f64::consts::PI / f;
                    if wavelength < original_context / high_freq_factor {
                        f
                    } else if wavelength > original_context / low_freq_factor {
                        f / factor
                    } else {
                        let smooth =
                            (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        (1.0 - smooth) * f / factor + smooth * f
                    }
                })
                .collect(),
        }
    }

    /// Cosines and sines `[time, dim / 2]`. Angles are taken in f32, as the reference libraries do.
    pub fn tables(&self, time: usize) -> (Vec<f32>, Vec<f32>) {
        let frequencies: Vec<f32> = self.frequencies().iter().map(|f| *f as f32).collect();
        let angles = (0..time).flat_map(|t| frequencies.iter().map(move |f| t as f32 * f));
        angles.map(|a| (a.cos(), a.sin())).unzip()
    }
}
