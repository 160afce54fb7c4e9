//! A compressed model as a Hugging Face folder: the source's files, with its weight files rewritten.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorInfo;

use super::{
    dequantised,
    folder::Staged,
    report::Matrix,
    tensors::{Floats, TensorFile},
};
use crate::{
    error::{Error, Result},
    model::{
        Model, Opened, Tokenizer,
        load::CheckpointMatrix,
        weights::{Weights, parse_json},
    },
    progress::Tick,
};

/// Where the checkpoint's files come from.
pub enum Checkpoint {
    /// Of a Hugging Face model.
    Folder(PathBuf),
    /// Files in memory: names and bytes, the weights apart.
    Memory {
        /// Bytes of `model.safetensors`.
        weights: &'static [u8],
        /// Names and bytes of the other files.
        others: Vec<(&'static str, &'static [u8])>,
    },
}

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// Files that say how weights are quantised; the copy's are not.
const QUANTISERS: [&str; 2] = ["quantize_config.json", "quant_config.json"];
const INDEX: &str = "model.safetensors.index.json";

/// Small files that belong to a checkpoint: config, tokenizer, licence.
const COMPANIONS: [&str; 6] = ["json", "txt", "model", "jinja", "md", ""];
/// No companion is longer.
const LONGEST: u64 = 64 << 20;

/// Files of an older checkpoint that would be read instead of, or beside, the new ones.
pub fn is_weight_file(name: &str) -> bool {
    name == INDEX || (name.starts_with("model") && name.ends_with(".safetensors"))
}

/// What a rule changes of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the files are written anew, dequantised if they were not plain.
    Nothing,
    /// Some become zero; all others keep their bits.
    Zeros,
    /// Any number may become another.
    Values,
}

/// How the copy is written.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    /// Of the weights.
    pub change: Change,
    /// Of weights whose bits are not the source's.
    pub dtype: DType,
}

/// Sees each tensor's name, description and bytes, and may change the bytes.
pub(super) type Edit<'a> = &'a mut dyn FnMut(&str, &TensorInfo, &mut [u8]) -> Result<()>;

/// Write `pruned`, made of the model that `checkpoint` holds, and say how sparse its matrices are.
pub fn write(checkpoint: &Checkpoint, pruned: &Model, copy: Copy, staged: &Staged, tick: Tick) -> Result<Vec<Matrix>> {
    let mut rewrite = Rewrite::new(pruned, copy.change)?;
    let opened = checkpoint.open()?;
    checkpoint.copy_companions(&opened, staged)?;
    let mut edit = |name: &str, info: &TensorInfo, bytes: &mut [u8]| rewrite.tensor(name, info, bytes);
    // Processed weights are written into the source's own tensors, biases too.
    let same_files = opened.is_plain() && (copy.change != Change::Values || pruned.processed);
    if !same_files {
        dequantised::write(&opened, copy.dtype, WEIGHTS, staged, tick, &mut edit)?;
        return rewrite.finish();
    }
    let files: Vec<(String, TensorFile)> = match checkpoint {
        Checkpoint::Folder(_) => {
            let open = |path: &Path| Ok((file_name(path), TensorFile::open(path)?));
            opened.weights.files().map(open).collect::<Result<_>>()?
        }
        Checkpoint::Memory { weights, .. } => vec![(WEIGHTS.to_owned(), TensorFile::from_static(WEIGHTS, weights)?)],
    };
    for (name, file) in files {
        let mut edit = |name: &str, info: &TensorInfo, bytes: &mut [u8]| {
            tick()?;
            edit(name, info, bytes)
        };
        file.copy(&staged.file(&name), &mut edit)?.map_err(|e| staged.error(&e))?;
    }
    rewrite.finish()
}

