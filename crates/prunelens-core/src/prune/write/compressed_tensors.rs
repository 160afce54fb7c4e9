//! A compressed model as compressed-tensors has it, the format of llm-compressor and vLLM: codes of rounded matrices packed into
//! words (`pack-quantized`) or fp8 (`float-quantized`), and 2:4 sparse matrices with a bitmask (`sparse-24-bitmask`). Scales are
//! f32, so that who reads it in f32 gets what the rule made, to the bit.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use candle_core::DType;
use safetensors::{Dtype, tensor::TensorInfo};
use serde_json::{Map, Value, json};

use super::{
    checkpoint::{Checkpoint, key},
    dequantised::{float_type, start},
    folder::Staged,
    report::Matrix,
    tensors::Floats,
};
use crate::{
    error::{Error, Result},
    model::{Model, Opened, load::CheckpointMatrix, opened::Parameter},
    progress::Tick,
    prune::codes::{Coded, Codes, Number},
};

/// Name, type, shape and bytes of a tensor.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// The matrices of a model that the format can hold; what it cannot is refused by name. Asked before a copy is made, it saves the time.
pub fn held(model: &Model) -> Result<Vec<CheckpointMatrix>> {
    let matrices = model.checkpoint_matrices()?;
    match matrices.iter().find(|matrix| matrix.transposed) {
        Some(matrix) => Err(Error::invalid(format!(
            "compressed-tensors holds Linear modules, and {:?} is a Conv1D; write plain floats with --format plain",
            matrix.name
        ))),
        None => Ok(matrices),
    }
}

/// Write `model`, made of the model that `checkpoint` holds: `codes` are those of its rounded matrices; without any, its matrices
/// are 2:4 sparse. Weights that are no codes have a type of floats.
pub fn write(
    checkpoint: &Checkpoint,
    model: &Model,
    codes: &Codes,
    dtype: DType,
    staged: &Staged,
    tick: Tick,
) -> Result<Vec<Matrix>> {
    let opened = checkpoint.open()?;
    checkpoint.copy_companions(&opened, staged)?;
    let matrices = held(model)?;
    let scheme = Scheme::of(codes, &matrices)?;
    let mut copy = Writer { model, codes, dtype, matrices: &matrices, reports: HashMap::new() };
    // Twice: the header comes before the data, and whole models are not held in memory.
    let parameters = opened.parameters()?;
    let (mut infos, mut end) = (Vec::new(), 0);
    for parameter in &parameters {
        for (name, dtype, shape) in copy.shapes(parameter)? {
            let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            infos.push((name, TensorInfo { dtype, shape, data_offsets: (end, end + bytes) }));
            end += bytes;
        }
    }
    let path = staged.file(WEIGHTS);
    let mut out = start(&path, &infos).map_err(|e| staged.error(&e))?;
    for parameter in &parameters {
        tick()?;
        for (.., bytes) in copy.tensors(&opened, parameter)? {
            out.write_all(&bytes).map_err(|e| staged.error(&e))?;
        }
    }
    let written = out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
    written.map_err(|e| staged.error(&e))?;
    let mut config = opened.plain_config(float_type(dtype).1)?;
    config["quantization_config"] = scheme.config(opened.unembed()?);
    let config = serde_json::to_string_pretty(&config).map_err(|e| Error::invalid(format!("config.json: {e}")))?;
    staged.write("config.json", config.as_bytes())?;
    let take = |matrix: &CheckpointMatrix| {
        let missing = || Error::invalid(format!("tensor {:?} is not in the checkpoint's files", matrix.name));
        copy.reports.remove(&matrix.name).ok_or_else(missing)
    };
    matrices.iter().map(take).collect()
}

const WEIGHTS: &str = "model.safetensors";

/// What all matrices have in common.
enum Scheme {
    Sparse24,
    Rounded { number: Number, group: Option<usize>, symmetric: bool, scattered: bool },
}

impl Scheme {
    fn of(codes: &Codes, matrices: &[CheckpointMatrix]) -> Result<Self> {
        if codes.is_empty() {
            return Ok(Self::Sparse24);
        }
        let mut coded = matrices.iter().map(|matrix| {
            let missing = || Error::invalid(format!("{:?} was not rounded with the others", matrix.name));
            codes.get(&matrix.name).map(|coded| (&matrix.name, coded)).ok_or_else(missing)
        });
        let Some(first) = coded.next() else { return Err(Error::invalid("the model has no blocks")) };
        let (name, first) = first?;
        for next in coded {
            let (_, next) = next?;
            if (next.number, next.group) != (first.number, first.group) {
                return Err(Error::invalid("matrices that are rounded in different ways have no place in one group"));
            }
        }
        match first.number {
            Number::Int(bits) if ![4, 8].contains(&bits) => Err(Error::invalid(format!(
                "{name:?}: compressed-tensors is written for codes of 4 or 8 bits, found {bits}; write plain floats with --format plain"
            ))),
            number => Ok(Self::Rounded {
                number,
                group: first.group,
                symmetric: first.zeros.is_none(),
                scattered: first.groups.is_some(),
            }),
        }
    }

