//! A Hugging Face folder of a model whose own files hold something else: quantised weights, or a GGUF file. Weights are written
//! in one type of floats, with a config that names no quantisation.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use candle_core::DType;
use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};

use super::{
    checkpoint::Edit,
    folder::Staged,
    tensors::{Floats, header},
};
use crate::{
    error::{Error, Result},
    model::{Opened, opened::Parameter},
    progress::Tick,
};

/// Write the weights, changed by `edit`, and the config.
pub fn write(opened: &Opened, dtype: DType, file: &str, staged: &Staged, tick: Tick, edit: Edit) -> Result<()> {
    let (stored, name) = float_type(dtype);
    let config = opened.plain_config(name)?;
    let parameters = opened.parameters()?;
    let infos = infos(&parameters, stored);
    let path = staged.file(file);
    let mut out = start(&path, &infos).map_err(|e| staged.error(&e))?;
    for (parameter, (name, info)) in parameters.iter().zip(&infos) {
        tick()?;
        let values = opened.values(parameter)?;
        let floats = Floats::of(info.dtype).ok_or_else(|| Error::invalid("not a type of floats"))?;
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        floats.put(&mut bytes, |at| values[at]);
        edit(name, info, &mut bytes)?;
        out.write_all(&bytes).map_err(|e| staged.error(&e))?;
    }
    let written = out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
    written.map_err(|e| staged.error(&e))?;
    let config = serde_json::to_string_pretty(&config).map_err(|e| Error::invalid(format!("config.json: {e}")))?;
    staged.write("config.json", config.as_bytes())
}

/// A type of floats as a file has it, and its name in a config.
pub(super) fn float_type(dtype: DType) -> (Dtype, &'static str) {
    match dtype {
        DType::BF16 => (Dtype::BF16, "bfloat16"),
        DType::F16 => (Dtype::F16, "float16"),
        _ => (Dtype::F32, "float32"),
    }
}

/// Names, types and places of the tensors, one after another.
fn infos(parameters: &[Parameter], dtype: Dtype) -> Vec<(String, TensorInfo)> {
    let width = if dtype == Dtype::F32 { 4 } else { 2 };
    let mut end = 0;
    let place = |parameter: &Parameter| {
        let start = end;
        end += parameter.shape.iter().product::<usize>() * width;
        let info = TensorInfo { dtype, shape: parameter.shape.clone(), data_offsets: (start, end) };
        (parameter.published.clone(), info)
    };
    parameters.iter().map(place).collect()
}

/// The header.
pub(super) fn start(path: &Path, infos: &[(String, TensorInfo)]) -> io::Result<BufWriter<File>> {
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(about), infos.to_vec()).map_err(io::Error::other)?;
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&header(&metadata)?)?;
    Ok(file)
}
