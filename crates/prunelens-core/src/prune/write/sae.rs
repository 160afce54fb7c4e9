//! A pruned SAE as a SAELens folder: the source's config and weights, with zeros; of other layouts than SAELens', a new folder of the
//! same SAE.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::DType;
use prunelens_kernels::{Kept, with_f32};
use rayon::prelude::*;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use super::{
    folder::Staged,
    report::Matrix,
    tensors::{Floats, TensorFile},
};
use crate::{
    error::{Error, Result},
    model::weights::parse_json,
    progress::Tick,
    sae::{Dictionary, Pruning, Sae, Side, formats},
    text::shorten,
};

/// Where the SAE's files come from.
pub enum SaeFiles {
    /// Where an SAE is, in any layout.
    Folder(PathBuf),
    /// In memory: `cfg.json` and the weights.
    Memory {
        /// Bytes of `cfg.json`.
        config: &'static [u8],
        /// Bytes of `sae_weights.safetensors`.
        weights: &'static [u8],
    },
}

/// The file of the config.
pub const CONFIG: &str = "cfg.json";
/// The file of the weights.
pub const WEIGHTS: &str = "sae_weights.safetensors";

/// Files of an older SAE that would be read instead of, or beside, the new ones.
pub fn is_sae_file(name: &str) -> bool {
    [CONFIG, WEIGHTS, "sparsity.safetensors"].contains(&name)
}

fn silence(sae: &Sae, pruning: &Pruning, name: &str, info: &TensorInfo, bytes: &mut [u8]) -> Result<()> {
    let Some(floats) = Floats::of(info.dtype).filter(|_| info.shape == [sae.d_sae()]) else {
        return Err(Error::invalid(format!(
            "tensor {name:?}: expected {} floats, found {:?}",
            sae.d_sae(),
            info.shape
        )));
    };
    sae.matrix(Side::Enc, Some(pruning), |matrix| floats.zero(bytes, |latent| matrix.kept.drops(latent)))
}

fn floats(name: &str, info: &TensorInfo) -> Result<Floats> {
    let wrong = || Error::invalid(format!("tensor {name:?}: expected floats, found {:?}", info.dtype));
    Floats::of(info.dtype).ok_or_else(wrong)
}

/// Whether weights become others than those there are and 0: 16 bits would round them once more.
fn is_of_new_values(sae: &Sae, pruning: &Pruning) -> Result<bool> {
    let of_pruning = sae.matrix(Side::Enc, Some(pruning), |matrix| {
        !matches!((matrix.kept, matrix.basis), (Kept::All | Kept::From(..), None))
    })?;
    Ok(of_pruning || sae.config.folded.is_some())
}

/// A config that says all that the SAE is known by, and of which type its weights are; byte for byte the source's where that has it.
fn config_of(sae: &Sae, config: &[u8], path: &Path, new_values: bool) -> Result<Vec<u8>> {
    let wrong = |e: serde_json::Error| Error::file(path, shorten(&e.to_string(), 200));
    let Value::Object(said) = parse_json(path, config)? else {
        return Err(Error::file(path, "expected an object"));
    };
    let told = formats::told(&said, path, &sae.config)?;
    if told.is_none() && !new_values {
        return Ok(config.to_vec());
    }
    let mut out = told.unwrap_or(said);
    if new_values {
        out.insert("dtype".into(), "float32".into());
    }
    serde_json::to_vec_pretty(&out).map_err(wrong)
}

/// As the program holds it, in f32.
fn write_anew(sae: &Sae, pruning: &Pruning, staged: &Staged) -> Result<Vec<Matrix>> {
    let pruned = sae.pruned(Some(pruning))?;
    formats::save(&pruned, &staged.inner(), DType::F32, Map::new())?;
    let (d_in, d_sae) = (sae.d_in(), sae.d_sae());
    let matrix = |name, shape: [usize; 2], weight| -> Result<Matrix> {
        let zeros = with_f32(weight, |w| w.iter().filter(|w| **w == 0.0).count())?;
        Ok(Matrix::new(name, &shape, zeros as u64))
    };
    Ok(vec![matrix("W_enc", [d_in, d_sae], &pruned.w_enc)?, matrix("W_dec", [d_sae, d_in], &pruned.w_dec)?])
}