    /// All linear modules but the one that is left as it is.
    fn config(&self, unembed: &str) -> Value {
        let ignore = [unembed];
        let (format, groups, sparsity) = match self {
            Self::Sparse24 => {
                let sparsity = json!({
                    "format": "sparse-24-bitmask", "global_sparsity": 0.5, "ignore": ignore, "targets": ["Linear"],
                    "registry_requires_subclass": false, "sparsity_structure": "2:4",
                });
                ("dense", json!({}), sparsity)
            }
            Self::Rounded { number, group, symmetric, scattered } => {
                let (format, bits, kind) = match number {
                    Number::Int(bits) => ("pack-quantized", *bits, "int"),
                    Number::Fp8 => ("float-quantized", 8, "float"),
                };
                let weights = json!({
                    "num_bits": bits, "type": kind, "symmetric": symmetric, "dynamic": false,
                    "strategy": if group.is_some() { "group" } else { "channel" }, "group_size": group,
                    "actorder": scattered.then_some("group"), "block_structure": null,
                    "observer": "minmax", "observer_kwargs": {},
                });
                let group = json!({
                    "format": format, "targets": ["Linear"], "weights": weights, "input_activations": null,
                    "output_activations": null,
                });
                (format, json!({ "group_0": group }), json!({}))
            }
        };
        let mut config = Map::new();
        config.insert("quant_method".into(), json!("compressed-tensors"));
        config.insert("quantization_status".into(), json!("compressed"));
        config.insert("format".into(), json!(format));
        config.insert("config_groups".into(), groups);
        config.insert("sparsity_config".into(), sparsity);
        config.insert("ignore".into(), json!(ignore));
        config.insert("kv_cache_scheme".into(), Value::Null);
        Value::Object(config)
    }
}

struct Writer<'a> {
    model: &'a Model,
    codes: &'a Codes,
    /// Of what is no code.
    dtype: DType,
    matrices: &'a [CheckpointMatrix],
    reports: HashMap<String, Matrix>,
}

impl Writer<'_> {
    fn matrix(&self, parameter: &Parameter) -> Option<&CheckpointMatrix> {
        self.matrices.iter().find(|matrix| key(&matrix.name) == key(&parameter.published))
    }

    /// What [`Self::tensors`] will give.
    fn shapes(&self, parameter: &Parameter) -> Result<Vec<(String, Dtype, Vec<usize>)>> {
        let Some(matrix) = self.matrix(parameter) else {
            return Ok(vec![(parameter.published.clone(), float_type(self.dtype).0, parameter.shape.clone())]);
        };
        let module = parameter.published.strip_suffix(".weight").unwrap_or(&parameter.published);
        let [rows, cols] = parameter.shape[..] else {
            return Err(Error::invalid(format!("{:?}: expected a matrix", matrix.name)));
        };
        let part = |part: &str, dtype, shape: &[usize]| (format!("{module}.{part}"), dtype, shape.to_vec());
        let Some(coded) = self.codes.get(&matrix.name) else {
            if !cols.is_multiple_of(8) {
                return Err(Error::invalid(format!(
                    "{:?}: 2:4 needs a multiple of 8 inputs, found {cols}",
                    matrix.name
                )));
            }
            return Ok(vec![
                part("compressed", float_type(self.dtype).0, &[rows, cols / 2]),
                part("bitmask", Dtype::U8, &[rows, cols / 8]),
                part("shape", Dtype::I64, &[2, 1]),
            ]);
        };
        let groups = coded.scales.len() / rows;
        if coded.group.is_some_and(|width| width * groups != cols) {
            return Err(Error::invalid(format!(
                "{:?}: expected groups that fill {cols} inputs; take another group",
                matrix.name
            )));
        }
        let mut all = match coded.number {
            Number::Fp8 => vec![(format!("{module}.weight"), Dtype::F8_E4M3, vec![rows, cols])],
            Number::Int(bits) => vec![
                part("weight_packed", Dtype::I32, &[rows, cols.div_ceil(per_word(bits))]),
                part("weight_shape", Dtype::I64, &[2]),
            ],
        };
        all.push(part("weight_scale", Dtype::F32, &[rows, groups]));
        if let (Some(_), Number::Int(bits)) = (&coded.zeros, coded.number) {
            all.push(part("weight_zero_point", Dtype::I32, &[rows.div_ceil(per_word(bits)), groups]));
        }
        if coded.groups.is_some() {
            all.push(part("weight_g_idx", Dtype::I32, &[cols]));
        }
        Ok(all)
    }

    /// The tensors that hold a parameter.
    fn tensors(&mut self, opened: &Opened, parameter: &Parameter) -> Result<Vec<Stored>> {
        let data = match self.matrix(parameter) {
            None => vec![floats(&opened.values(parameter)?, self.dtype)?],
            Some(matrix) => {
                let values = matrix.values(self.model)?;
                let zeros = values.iter().filter(|value| **value == 0.0).count() as u64;
                let report = Matrix::new(&matrix.name, &parameter.shape, zeros);
                let name = matrix.name.clone();
                let data = match self.codes.get(&name) {
                    Some(coded) => coded_bytes(coded),
                    None => sparse_bytes(&values, &parameter.shape, &name, self.dtype)?,
                };
                self.reports.insert(name, report);
                data
            }
        };
        let shapes = self.shapes(parameter)?;
        Ok(shapes.into_iter().zip(data).map(|((name, dtype, shape), bytes)| (name, dtype, shape, bytes)).collect())
    }
}

