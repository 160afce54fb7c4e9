//! A stopped run on disk: one safetensors file that is replaced whole.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use super::{
    adam::{Adam, Moments},
    figures::Sums,
    kind::Architecture,
    spec::{TrainSpec, first_difference},
    state::{Course, State},
    stream::Position,
    weights::Weights,
};
use crate::{
    error::{Error, Result},
    files::write_atomic,
    text::shorten,
};

/// Name of the file in the folder of the SAE.
const FILE: &str = "checkpoint.safetensors";

/// Key of the settings in the file's metadata.
const SETTINGS: &str = "prunelens_train";

/// The checkpoint of a run in one folder, with the settings that decide the run's outcome.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    settings: Value,
}

impl Checkpoint {
    /// In the folder of the SAE to be, for a run with these settings.
    pub fn new(folder: &Path, settings: Value) -> Self {
        Self { path: folder.join(FILE), settings }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Remove it if it is there.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&self.path, e)),
            _ => Ok(()),
        }
    }

    /// The folder of the SAE.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Replace it by this state, whole or not at all.
    pub fn save(&self, spec: &TrainSpec, state: &State) -> Result<()> {
        write_atomic(&self.path, &encode(spec, state, Some(&self.settings))?)
    }

    /// Read it back for a run on activations of `d_in`; refuses one made with other settings and names what differs.
    pub fn load(&self, spec: &TrainSpec, d_in: usize) -> Result<State> {
        let broken = |what: String| Error::file(&self.path, format!("{what}; --restart begins anew"));
        let bytes = fs::read(&self.path).map_err(|e| Error::io(&self.path, e))?;
        let of_another = |key: &str, stored: &str, asked: &str| {
            Error::file(
                &self.path,
                format!(
                    "made with {key} = {stored}, but {asked} is asked for; give the same settings, or --restart to begin anew"
                ),
            )
        };
        decode(&bytes, spec, d_in, Some((&self.settings, &of_another)), &broken)
    }
}

/// A state as the bytes of a safetensors file.
pub(super) fn encode(spec: &TrainSpec, state: &State, settings: Option<&Value>) -> Result<Vec<u8>> {
    let (d_in, d_sae) = (state.weights.d_in, state.weights.d_sae);
    let mut tensors = Vec::new();
    for (name, values) in floats(&spec.architecture, state) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensors.push((name.clone(), Dtype::F32, shape(&name, d_in, d_sae), bytes));
    }
    for (name, values) in [("numbers", numbers(state)), ("last_fired", state.course.last_fired.clone())] {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensors.push((name.to_owned(), Dtype::U64, vec![values.len()], bytes));
    }
    let refused =
        |e: safetensors::SafeTensorError| Error::invalid(format!("a training's state cannot be written: {e}"));
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes).map_err(refused)?)));
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata = settings.map(|settings| HashMap::from([(SETTINGS.to_owned(), settings.to_string())]));
    safetensors::serialize(views, metadata).map_err(refused)
}

/// What to say of settings that differ: the key, what was stored, what is asked for.
type OfAnother<'a> = &'a dyn Fn(&str, &str, &str) -> Error;

