//! Building an index of examples, beside reading the same rows without one.

use std::{sync::Arc, time::Instant};

use prunelens_core::{data::token_tensor, error::Result, index::Indexing, progress::Tick};

use super::{Report, Subject};

/// Rows that are read.
pub(super) const ROWS: usize = 16;

/// How often each way is timed.
const TIMES: usize = 3;

/// Tokens a second: both models up to the hook, all variants encoded, and the index of what fired. The three take turns, so that
/// a machine that slows down slows all of them; each figure is its best turn.
pub(super) fn measure(subject: &Subject, report: &mut Report, tick: Tick) -> Result<()> {
    let length = subject.corpus.first().map_or(0, Vec::len);
    let corpus: Vec<_> = subject.corpus.iter().filter(|row| row.len() == length).take(ROWS).cloned().collect();
    let tokens = (corpus.len() * length) as f64;
    let mut best = [0.0_f64; 3];
    let run = || {
        // The first turn warms up.
        for turn in 0..=TIMES {
            for (way, best) in best.iter_mut().enumerate() {
                let started = Instant::now();
                match way {
                    0 => models(subject, &corpus, tick)?,
                    way => variants(subject, &corpus, way == 2, tick)?,
                }
                if turn > 0 {
                    *best = best.max(tokens / started.elapsed().as_secs_f64());
                }
            }
        }
        Ok(())
    };
    if report.made("index", run)?.is_none() {
        return Ok(());
    }
    for (name, rate) in
        ["read_models_tokens_per_s", "read_variants_tokens_per_s", "index_tokens_per_s"].iter().zip(best)
    {
        report.figure(name, (rate * 10.0).round() / 10.0)?;
    }
    Ok(())
}

/// The rows through every model, up to the hook.
fn models(subject: &Subject, corpus: &[Vec<u32>], tick: Tick) -> Result<()> {
    let mut readers: Vec<_> = subject.readers.iter().collect();
    readers.dedup_by(|a, b| Arc::ptr_eq(&a.model, &b.model));
    for rows in corpus.chunks(ROWS / 2) {
        for reader in &readers {
            reader.model.capture(&token_tensor(rows, &reader.model)?, reader.hook, tick)?;
            reader.model.device.synchronize()?;
        }
    }
    Ok(())
}

/// The rows through every variant; what fires is put into an index or thrown away.
fn variants(subject: &Subject, corpus: &[Vec<u32>], index: bool, tick: Tick) -> Result<()> {
    let indexing = |rows: &[Vec<u32>]| {
        let rows = Arc::new(rows.to_vec());
        Indexing::new(subject.readers.clone(), rows, subject.setting, subject.special.clone(), u64::MAX)
    };
    let mut whole = indexing(corpus);
    for rows in corpus.chunks(ROWS / 2) {
        // What is read at a time is the same in both ways.
        let batch = if index { whole.next() } else { indexing(rows).next() };
        let fired = batch.map(|batch| batch.read(tick)).transpose()?;
        if let (true, Some(fired)) = (index, &fired) {
            whole.add(fired);
        }
    }
    Ok(())
}
