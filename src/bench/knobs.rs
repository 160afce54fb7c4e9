//! The other knobs of the slider: what each takes once, a step of it, and all paths against it.

use std::sync::Arc;

use prunelens_core::{
    compare::Variant,
    error::Result,
    progress::Tick,
    prune::sae::order,
    sae::{Criterion, Knob, Pruning},
};

use super::{REPEATS, Report, Subject, median_ms, read, round};

/// With the names of their figures: once, a step to the latents, and all paths.
const KNOBS: [(Knob, [&str; 3]); 3] = [
    (Knob::Bits, ["bits_once_s", "bits_slider_ms", "bits_paths_ms"]),
    (Knob::Rank, ["rank_once_s", "rank_slider_ms", "rank_paths_ms"]),
    (Knob::Latents(Criterion::Magnitude), ["latents_once_s", "latents_slider_ms", "latents_paths_ms"]),
];

pub fn measure(subject: &Subject, report: &mut Report, tick: Tick) -> Result<()> {
    let Some(reader) = subject.readers.iter().find(|reader| reader.variant == Variant::Pruned) else { return Ok(()) };
    for (knob, [once, slider, paths]) in KNOBS {
        let mut made = None;
        report.part(once, || {
            // The basis of a rank takes long: it is timed as it is made.
            let started = std::time::Instant::now();
            made = Some(Arc::new(order(&*reader.sae, knob, None, None, tick)?));
            Ok(round(started.elapsed().as_secs_f64()))
        })?;
        let Some(order) = made else { continue };
        let scale = knob.scale(reader.sae.d_in());
        let Some(mut prompt) = report.made(slider, || read(subject, tick))? else { continue };
        let mut step = 0;
        let mut next = || {
            step = (step + 37) % 90;
            Pruning { order: order.clone(), at: scale.nearest(0.13 + f64::from(step) / 105.0) }
        };
        report.part(slider, || median_ms(REPEATS, || prompt.set_pruning(next())))?;
        report.part(paths, || {
            median_ms(3, || {
                prompt.forget_paths();
                prompt.find_paths()
            })
        })?;
    }
    Ok(())
}
