//! Loss and gradients where few latents fire: past the encoder's matrix product, all work is on lists of them. Twin:
//! `core::train::sparse`.

use candle_core::Tensor;

use super::{
    Backend, Buffer, Gradients, Outcome, Shape, Sums, Task, address_of, bits,
    choose::{Lists, choose},
    launch,
};
use crate::{
    error::{Error, Result},
    select::{Auxiliary, Choice},
};

/// Tokens whose entries are counted together, as in the kernels.
const TILE: usize = 64;
const THREADS: u32 = 256;
/// Figures of a token, as in the kernel.
const FIGURES: usize = 5;

/// Loss and gradients of a batch. The first latents up to each of `widths` reconstruct alone as well; the last width is all.
pub fn sparse(
    backend: &dyn Backend,
    task: &Task,
    choice: Choice,
    widths: &[usize],
    l1: f32,
    auxiliary: Auxiliary,
) -> Result<Outcome> {
    let (tokens, d_in, d_sae) = (task.tokens()?, task.weights.d_in(), task.weights.d_sae());
    let with_dead = !task.dead.is_empty() && auxiliary.weight > 0.0 && auxiliary.k > 0;
    let dead_k = if with_dead { auxiliary.k.min(task.dead.len()) } else { 0 };
    let share = if with_dead { dead_k as f32 / auxiliary.k as f32 } else { 0.0 };
    let planes = widths.len() + usize::from(with_dead);
    if u32::try_from(planes * tokens).is_err() || u32::try_from(d_sae).is_err() {
        return Err(Error::invalid(format!(
            "a batch of {tokens} tokens and {d_sae} latents is more than a GPU's kernels count"
        )));
    }
    let centred = task.centred()?;
    let chosen = choose(backend, task, &centred, choice, dead_k)?;
    let sets = Sets { widths: Buffer::from_slice(backend, &widths.iter().map(|w| *w as u32).collect::<Vec<_>>())? };
    let planes = Buffer::<f32>::new(backend, planes * tokens * d_in)?;
    let figures = Buffer::<f64>::new(backend, tokens * FIGURES)?;
    let dead = |of: fn(&Lists) -> u64| chosen.dead.as_ref().map_or(0, of);
    let arguments = [
        address_of(backend, task.x)?,
        address_of(backend, &task.weights.b_dec)?,
        address_of(backend, &task.weights.w_dec)?,
        chosen.main.starts.address(),
        chosen.main.ends(),
        chosen.main.indices.address(),
        chosen.main.values.address(),
        dead(|lists| lists.indices.address()),
        dead(|lists| lists.values.address()),
        dead_k as u64,
        sets.widths.address(),
        sets.len(),
        d_in as u64,
        bits(auxiliary.weight * share),
        planes.address(),
        figures.address(),
    ];
    launch(backend, "train", "reconstruct", Shape::many_rows(tokens, d_in)?, &arguments)?;

    let (main, penalties) = back(backend, task, &planes, &chosen.main, Some(&sets), &sets, l1)?;
    let dead = match &chosen.dead {
        Some(lists) => Some((lists, back(backend, task, &planes, lists, None, &sets, 0.0)?.0)),
        None => None,
    };
    let mut of_all = vec![(&chosen.main, &main, Some(&sets))];
    of_all.extend(dead.as_ref().map(|(lists, gradients)| (*lists, gradients, None)));
    let ByLatent { w_enc, b_enc, w_dec, by_length, fired } =
        by_latent(backend, task, &planes, &centred, &of_all, &sets, l1)?;

    let first = planes.into_tensor(backend, &[sets.len() as usize + usize::from(with_dead), tokens, d_in])?.get(0)?;
    let b_dec = Gradients::of_b_dec(&first, &b_enc, task.weights)?;
    let sums = sums(backend, task, &figures, &penalties)?;
    let least = chosen.least(backend)?;
    let fired = fired.to_vec(backend)?.into_iter().map(|fired| fired != 0).collect();
    let gradients = Gradients { w_enc, b_enc, w_dec, b_dec, vectors: Vec::new(), by_length };
    Ok(Outcome { sums, gradients, fired, least })
}

/// Sets of latents that reconstruct alone, with all before them.
struct Sets {
    widths: Buffer<u32>,
}

impl Sets {
    fn len(&self) -> u64 {
        self.widths.len() as u64
    }
}

fn sums(backend: &dyn Backend, task: &Task, figures: &Buffer<f64>, penalties: &Buffer<f64>) -> Result<Sums> {
    let mut total = [0.0; FIGURES];
    for of_token in figures.to_vec(backend)?.chunks_exact(FIGURES) {
        total.iter_mut().zip(of_token).for_each(|(sum, value)| *sum += value);
    }
    let [squared_error, squared_input, inner, auxiliary, active] = total;
    let penalty = penalties.to_vec(backend)?.iter().sum();
    Ok(Sums { squared_error, squared_input, inner, auxiliary, penalty, active, input: task.input()? })
}

