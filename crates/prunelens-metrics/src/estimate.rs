//! What a job will take, told before it starts: its work from its parameters, the pace from a short probe.

use std::time::{Duration, Instant};

use prunelens_core::{
    compare::{Reader, Variant},
    error::{Error, Result},
    progress::Tick,
    session::{Session, token_tensor},
};

use super::Cost;

/// How much of what a session has loaded a job takes; counts and shares that its [`Cost`] is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Variants measured, and models they are on.
    pub variants: f64,
    /// How many different models they read.
    pub models: f64,
    /// Shares of a model's layers: up to the hook's block with it, and from the hook on.
    pub before: f64,
    /// Share of a model's layers from the hook's block on.
    pub after: f64,
}

impl Extent {
    /// Of a job on those variants that were asked for (all, if none were) and are there.
    pub fn of(session: &Session, asked: &[Variant]) -> Self {
        let there = |v: &Variant| *v != Variant::Trained || session.trained.is_some();
        let measured = |v: &Variant| (asked.is_empty() || asked.contains(v)) && there(v);
        let variants: Vec<Variant> = Variant::ALL.into_iter().filter(measured).collect();
        let on = |pruned: bool| variants.iter().any(|v| v.on_pruned_model() == pruned);
        let (layer, n_layers) = (session.hook.layer as f64, session.models.original.config.n_layers.max(1) as f64);
        Self {
            variants: variants.len() as f64,
            models: f64::from(u8::from(on(false)) + u8::from(on(true))),
            before: ((layer + 1.0) / n_layers).min(1.0),
            after: 1.0 - (layer / n_layers).min(1.0),
        }
    }
}

/// How fast a session's models are here, measured on a few tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Seconds a token takes through a whole model, and through an SAE and back.
    pub pass: f64,
    /// Seconds for a token to be encoded and decoded.
    pub encoding: f64,
    /// Multiply-adds a second, in matrix products of the SAE's size.
    pub pace: f64,
}

/// What is told of a job before it starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// That are measured on.
    pub tokens: u64,
    /// Times that they go through a whole model.
    pub passes: f64,
    /// `None` where it cannot be told.
    pub seconds: Option<f64>,
    /// Memory it takes, and memory that is free; 0 and `None` where unknown.
    pub bytes: u64,
    /// Memory that is free, if it is known.
    pub free: Option<u64>,
    /// What will be changed to make it fit.
    pub remark: Option<String>,
}

/// Tokens of the probe's first passes: few enough for a large model.
const TOKENS: usize = 32;
/// It goes on with four times as many while a pass is shorter than this, up to so many: small models and fast devices spend short
/// ones on beginning.
const LONG: Duration = Duration::from_millis(20);
const MOST: usize = 512;

impl Probe {
    /// A few short passes; the first warms up.
    pub fn measure(session: &Session, tick: Tick) -> Result<Self> {
        let reader = session.reader(Variant::Transfer, session.setting)?;
        let reader = reader.ok_or_else(|| Error::invalid("the session has no SAE to time"))?;
        Self::over(&reader, session, TOKENS, tick)?;
        let mut tokens = TOKENS;
        loop {
            let (probe, took) = Self::over(&reader, session, tokens, tick)?;
            if took >= LONG || tokens >= MOST {
                return Ok(probe);
            }
            tokens *= 4;
        }
    }

    /// By one pass of so many tokens, with the time that the pass took.
    fn over(reader: &Reader, session: &Session, tokens: usize, tick: Tick) -> Result<(Self, Duration)> {
        let config = &session.models.original.config;
        let length = tokens.min(config.n_ctx);
        let row: Vec<u32> = (0..length).map(|i| (1 + i as u32 * 7) % config.d_vocab as u32).collect();
        let rows = vec![row; tokens / length];
        let n = (rows.len() * length) as f64;
        let tokens = token_tensor(&rows, &reader.model)?;
        let started = Instant::now();
        let captured = reader.model.capture(&tokens, session.hook, tick)?;
        reader.model.logits(&reader.model.finish(&captured, tick)?)?;
        reader.model.device.synchronize()?;
        let took = started.elapsed();
        let x = reader.input(&captured)?;
        let started = Instant::now();
        let encoded = reader.encode(&x)?;
        reader.decode(&encoded)?;
        // Most jobs want them here.
        encoded.latents()?;
        // On a GPU the last of it may still be under way.
        reader.model.device.synchronize()?;
        let encoding = started.elapsed().as_secs_f64() / n;
        let work = (session.sae.d_in() * session.sae.d_sae()) as f64;
        Ok((Self { pass: took.as_secs_f64() / n, encoding, pace: work / encoding.max(1e-9) }, took))
    }

    /// Time and memory of this work, at the speed that was measured.
    pub fn estimate(&self, cost: &Cost) -> Estimate {
        let tokens = cost.tokens as f64;
        let seconds = tokens * (cost.passes * self.pass + cost.encodings * self.encoding) + cost.other / self.pace;
        Estimate {
            tokens: cost.tokens,
            passes: cost.passes,
            seconds: Some(seconds).filter(|s| s.is_finite()),
            bytes: cost.bytes,
            free: None,
            remark: None,
        }
    }
}
