//! What a run will take, said before: memory from sizes, time from a few steps.

use prunelens_core::{
    error::{Error, Result},
    model::Tick,
    train::{Budget, TrainSpec, Trainer, Training, activations::ModelActivations, stream::Activations},
};
use prunelens_metrics::fit;
use serde_json::{Value, json};

/// Bytes, by what takes them.
pub struct Memory(Vec<(&'static str, u64)>);

impl Memory {
    /// Of SAEs with these settings and widths of activations, which all read hooks of `widths`; `epoch` tokens of text.
    pub fn of(specs: &[(TrainSpec, usize)], widths: &[usize], epoch: usize, cache: u64) -> Self {
        let row = 4 * widths.iter().sum::<usize>() as u64;
        let buffer = specs.first().map_or(0, |(spec, _)| spec.buffer as u64);
        let all = specs.iter().map(|(spec, hook)| Trainer::bytes(spec, widths[*hook]));
        // A state is written as one piece, from a copy.
        let largest = all.clone().max().unwrap_or(0);
        let kept = cache.min(row * epoch as u64);
        Self(vec![
            ("SAEs with their moments", all.sum()),
            ("buffer of activations", row * buffer),
            ("activations met again", kept),
            ("writing a checkpoint", 2 * largest),
        ])
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Refuse what cannot fit: an allocation that fails ends the process.
    pub fn check(&self) -> Result<()> {
        match fit::free_memory() {
            Some(free) if self.total() > free => Err(Error::Usage(format!(
                "the run needs about {} of memory, {} are free: fewer SAEs at a time, a smaller --d-sae, --buffer or --cache",
                gib(self.total()),
                gib(free)
            ))),
            _ => Ok(()),
        }
    }
}

/// Tokens a second of reading, and seconds of one step of all SAEs.
struct Speed {
    reading: f64,
    step: f64,
}

/// Say what it will take.
pub fn plan(
    specs: &[(TrainSpec, usize)],
    source: ModelActivations,
    memory: &Memory,
    cache: u64,
    json: bool,
    tick: Tick,
) -> Result<String> {
    let (epoch, row) = (source.tokens(), 4 * source.widths().iter().sum::<usize>() as u64);
    let Some((first, _)) = specs.first().cloned() else { return Ok(String::new()) };
    let speed = measure(specs, source, tick)?;
    let seconds = match first.budget {
        Budget::Minutes(minutes) => minutes * 60.0,
        Budget::Tokens(tokens) => {
            // What does not fit into the cache is read in every pass through the text.
            let again = tokens.saturating_sub(epoch as u64) as f64;
            let missing = 1.0 - (cache as f64 / (row * epoch.max(1) as u64) as f64).min(1.0);
            let read = tokens.min(epoch as u64) as f64 + again * missing;
            read / speed.reading + speed.step * tokens as f64 / first.batch as f64
        }
    };
    let free = fit::free_memory();
    if json {
        let bytes: serde_json::Map<String, Value> =
            memory.0.iter().map(|(of, bytes)| ((*of).into(), json!(bytes))).collect();
        return crate::output::json(&json!({
            "saes": specs.len(), "text_tokens": epoch, "bytes": bytes, "bytes_in_all": memory.total(), "bytes_free": free,
            "reading_tokens_per_second": speed.reading, "step_seconds": speed.step, "seconds": seconds,
        }));
    }
    let budget = match first.budget {
        Budget::Tokens(tokens) => format!("{tokens} tokens each, of a text of {epoch}"),
        Budget::Minutes(minutes) => format!("{minutes} minutes, on a text of {epoch} tokens"),
    };
    let mut lines = vec![format!(
        "{} on one reading: {budget}",
        if specs.len() == 1 { "1 SAE".into() } else { format!("{} SAEs", specs.len()) }
    )];
    let free = free.map_or(String::new(), |free| format!("; {} free", gib(free)));
    lines.push(format!("memory   {:>9} beyond the model{free}", gib(memory.total())));
    lines.extend(memory.0.iter().map(|(of, bytes)| format!("         {:>9} {of}", gib(*bytes))));
    lines.push(format!("reading  {:>9.0} tokens/s", speed.reading));
    lines.push(format!(
        "a step   {:>9.3} s for {} tokens on {}",
        speed.step,
        first.batch,
        if specs.len() == 1 { "it" } else { "all of them" }
    ));
    lines.push(format!("in all   {:>9} and the measuring on held-out text", clock(seconds)));
    Ok(lines.join("\n"))
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

fn gib(bytes: u64) -> String {
    match bytes {
        0..0x1000_0000 => format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// Minutes and seconds, or hours and minutes.
pub fn clock(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "?".into(),
        s if s < 3600.0 => format!("{:.0}:{:02.0}", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{:.0} h {:02.0}", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
    }
}