/// Gradients by the pre-activations of listed latents, and the L1 penalty of each token. Dead latents are in no set.
fn back(
    backend: &dyn Backend,
    task: &Task,
    planes: &Buffer<f32>,
    lists: &Lists,
    of: Option<&Sets>,
    sets: &Sets,
    l1: f32,
) -> Result<(Buffer<f32>, Buffer<f64>)> {
    let tokens = task.tokens()?;
    let gradients = Buffer::<f32>::new(backend, lists.indices.len())?;
    let penalties = Buffer::<f64>::new(backend, tokens)?;
    let arguments = [
        planes.address(),
        address_of(backend, &task.weights.w_dec)?,
        task.lengths.address(),
        lists.starts.address(),
        lists.ends(),
        lists.indices.address(),
        lists.values.address(),
        of.map_or(0, |sets| sets.widths.address()),
        sets.len(),
        task.weights.d_in() as u64,
        bits(l1),
        gradients.address(),
        penalties.address(),
    ];
    launch(backend, "train", "back", Shape::rows(tokens, THREADS)?, &arguments)?;
    Ok((gradients, penalties))
}

/// What entries of each latent add up to: gradients, and whether it fired.
struct ByLatent {
    w_enc: Tensor,
    b_enc: Tensor,
    w_dec: Tensor,
    by_length: Buffer<f32>,
    fired: Buffer<u32>,
}

/// Sorts all entries by latent and adds them up.
fn by_latent(
    backend: &dyn Backend,
    task: &Task,
    planes: &Buffer<f32>,
    centred: &Tensor,
    all: &[(&Lists, &Buffer<f32>, Option<&Sets>)],
    sets: &Sets,
    l1: f32,
) -> Result<ByLatent> {
    let (tokens, d_in, d_sae) = (task.tokens()?, task.weights.d_in(), task.weights.d_sae());
    let tiles = tokens.div_ceil(TILE);
    let counts = Buffer::<u32>::zeros(backend, all.len() * tiles * d_sae)?;
    for (at, (lists, ..)) in all.iter().enumerate() {
        let arguments = [
            lists.starts.address(),
            lists.ends(),
            lists.indices.address(),
            tokens as u64,
            d_sae as u64,
            (at * tiles) as u64,
            counts.address(),
        ];
        launch(backend, "train", "tile_counts", Shape::rows(tiles, THREADS)?, &arguments)?;
    }
    let (totals, starts) = (Buffer::<u64>::new(backend, d_sae)?, Buffer::<u64>::new(backend, d_sae + 1)?);
    let arguments = [counts.address(), (all.len() * tiles) as u64, d_sae as u64, totals.address()];
    launch(backend, "train", "tile_starts", Shape::over(d_sae as u64)?, &arguments)?;
    let arguments = [totals.address(), d_sae as u64, starts.address()];
    launch(backend, "train", "sums_before", Shape::long_rows(1, d_sae)?, &arguments)?;

    let room = all.iter().map(|(lists, ..)| lists.indices.len()).sum();
    let rows = Buffer::<u32>::new(backend, room)?;
    let (values, gradients) = (Buffer::<f32>::new(backend, room)?, Buffer::<f32>::new(backend, room)?);
    for (at, (lists, of_lists, of)) in all.iter().enumerate() {
        let arguments = [
            lists.starts.address(),
            lists.ends(),
            lists.indices.address(),
            lists.values.address(),
            of_lists.address(),
            tokens as u64,
            d_sae as u64,
            (at * tiles) as u64,
            counts.address(),
            starts.address(),
            of.map_or(0, |sets| sets.widths.address()),
            sets.len(),
            rows.address(),
            values.address(),
            gradients.address(),
        ];
        launch(backend, "train", "place", Shape::rows(tiles, THREADS)?, &arguments)?;
    }
    let new = |len| Buffer::<f32>::new(backend, len);
    let (w_enc, w_dec) = (new(d_sae * d_in)?, new(d_sae * d_in)?);
    let (b_enc, by_length, fired) = (new(d_sae)?, new(d_sae)?, Buffer::<u32>::new(backend, d_sae)?);
    let arguments = [
        starts.address(),
        rows.address(),
        values.address(),
        gradients.address(),
        planes.address(),
        address_of(backend, centred)?,
        tokens as u64,
        d_in as u64,
        sets.len(),
        bits(l1),
        w_enc.address(),
        w_dec.address(),
        b_enc.address(),
        by_length.address(),
        fired.address(),
    ];
    let whole = Shape::many_rows(d_sae, d_in)?;
    let shape = Shape::grid(d_sae as u64, d_in.div_ceil(whole.threads as usize) as u64, whole.threads)?;
    launch(backend, "train", "add_entries", shape, &arguments)?;
    Ok(ByLatent {
        w_enc: w_enc.into_tensor(backend, &[d_sae, d_in])?,
        b_enc: b_enc.into_tensor(backend, &[d_sae])?,
        w_dec: w_dec.into_tensor(backend, &[d_sae, d_in])?,
        by_length,
        fired,
    })
}