fn floats(values: &[f32], dtype: DType) -> Result<Vec<u8>> {
    let dtype = float_type(dtype).0;
    let floats = Floats::of(dtype).ok_or_else(|| Error::invalid("not a type of floats"))?;
    let mut bytes = vec![0; values.len() * dtype.bitsize() / 8];
    floats.put(&mut bytes, |at| values[at]);
    Ok(bytes)
}

fn per_word(bits: u32) -> usize {
    32 / bits as usize
}

/// Whole codes in words, the first in the lowest bits, with the middle of their range added.
fn words(codes: impl Iterator<Item = i32>, bits: u32) -> u32 {
    let middle = 1_i32 << (bits - 1);
    codes.zip(0..).fold(0, |word, (code, at)| word | ((code + middle) as u32 & ((1_u32 << bits) - 1)) << (at * bits))
}

/// In the order of [`Writer::shapes`].
fn coded_bytes(coded: &Coded) -> Vec<Vec<u8>> {
    let [rows, cols] = coded.shape;
    let bytes = |words: Vec<u32>| words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    let mut all = match coded.number {
        Number::Fp8 => vec![coded.codes.clone()],
        Number::Int(bits) => {
            let pack = |codes: &[u8]| words(codes.iter().map(|code| i32::from(*code as i8)), bits);
            let packed = coded.codes.chunks(cols).flat_map(|row| row.chunks(per_word(bits)).map(pack)).collect();
            let shape = [rows, cols].into_iter().flat_map(|n| (n as i64).to_le_bytes()).collect();
            vec![bytes(packed), shape]
        }
    };
    all.push(coded.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect());
    if let (Some(zeros), Number::Int(bits)) = (&coded.zeros, coded.number) {
        // Packed along the outputs.
        let groups = zeros.len() / rows;
        let word = |at: usize| {
            let (first, group) = (at / groups * per_word(bits), at % groups);
            let own = (first..rows.min(first + per_word(bits))).map(|row| i32::from(zeros[row * groups + group]));
            words(own, bits)
        };
        all.push(bytes((0..rows.div_ceil(per_word(bits)) * groups).map(word).collect()));
    }
    if let Some(groups) = &coded.groups {
        all.push(bytes(groups.clone()));
    }
    all
}

/// Two of every four values, which two they are, and the shape of them all.
fn sparse_bytes(values: &[f32], shape: &[usize], name: &str, dtype: DType) -> Result<Vec<Vec<u8>>> {
    let mut kept = Vec::with_capacity(values.len() / 2);
    let mut mask = vec![0_u8; values.len() / 8];
    for (at, four) in values.chunks(4).enumerate() {
        let mut places: Vec<usize> = (0..four.len()).filter(|place| four[*place] != 0.0).collect();
        if places.len() > 2 {
            return Err(Error::invalid(format!(
                "{name:?}: expected at most two of every four weights, found {}; compressed-tensors is written for 2:4 and for codes \
                 of 4 or 8 bits",
                places.len()
            )));
        }
        // Two are stored, be they zero.
        places.extend((0..four.len()).filter(|place| four[*place] == 0.0).take(2 - places.len()));
        places.sort_unstable();
        for place in places {
            kept.push(four[place]);
            let bit = at * 4 + place;
            mask[bit / 8] |= 1 << (bit % 8);
        }
    }
    let sizes = shape.iter().flat_map(|n| (*n as i64).to_le_bytes()).collect();
    Ok(vec![floats(&kept, dtype)?, mask, sizes])
}
