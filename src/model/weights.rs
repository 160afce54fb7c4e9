//! Tensors of safetensors files: one file, shards with an index, or bytes compiled into the program.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};

use crate::{
    error::{Error, Result},
    kernels::pointwise::all_finite,
    text::shorten,
};

/// Where the bytes of a shard are.
#[derive(Debug)]
enum Bytes {
    File(File),
    Static(&'static [u8]),
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    len: usize,
}

/// Named tensors, read one by one.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    shards: Vec<Shard>,
    entries: BTreeMap<String, Entry>,
}

/// The header of a safetensors file: data offset and tensors, checked by the `safetensors` crate against the file's size.
fn header(path: &Path, bytes: &[u8]) -> Result<(u64, Metadata)> {
    let (len, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| {
        Error::file(path, format!("not a whole safetensors file ({}); fetch it again", shorten(&e.to_string(), 200)))
    })?;
    Ok((8 + len as u64, metadata))
}

impl Weights {
    /// `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    pub fn open_model(dir: &Path) -> Result<Self> {
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        if single.exists() || !index.exists() {
            return Self::open(&single);
        }
        let json: serde_json::Value = read_json(&index)?;
        let map = json.get("weight_map").and_then(|m| m.as_object());
        let map = map.ok_or_else(|| Error::file(&index, "key \"weight_map\": expected an object of file names"))?;
        let mut files: Vec<&str> = map.values().filter_map(|v| v.as_str()).collect();
        files.sort_unstable();
        files.dedup();
        let mut all = Self { path: dir.to_path_buf(), shards: Vec::new(), entries: BTreeMap::new() };
        for file in files {
            if Path::new(file).components().count() != 1 || file.starts_with('.') {
                return Err(Error::file(&index, format!("shard {:?} is not a plain file name", shorten(file, 80))));
            }
            all.add(&dir.join(file))?;
        }
        if let Some(missing) = map.keys().find(|name| !all.entries.contains_key(*name)) {
            return Err(Error::file(&index, format!("tensor {:?} is in none of the shards", shorten(missing, 80))));
        }
        Ok(all)
    }

    pub fn open(path: &Path) -> Result<Self> {
        let mut weights = Self { path: path.to_path_buf(), shards: Vec::new(), entries: BTreeMap::new() };
        weights.add(path)?;
        Ok(weights)
    }

    /// A safetensors file in memory; `name` stands for its path in messages.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let mut weights = Self { path: name.into(), shards: Vec::new(), entries: BTreeMap::new() };
        let (data, metadata) = header(Path::new(name), bytes)?;
        weights.enter(data, &metadata);
        weights.shards.push(Shard { path: name.into(), bytes: Bytes::Static(bytes) });
        Ok(weights)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: the map lives only while the header is parsed; a file cut short in that moment would end the program
        // with SIGBUS, which no reader of mapped files can prevent. Data is read with ordinary reads.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        let (data, metadata) = header(path, &map)?;
        self.enter(data, &metadata);
        self.shards.push(Shard { path: path.to_path_buf(), bytes: Bytes::File(file) });
        Ok(())
    }

    fn enter(&mut self, data: u64, metadata: &Metadata) {
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            self.entries.insert(
                name,
                Entry {
                    shard: self.shards.len(),
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    start: data + start as u64,
                    len: end - start,
                },
            );
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(|e| e.len as u64).sum()
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            let some: Vec<_> = self.names().take(4).map(|n| shorten(n, 60)).collect();
            Error::file(&self.path, format!("tensor {name:?} is missing; the file has {} ...", some.join(", ")))
        })
    }

    fn raw(&self, name: &str) -> Result<(Vec<u8>, &Entry)> {
        let entry = self.entry(name)?;
        let shard = &self.shards[entry.shard];
        let mut bytes = vec![0; entry.len];
        match &shard.bytes {
            Bytes::Static(all) => bytes.copy_from_slice(&all[entry.start as usize..][..entry.len]),
            Bytes::File(file) => read_at(file, &mut bytes, entry.start).map_err(|e| Error::io(&shard.path, e))?,
        }
        Ok((bytes, entry))
    }

    /// Values of a tensor of the given shape as f32; 16-bit types are widened, values must be finite.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let entry = self.entry(name)?;
        if entry.shape != shape {
            let path = &self.shards[entry.shard].path;
            return Err(Error::file(
                path,
                format!("tensor {name:?}: expected shape {shape:?}, found {:?}", entry.shape),
            ));
        }
        let values = self.read_f32(name)?;
        if !all_finite(&values) {
            let path = &self.shards[self.entry(name)?.shard].path;
            return Err(Error::file(path, format!("tensor {name:?} holds NaN or infinite values")));
        }
        Ok(values)
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.entry(name)?;
        if let (Dtype::F32, Bytes::File(file)) = (entry.dtype, &self.shards[entry.shard].bytes) {
            // The common case without a second buffer.
            let mut values = vec![0.0_f32; entry.len / 4];
            // SAFETY: any bytes are valid f32 values, and the lengths agree.
            let bytes = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), values.len() * 4) };
            read_at(file, bytes, entry.start).map_err(|e| Error::io(&self.shards[entry.shard].path, e))?;
            return Ok(values);
        }
        let (bytes, entry) = self.raw(name)?;
        const CHUNK: usize = 1 << 16;
        let mut values = vec![0.0_f32; entry.len * 8 / entry.dtype.bitsize().max(8)];
        let chunks = |width: usize| bytes.par_chunks(CHUNK * width);
        match entry.dtype {
            Dtype::F32 => values.par_chunks_mut(CHUNK).zip(chunks(4)).for_each(|(out, bytes)| {
                for (out, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }),
            Dtype::F16 => values.par_chunks_mut(CHUNK).zip(chunks(2)).for_each(|(out, bytes)| {
                let half: Vec<f16> = bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
                half.convert_to_f32_slice(out);
            }),
            Dtype::BF16 => values.par_chunks_mut(CHUNK).zip(chunks(2)).for_each(|(out, bytes)| {
                for (out, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *out = bf16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }),
            Dtype::F64 => values.par_chunks_mut(CHUNK).zip(chunks(8)).for_each(|(out, bytes)| {
                for (out, b) in out.iter_mut().zip(bytes.chunks_exact(8)) {
                    *out = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
                }
            }),
            other => {
                let path = &self.shards[entry.shard].path;
                return Err(Error::file(path, format!("tensor {name:?}: expected floats, found {other:?}")));
            }
        }
        Ok(values)
    }

    /// Integer tensor of any width and shape.
    pub fn integers(&self, name: &str) -> Result<(Vec<i64>, Vec<usize>)> {
        let (bytes, entry) = self.raw(name)?;
        let values = match entry.dtype {
            Dtype::U8 => bytes.iter().map(|b| i64::from(*b)).collect(),
            Dtype::I32 => {
                bytes.chunks_exact(4).map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
            }
            Dtype::U32 => {
                bytes.chunks_exact(4).map(|b| i64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
            }
            Dtype::I64 => bytes
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                .collect(),
            other => {
                return Err(Error::file(&self.path, format!("tensor {name:?}: expected integers, found {other:?}")));
            }
        };
        Ok((values, entry.shape.clone()))
    }
}

#[cfg(unix)]
pub(crate) fn read_at(file: &File, bytes: &mut [u8], start: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(not(unix))]
pub(crate) fn read_at(mut file: &File, bytes: &mut [u8], start: u64) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(bytes)
}

/// A JSON file of at most 64 MB.
pub fn read_json(path: &Path) -> Result<serde_json::Value> {
    let len = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if len > 64 << 20 {
        return Err(Error::file(path, format!("{len} bytes are too many for a JSON file of this kind")));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse_json(path, &bytes)
}

pub fn parse_json(path: &Path, bytes: &[u8]) -> Result<serde_json::Value> {
    serde_json::from_slice(bytes).map_err(|e| Error::file(path, format!("not valid JSON: {e}")))
}