impl Checkpoint {
    /// The small files of the model, with a tokenizer that a GGUF file may hold itself.
    pub(super) fn copy_companions(&self, opened: &Opened, staged: &Staged) -> Result<()> {
        let path = match self {
            Self::Folder(path) => path,
            Self::Memory { others, .. } => {
                return others.iter().try_for_each(|(name, bytes)| staged.write(name, bytes));
            }
        };
        companions(path, staged)?;
        if !opened.is_plain() && !staged.file(TOKENIZER).exists() {
            let (tokenizer, settings) = Tokenizer::load(path, &opened.config)?.to_json()?;
            staged.write(TOKENIZER, tokenizer.as_bytes())?;
            staged.write("tokenizer_config.json", settings.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn open(&self) -> Result<Opened> {
        match self {
            Self::Folder(dir) => Opened::open(dir),
            Self::Memory { weights, others } => {
                let config = others.iter().find(|(name, _)| *name == CONFIG).map_or(&b"{}"[..], |(_, bytes)| bytes);
                let path = Path::new(CONFIG);
                Opened::new("demo".into(), path, parse_json(path, config)?, Weights::from_static(WEIGHTS, weights)?)
            }
        }
    }
}

/// Beside a GGUF file only a tokenizer is the model's.
fn companions(source: &Path, staged: &Staged) -> Result<()> {
    let gguf = source.is_file() || !source.join(CONFIG).exists();
    let dir = if source.is_dir() { source } else { source.parent().unwrap_or(Path::new("")) };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    for entry in std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let entry = entry.map_err(|e| Error::io(dir, e))?;
        let path = entry.path();
        let found = std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let name = file_name(&path);
        let other_weights = name.ends_with(".index.json") && name != INDEX;
        if found.is_file()
            && found.len() <= LONGEST
            && COMPANIONS.contains(&extension)
            && !name.starts_with('.')
            && !other_weights
            && !QUANTISERS.contains(&name.as_str())
            && (!gguf || name.starts_with("tokenizer"))
        {
            staged.copy(&path, &name)?;
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Which values of the checkpoint's tensors change.
struct Rewrite<'a> {
    model: &'a Model,
    change: Change,
    /// By name without the prefix that some files leave out.
    matrices: HashMap<String, CheckpointMatrix>,
    /// Of norms inside the blocks, likewise.
    norms: Vec<String>,
    /// What the model adds to a norm's weight as the file has it.
    norm_offset: f32,
    /// Reported in the order of the model, not of the file.
    reports: HashMap<String, Matrix>,
}

/// `transformer.h.0...` and `h.0...` are the same tensor; models that see images have their text part under names of its own.
pub(super) fn key(name: &str) -> &str {
    ["language_model.model.", "model.language_model.", "transformer.", "model.", "gpt_neox."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

impl<'a> Rewrite<'a> {
    fn new(model: &'a Model, change: Change) -> Result<Self> {
        let matrices = model.checkpoint_matrices()?;
        Ok(Self {
            model,
            change,
            matrices: matrices.into_iter().map(|m| (key(&m.name).to_owned(), m)).collect(),
            norms: model.checkpoint_norms()?.iter().map(|name| key(name).to_owned()).collect(),
            norm_offset: model.norm_offset()?,
            reports: HashMap::new(),
        })
    }

    fn tensor(&mut self, name: &str, info: &TensorInfo, bytes: &mut [u8]) -> Result<()> {
        let (stem, kind) = key(name).rsplit_once('.').unwrap_or((key(name), ""));
        let matrix = self.matrices.get(&format!("{stem}.weight"));
        let norm = self.norms.iter().any(|norm| norm == stem);
        if matrix.is_none() && !norm {
            return Ok(());
        }
        let floats = Floats::of(info.dtype)
            .ok_or_else(|| Error::invalid(format!("tensor {name:?}: expected floats, found {:?}", info.dtype)))?;
        match matrix {
            Some(matrix) if kind == "weight" => {
                if self.change != Change::Nothing {
                    let weight = Part { weight: matrix.values(self.model)?, matrix, inputs: self.inputs(matrix)? };
                    if self.model.processed || self.change == Change::Values {
                        floats.put(bytes, |at| weight.at(at));
                    } else {
                        floats.zero(bytes, |at| weight.at(at) == 0.0);
                    }
                }
                self.reports.insert(key(name).to_owned(), Matrix::new(name, &info.shape, floats.zeros(bytes)));
            }
            // Default processing moves norms and biases into the matrices that were pruned, so those go along. Embedding,
            // final norm and output stay: the model predicts the same, and the file needs no tensor that it had not.
            Some(matrix) if self.model.processed => {
                let bias = self.bias(matrix)?;
                floats.put(bytes, |at| bias.get(at).copied().unwrap_or(0.0));
            }
            // Biases of what was dropped whole.
            Some(matrix) if self.change != Change::Nothing => {
                let bias = self.bias(matrix)?;
                floats.zero(bytes, |at| bias.get(at) == Some(&0.0));
            }
            None if self.model.processed => {
                let value = if kind == "weight" { 1.0 - self.norm_offset } else { 0.0 };
                floats.put(bytes, |_| value);
            }
            _ => {}
        }
        Ok(())
    }

    fn inputs(&self, matrix: &CheckpointMatrix) -> Result<usize> {
        Ok(self.model.blocks[matrix.layer].linear(matrix.part).weight.dim(1)?)
    }

    fn bias(&self, matrix: &CheckpointMatrix) -> Result<Vec<f32>> {
        match &self.model.blocks[matrix.layer].linear(matrix.part).bias {
            Some(bias) => values(&rows(bias, matrix)?),
            None => Ok(Vec::new()),
        }
    }

    fn finish(mut self) -> Result<Vec<Matrix>> {
        let in_order = self.model.checkpoint_matrices()?;
        let take = |m: CheckpointMatrix| {
            let missing = || Error::invalid(format!("tensor {:?} is not in the checkpoint's files", m.name));
            self.reports.remove(key(&m.name)).ok_or_else(missing)
        };
        in_order.into_iter().map(take).collect()
    }
}

impl CheckpointMatrix {
    /// Its numbers, `[outputs, inputs]`.
    pub(super) fn values(&self, model: &Model) -> Result<Vec<f32>> {
        values(&rows(&model.blocks[self.layer].linear(self.part).weight, self)?)
    }
}

/// The part's rows that a matrix of the file holds, in the file's order.
fn rows(tensor: &Tensor, matrix: &CheckpointMatrix) -> Result<Tensor> {
    let places: Vec<u32> = matrix.rows.iter().map(|row| *row as u32).collect();
    Ok(tensor.index_select(&Tensor::new(places, tensor.device())?, 0)?)
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// Rows of a part as the file has them.
struct Part<'a> {
    /// `[outputs, inputs]`.
    weight: Vec<f32>,
    matrix: &'a CheckpointMatrix,
    inputs: usize,
}

impl Part<'_> {
    /// The value at a place of the file's tensor.
    fn at(&self, at: usize) -> f32 {
        if !self.matrix.transposed {
            return self.weight[at];
        }
        let outputs = self.matrix.rows.len();
        self.weight[at % outputs * self.inputs + at / outputs]
    }
}