/// Write `sae`, read from these files, as `pruning` leaves it, and say how sparse its matrices are. Weights of new values are
/// written as float32. The rates of `sparsity.safetensors` are those of the unpruned SAE and do not go along.
pub fn write(files: &SaeFiles, sae: &Sae, pruning: &Pruning, staged: &Staged, tick: Tick) -> Result<Vec<Matrix>> {
    let new_values = is_of_new_values(sae, pruning)?;
    let folded = sae.config.folded.is_some();
    let put_config = |config: &[u8], path: &Path| staged.write(CONFIG, &config_of(sae, config, path, new_values)?);
    let source = match files {
        SaeFiles::Folder(dir) if [CONFIG, WEIGHTS].iter().any(|name| !dir.join(name).exists()) => {
            return write_anew(sae, pruning, staged);
        }
        SaeFiles::Folder(dir) => {
            let path = dir.join(CONFIG);
            put_config(&fs::read(&path).map_err(|e| Error::io(&path, e))?, &path)?;
            TensorFile::open(&dir.join(WEIGHTS))?
        }
        SaeFiles::Memory { config, weights } => {
            put_config(config, Path::new(CONFIG))?;
            TensorFile::from_static(WEIGHTS, weights)?
        }
    };
    let (d_in, d_sae) = (sae.d_in(), sae.d_sae());
    let mut matrices = Vec::new();
    let mut edit = |name: &str, info: &TensorInfo, bytes: &mut [u8]| {
        tick()?;
        // Matrices lie as `[d_sae, d_in]`; the file has the encoder the other way round.
        let (side, transposed) = match name {
            "W_enc" => (Side::Enc, true),
            "W_dec" => (Side::Dec, false),
            // The bias that decides whether a latent fires: one that is gone has none.
            "b_enc" | "b_gate" => return silence(sae, pruning, name, info, bytes),
            "b_dec" if folded => {
                let floats = floats(name, info)?;
                floats.put(bytes, |at| sae.b_dec[at]);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let expected = if transposed { [d_in, d_sae] } else { [d_sae, d_in] };
        if info.shape != expected {
            return Err(Error::invalid(format!(
                "tensor {name:?}: expected shape {expected:?}, found {:?}",
                info.shape
            )));
        }
        let floats = floats(name, info)?;
        let place = |at: usize| if transposed { at % d_sae * d_in + at / d_sae } else { at };
        sae.matrix(side, Some(pruning), |matrix| match (matrix.kept, matrix.basis) {
            (Kept::From(ranking, cut), None) if !folded => floats.zero(bytes, |at| ranking.get(place(at)) < cut),
            (Kept::All, None) if !folded => {}
            _ => {
                let mut rows = vec![0.0; d_sae * d_in];
                rows.par_chunks_mut(d_in).enumerate().for_each(|(latent, row)| matrix.row(latent, row));
                floats.put(bytes, |at| rows[place(at)]);
            }
        })?;
        matrices.push(Matrix::new(name, &info.shape, floats.zeros(bytes)));
        Ok(())
    };
    let wider: &[&str] = match (new_values, folded) {
        (_, true) => &["W_enc", "W_dec", "b_dec"],
        (true, false) => &["W_enc", "W_dec"],
        (false, false) => &[],
    };
    source.copy_wider(&staged.file(WEIGHTS), wider, &mut edit)?.map_err(|e| staged.error(&e))?;
    matrices.sort_by_key(|m| m.name != "W_enc");
    match matrices.len() {
        2 => Ok(matrices),
        _ => Err(Error::file(WEIGHTS, "expected the tensors W_enc and W_dec")),
    }
}
