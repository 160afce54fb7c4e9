//! What a run will take, said before: memory from sizes, time from a few steps.

use candle_core::Device;
use prunelens_core::{
    error::{Error, Result},
    memory,
    progress::Tick,
    text,
    train::{Budget, DeviceState, TrainSpec, Trainer, Training, activations::ModelActivations, stream::Activations},
};
use prunelens_kernels::gpu::{self, Opened};
use serde_json::{Value, json};

use super::RunSpec;
use crate::words::time;

/// Bytes, by what takes them: of the machine's memory, and of that of the GPU that steps are taken on.
pub struct Memory {
    here: Vec<(&'static str, u64)>,
    on_gpu: Option<(Opened, Vec<(&'static str, u64)>)>,
}

impl Memory {
    /// Of SAEs with these settings and widths of activations, which all read hooks of `widths` on a device; `epoch` tokens of text.
    pub fn of(specs: &[(TrainSpec, usize)], widths: &[usize], epoch: usize, cache: u64, device: &Device) -> Self {
        let row = 4 * widths.iter().sum::<usize>() as u64;
        let buffer = ("buffer of activations", row * specs.first().map_or(0, |(spec, _)| spec.buffer as u64));
        let each = |bytes: fn(&TrainSpec, usize) -> u64| specs.iter().map(move |(s, hook)| bytes(s, widths[*hook]));
        // A state is written as one piece, from a copy.
        let largest = each(Trainer::bytes).max().unwrap_or(0);
        let kept = ("activations met again", cache.min(row * epoch as u64));
        let writing = ("writing a checkpoint", 2 * largest);
        match gpu::opened(device) {
            Some(card) => {
                let saes = ("SAEs with their moments and gradients", each(DeviceState::bytes).sum());
                Self { here: vec![writing], on_gpu: Some((card, vec![saes, buffer, kept])) }
            }
            None => {
                let saes = ("SAEs with their moments", each(Trainer::bytes).sum());
                Self { here: vec![saes, buffer, kept, writing], on_gpu: None }
            }
        }
    }

    /// Refuse what cannot fit: an allocation that fails ends the process.
    pub fn check(&self) -> Result<()> {
        if let Some((card, parts)) = &self.on_gpu
            && total(parts) > card.free_bytes
        {
            return Err(Error::Usage(format!(
                "the run needs about {} on {}, {} are free: fewer SAEs at a time, a smaller --d-sae, --batch, --buffer or --cache",
                text::bytes(total(parts)),
                card.name,
                text::bytes(card.free_bytes)
            )));
        }
        match memory::free() {
            Some(free) if total(&self.here) > free => Err(Error::Usage(format!(
                "the run needs about {} of memory, {} are free: fewer SAEs at a time, a smaller --d-sae, --buffer or --cache",
                text::bytes(total(&self.here)),
                text::bytes(free)
            ))),
            _ => Ok(()),
        }
    }

    fn lines(&self) -> Vec<String> {
        let part = |(of, bytes): &(&str, u64)| format!("         {:>9} {of}", text::bytes(*bytes));
        let free = memory::free().map_or(String::new(), |free| format!("; {} free", text::bytes(free)));
        let mut lines = vec![format!("memory   {:>9} beyond the model{free}", text::bytes(total(&self.here)))];
        lines.extend(self.here.iter().map(part));
        if let Some((card, parts)) = &self.on_gpu {
            let free = text::bytes(card.free_bytes);
            lines.push(format!(
                "on GPU   {:>9} beyond the model; {free} free on {}",
                text::bytes(total(parts)),
                card.name
            ));
            lines.extend(parts.iter().map(part));
        }
        lines
    }
}

fn total(parts: &[(&str, u64)]) -> u64 {
    parts.iter().map(|(_, bytes)| bytes).sum()
}

/// Tokens a second of reading, and seconds of one step of all SAEs.
struct Speed {
    reading: f64,
    step: f64,
}

/// What a run will take.
pub struct Plan {
    saes: usize,
    budget: Budget,
    /// Tokens a step.
    batch: usize,
    /// Tokens of the text.
    epoch: usize,
    memory: Memory,
    speed: Speed,
    /// Without the measuring on held-out text.
    seconds: f64,
}

impl Plan {
    /// Take a few steps to say it.
    pub fn of(
        run: &RunSpec,
        specs: &[(TrainSpec, usize)],
        source: ModelActivations,
        memory: Memory,
        tick: Tick,
    ) -> Result<Self> {
        let (epoch, row) = (source.tokens(), 4 * source.widths().iter().sum::<usize>() as u64);
        let batch = specs.first().map_or(0, |(spec, _)| spec.batch);
        let speed = measure(specs, source, tick)?;
        let seconds = match run.budget {
            Budget::Minutes(minutes) => minutes * 60.0,
            Budget::Tokens(tokens) => {
                // What does not fit into the cache is read in every pass through the text.
                let again = tokens.saturating_sub(epoch as u64) as f64;
                let missing = 1.0 - (run.cache as f64 / (row * epoch.max(1) as u64) as f64).min(1.0);
                let read = tokens.min(epoch as u64) as f64 + again * missing;
                read / speed.reading + speed.step * tokens as f64 / batch as f64
            }
        };
        Ok(Self { saes: specs.len(), budget: run.budget, batch, epoch, memory, speed, seconds })
    }

    pub fn to_json(&self) -> Value {
        let bytes = |parts: &[(&str, u64)]| -> serde_json::Map<String, Value> {
            parts.iter().map(|(of, bytes)| ((*of).into(), json!(bytes))).collect()
        };
        let Memory { here, on_gpu } = &self.memory;
        let mut out = json!({
            "saes": self.saes, "text_tokens": self.epoch, "bytes": bytes(here), "bytes_in_all": total(here),
            "bytes_free": memory::free(), "reading_tokens_per_second": self.speed.reading, "step_seconds": self.speed.step,
            "seconds": self.seconds,
        });
        if let Some((card, parts)) = on_gpu {
            out["gpu"] = json!({
                "name": card.name, "bytes": bytes(parts), "bytes_in_all": total(parts), "bytes_free": card.free_bytes,
            });
        }
        out
    }

    /// For people.
    pub fn text(&self) -> String {
        let budget = match self.budget {
            Budget::Tokens(tokens) => format!("{tokens} tokens each, of a text of {}", self.epoch),
            Budget::Minutes(minutes) => format!("{minutes} minutes, on a text of {} tokens", self.epoch),
        };
        let one = self.saes == 1;
        let saes = if one { "1 SAE".into() } else { format!("{} SAEs", self.saes) };
        let mut lines = vec![format!("{saes} on one reading: {budget}")];
        lines.extend(self.memory.lines());
        lines.push(format!("reading  {:>9.0} tokens/s", self.speed.reading));
        lines.push(format!(
            "a step   {:>9.3} s for {} tokens on {}",
            self.speed.step,
            self.batch,
            if one { "it" } else { "all of them" }
        ));
        lines.push(format!("in all   {:>9} and the measuring on held-out text", time(self.seconds)));
        lines.join("\n")
    }
}

/// A few steps, of which the first warms up; enough for something to be read meanwhile.
fn measure(specs: &[(TrainSpec, usize)], source: ModelActivations, tick: Tick) -> Result<Speed> {
    const STEPS: usize = 3;
    let trial = |(spec, hook): &(TrainSpec, usize)| {
        (TrainSpec { buffer: spec.batch, budget: Budget::Tokens(1 << 40), ..spec.clone() }, *hook)
    };
    let mut training = Training::new(Box::new(source), specs.iter().map(trial).collect())?;
    training.step(&mut |_, _| {}, tick)?;
    let before = (training.seconds(), training.tokens_read());
    let mut steps = 0;
    while steps < STEPS || training.tokens_read() == before.1 {
        training.step(&mut |_, _| {}, tick)?;
        steps += 1;
    }
    let (seconds, tokens) = (training.seconds(), training.tokens_read() - before.1);
    let errors = training.finish().into_iter().find_map(Result::err);
    errors.map_or(Ok(()), Err)?;
    let (reading, stepping) = (seconds.0 - before.0.0, seconds.1 - before.0.1);
    Ok(Speed { reading: tokens as f64 / reading.max(1e-9), step: stepping / steps as f64 })
}