/// Undo [`encode`] for a run on activations of `d_in`, with these settings if any.
pub(super) fn decode(
    bytes: &[u8],
    spec: &TrainSpec,
    d_in: usize,
    settings: Option<(&Value, OfAnother)>,
    broken: &dyn Fn(String) -> Error,
) -> Result<State> {
    let d_sae = spec.d_sae;
    let unreadable = |e| broken(format!("not a whole checkpoint ({})", shorten(&format!("{e}"), 200)));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
    if let Some((asked, of_another)) = settings {
        let stored = header.metadata().as_ref().and_then(|m| m.get(SETTINGS));
        let stored = stored.ok_or_else(|| broken("not a checkpoint of this program".into()))?;
        let stored: Value =
            serde_json::from_str(stored).map_err(|e| broken(format!("its settings are not JSON: {e}")))?;
        // What is asked for goes through text as what is stored did: numbers then compare equal if they are.
        let asked: Value = serde_json::from_str(&asked.to_string()).map_err(|e| broken(e.to_string()))?;
        if let Some((key, stored, asked)) = first_difference(&stored, &asked) {
            let [stored, asked] = [stored, asked].map(|v| shorten(&v, 200));
            return Err(of_another(&key, &stored, &asked));
        }
    }

    let tensor = |name: &str, dtype: Dtype, shape: &[usize]| {
        let tensor = tensors.tensor(name).map_err(|_| broken(format!("tensor {name:?} is missing")))?;
        if tensor.dtype() != dtype || tensor.shape() != shape {
            let (found, found_shape) = (tensor.dtype(), tensor.shape());
            return Err(broken(format!(
                "tensor {name:?}: expected {dtype:?} {shape:?}, found {found:?} {found_shape:?}"
            )));
        }
        Ok(tensor.data().to_vec())
    };
    let integers = |name: &str, len: usize| -> Result<Vec<u64>> {
        Ok(tensor(name, Dtype::U64, &[len])?.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect())
    };
    let floats = |name: &str| -> Result<Vec<f32>> {
        let bytes = tensor(name, Dtype::F32, &shape(name, d_in, d_sae))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    let moments = |name: &str| -> Result<Moments> {
        Ok(Moments { first: floats(&format!("first.{name}"))?, second: floats(&format!("second.{name}"))? })
    };
    let vectors = spec.architecture.vectors();
    let numbers = integers("numbers", NUMBERS + Sums::new(d_in).to_row().len())?;
    let (numbers, recent) = numbers.split_at(NUMBERS);
    let recent: Vec<f64> = recent.iter().map(|bits| f64::from_bits(*bits)).collect();
    let [w_enc, b_enc, w_dec, b_dec] = PARTS;
    Ok(State {
        weights: Weights {
            d_in,
            d_sae,
            w_enc: floats(w_enc)?,
            b_enc: floats(b_enc)?,
            w_dec: floats(w_dec)?,
            b_dec: floats(b_dec)?,
            vectors: vectors.iter().map(|name| floats(name)).collect::<Result<_>>()?,
        },
        adam: Adam {
            steps: numbers[0],
            w_enc: moments(w_enc)?,
            b_enc: moments(b_enc)?,
            w_dec: moments(w_dec)?,
            b_dec: moments(b_dec)?,
            vectors: vectors.iter().map(|name| moments(name)).collect::<Result<_>>()?,
        },
        course: Course {
            tokens: numbers[1],
            position: Position { group: numbers[2], batch: numbers[3] },
            seconds: f64::from_bits(numbers[4]),
            scale: f64::from_bits(numbers[5]) as f32,
            threshold: f64::from_bits(numbers[6]),
            last_fired: integers("last_fired", d_sae)?,
            recent: Sums::from_row(&recent, d_in).ok_or_else(|| broken("its figures do not fit".into()))?,
        },
    })
}

const PARTS: [&str; 4] = ["W_enc", "b_enc", "W_dec", "b_dec"];

/// Single numbers before those of the figures.
const NUMBERS: usize = 7;

/// All single numbers as 64 bits each, so that they come back exactly.
fn numbers(state: &State) -> Vec<u64> {
    let course = &state.course;
    let Position { group, batch } = course.position;
    let exact = [course.seconds, f64::from(course.scale), course.threshold]
        .into_iter()
        .chain(course.recent.to_row())
        .map(f64::to_bits);
    [state.adam.steps, course.tokens, group, batch].into_iter().chain(exact).collect()
}

fn floats<'a>(architecture: &Architecture, state: &'a State) -> Vec<(String, &'a [f32])> {
    let State { weights: w, adam, .. } = state;
    let weights = [&w.w_enc, &w.b_enc, &w.w_dec, &w.b_dec].into_iter().chain(&w.vectors);
    let moments = [&adam.w_enc, &adam.b_enc, &adam.w_dec, &adam.b_dec].into_iter().chain(&adam.vectors);
    let parts = || PARTS.iter().chain(architecture.vectors());
    let mut all: Vec<(String, &[f32])> = parts().zip(weights).map(|(p, w)| ((*p).to_owned(), &w[..])).collect();
    for (part, Moments { first, second }) in parts().zip(moments) {
        all.push((format!("first.{part}"), first));
        all.push((format!("second.{part}"), second));
    }
    all
}

fn shape(name: &str, d_in: usize, d_sae: usize) -> Vec<usize> {
    match name.rsplit('.').next().unwrap_or(name) {
        "W_enc" | "W_dec" => vec![d_sae, d_in],
        "b_dec" => vec![d_in],
        _ => vec![d_sae],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::train::{Budget, TrainSpec, Work};

    fn spec() -> TrainSpec {
        TrainSpec::new(Architecture::Gated { l1: 0.5, l1_warm_up: 0.0 }, 6, Budget::Tokens(100))
    }

    fn state() -> State {
        let spec = spec();
        let mut state = State::new(&spec, 4, 0.1, &[0.5; 16]);
        let x: Vec<f32> = (0..80).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut work = Work::default();
        (0..3).for_each(|_| state.step(&spec, &x, 0.5, &mut work).unwrap());
        state.course.seconds = 0.1 + 0.2;
        state
    }

    #[test]
    fn comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(folder.path(), json!({"lr": 1e-3 / 3.0}));
        assert!(!checkpoint.exists());
        checkpoint.save(&spec(), &state()).unwrap();
        assert_eq!(checkpoint.load(&spec(), 4).unwrap(), state());
        checkpoint.remove().unwrap();
        checkpoint.remove().unwrap();
        assert!(!checkpoint.exists());
    }

    #[test]
    fn other_settings_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let settings = |lr: f64, hook: &str| Checkpoint::new(folder.path(), json!({"train": {"lr": lr}, "hook": hook}));
        settings(0.1, "a").save(&spec(), &state()).unwrap();
        assert!(settings(0.1, "a").load(&spec(), 4).is_ok());
        let message = settings(0.2, "a").load(&spec(), 4).unwrap_err().to_string();
        assert!(message.contains("train.lr = 0.1, but 0.2"), "{message}");
        let message = settings(0.1, "b").load(&spec(), 4).unwrap_err().to_string();
        assert!(message.contains("hook"), "{message}");
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(folder.path(), json!({}));
        checkpoint.save(&spec(), &state()).unwrap();
        assert!(checkpoint.load(&spec(), 5).unwrap_err().to_string().contains("expected"));
        let bytes = fs::read(checkpoint.path()).unwrap();
        fs::write(checkpoint.path(), &bytes[..bytes.len() - 9]).unwrap();
        assert!(checkpoint.load(&spec(), 4).unwrap_err().to_string().contains("not a whole checkpoint"));
        fs::write(checkpoint.path(), b"").unwrap();
        assert!(checkpoint.load(&spec(), 4).is_err());
    }
}
