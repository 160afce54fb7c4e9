//! Training of SAEs: reading, steps and both together, in tokens a second, and the cores that are busy meanwhile.

use std::{collections::HashSet, sync::Arc, time::Instant};

use prunelens_core::{
    error::{Error, Result},
    model::{HookPoint, Model},
    progress::Tick,
    train::{Budget, TrainSpec, Trainer, Training, activations::ModelActivations},
};

use super::{Report, round};
use crate::process::cpu_seconds;

/// Steps that a buffer is enough for, at least. One whole buffer is timed, its reading and all steps on it, after one that is not.
const STEPS: usize = 4;
/// SAEs that share a reading in the second part.
const SHARING: usize = 4;

/// Time the training of TopK SAEs of `d_sae` latents on these rows: one alone, then several that differ in their seeds.
pub fn measure(
    model: &Arc<Model>,
    hook: HookPoint,
    special: &HashSet<u32>,
    rows: &[Vec<u32>],
    d_sae: usize,
    report: &mut Report,
    tick: Tick,
) -> Result<()> {
    let spec = |seed| TrainSpec {
        seed,
        buffer: 1024 * STEPS,
        ..TrainSpec::topk(32.min(d_sae), d_sae, Budget::Tokens(1 << 40))
    };
    report.figure("train_batch", spec(0).batch)?;
    report.figure("train_sae_mb", round(Trainer::bytes(&spec(0), model.d_in(hook.site)) as f64 / 1e6))?;
    for (name, saes) in [("train", 1), ("train4", SHARING)] {
        let all = (0..saes as u64).map(|seed| (spec(seed), 0)).collect();
        let rows = rows.to_vec();
        let source = ModelActivations::new(model.clone(), vec![hook], special.clone(), rows, None, 0, 0);
        let Some(times) =
            report.made(&format!("{name}_tokens_per_s"), || time(Training::new(Box::new(source), all)?, tick))?
        else {
            continue;
        };
        report.figure(
            &format!("{name}_tokens_per_s"),
            round(saes as f64 * times.trained / (times.reading + times.steps)),
        )?;
        if saes == 1 {
            report.figure("train_read_tokens_per_s", round(times.read / times.reading))?;
            report.figure("train_step_tokens_per_s", round(times.trained / times.steps))?;
        }
        report.figure(&format!("{name}_step_ms"), round(1e3 * times.steps / times.count as f64))?;
        report.figure(&format!("{name}_cores_busy"), times.cores.map(round))?;
    }
    Ok(())
}

/// Seconds and tokens of the steps that were timed.
struct Times {
    reading: f64,
    steps: f64,
    count: usize,
    read: f64,
    trained: f64,
    cores: Option<f64>,
}

fn time(mut training: Training, tick: Tick) -> Result<Times> {
    let mut buffer = |training: &mut Training| -> Result<usize> {
        let mut steps = 0;
        while training.step(&mut |_, _| {}, tick)? {
            steps += 1;
            if training.is_at_new_buffer() {
                break;
            }
        }
        Ok(steps)
    };
    buffer(&mut training)?;
    let tokens = |training: &Training| training.trainers().first().and_then(Trainer::figures).map_or(0, |f| f.tokens);
    let (seconds, read, trained) = (training.seconds(), training.tokens_read(), tokens(&training));
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let count = buffer(&mut training)?;
    let wall = started.elapsed().as_secs_f64();
    let cores = cpu_seconds().zip(cpu).map(|(after, before)| (after - before) / wall);
    let (after, read) = (training.seconds(), training.tokens_read() - read);
    let trained = tokens(&training) - trained;
    if trained == 0 {
        return Err(training
            .finish()
            .into_iter()
            .find_map(Result::err)
            .unwrap_or_else(|| Error::invalid("nothing was trained")));
    }
    Ok(Times {
        reading: after.0 - seconds.0,
        steps: after.1 - seconds.1,
        count,
        read: read as f64,
        trained: trained as f64,
        cores,
    })
}
