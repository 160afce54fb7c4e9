//! Tensors of files, read one by one: safetensors (one file, shards with an index, or bytes compiled into the program),
//! PyTorch's `.pt` and `.pth`, NumPy's `.npz` and GGUF. What a file is, its first bytes say.

mod blocks;
mod bytes;
pub mod gguf;
mod kind;
mod npz;
mod pickle;
mod quantised;
mod read;
mod safetensors;
mod torch;

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

pub use bytes::Bytes;
pub(crate) use bytes::read_at;
use candle_core::{DType, Device, Tensor};
pub use kind::Kind;
use prunelens_kernels::device::Staging;
pub use quantised::{Quantised, check_quantisation};
pub use read::Read;
use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    files::read_at_most,
    text::shorten,
};

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    bytes: Bytes,
}

/// Where a tensor's numbers are.
#[derive(Clone, Debug)]
struct Entry {
    shard: usize,
    kind: Kind,
    shape: Vec<usize>,
    /// Steps in numbers along each dimension; `None` where they are stored in row-major order.
    strides: Option<Vec<usize>>,
    start: u64,
    /// Bytes.
    len: usize,
}

impl Entry {
    /// How many numbers lie in the file; views look at more of them than their shape names.
    fn stored(&self) -> usize {
        match (&self.strides, self.kind.bytes(1)) {
            (Some(_), Some(width)) => self.len / width,
            _ => self.shape.iter().product(),
        }
    }
}

/// Named tensors, read one by one.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    shards: Vec<Shard>,
    entries: BTreeMap<String, Entry>,
    /// Tensors of types that are not read, and their types' names: refused when they are asked for.
    unread: BTreeMap<String, String>,
    /// Weights that are stored as other tensors, by the names they are asked for.
    packed: BTreeMap<String, quantised::Packed>,
    /// Those other tensors.
    parts: BTreeMap<String, Entry>,
    /// What users should know of how the weights are stored.
    pub notes: Vec<String>,
    /// Tensors that somebody took.
    taken: Mutex<HashSet<String>>,
    /// Memory that tensors go through on their way to a GPU.
    staging: Mutex<Vec<Staging>>,
    /// What a pickle holds beside tensors: numbers, texts, dictionaries of them.
    pub extras: Map<String, Value>,
    /// What a GGUF file says beside its tensors.
    pub metadata: gguf::Metadata,
}

impl Weights {
    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            shards: Vec::new(),
            entries: BTreeMap::new(),
            unread: BTreeMap::new(),
            packed: BTreeMap::new(),
            parts: BTreeMap::new(),
            notes: Vec::new(),
            taken: Mutex::default(),
            staging: Mutex::default(),
            extras: Map::new(),
            metadata: gguf::Metadata::default(),
        }
    }

    /// `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    pub fn open_model(dir: &Path) -> Result<Self> {
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        let torch = ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().any(|name| dir.join(name).exists());
        if torch && !single.exists() && !index.exists() {
            return Err(Error::file(
                dir,
                "holds its weights as PyTorch's pytorch_model.bin alone, which is a pickle and not read; load it with \
                 transformers and call save_pretrained(FOLDER), or fetch the safetensors of the same repository",
            ));
        }
        if !single.exists()
            && !index.exists()
            && let Some(other) = only_file(dir)
        {
            return Self::open(&other);
        }
        if single.exists() || !index.exists() {
            return Self::open(&single);
        }
        let json: Value = read_json(&index)?;
        let map = json.get("weight_map").and_then(|m| m.as_object());
        let map = map.ok_or_else(|| Error::file(&index, "key \"weight_map\": expected an object of file names"))?;
        let mut files: Vec<&str> = map.values().filter_map(|v| v.as_str()).collect();
        files.sort_unstable();
        files.dedup();
        let mut all = Self::empty(dir);
        for file in files {
            if Path::new(file).components().count() != 1 || file.starts_with('.') {
                return Err(Error::file(&index, format!("shard {:?} is not a plain file name", shorten(file, 80))));
            }
            let path = dir.join(file);
            all.add(&path, Bytes::open(&path)?)?;
        }
        let known = |name: &String| all.entries.contains_key(name) || all.unread.contains_key(name);
        if let Some(missing) = map.keys().find(|name| !known(name)) {
            return Err(Error::file(&index, format!("tensor {:?} is in none of the shards", shorten(missing, 80))));
        }
        Ok(all)
    }

    /// One file, of whichever kind its first bytes say.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_bytes(path, Bytes::open(path)?)
    }

    /// A file in memory; `name` stands for its path in messages.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::from_bytes(Path::new(name), Bytes::Static(bytes))
    }

    /// The same from bytes; `path` stands for them in messages.
    pub fn from_bytes(path: &Path, bytes: Bytes) -> Result<Self> {
        let mut weights = Self::empty(path);
        weights.add(path, bytes)?;
        Ok(weights)
    }

    fn add(&mut self, path: &Path, bytes: Bytes) -> Result<()> {
        let mut first = [0; 4];
        let short = bytes.size().map_err(|e| Error::io(path, e))? < 4;
        if !short {
            bytes.read_at(&mut first, 0).map_err(|e| Error::io(path, e))?;
        }
        match &first {
            b"PK\x03\x04" => self.add_zip(path, bytes),
            b"GGUF" => self.add_gguf(path, bytes),
            _ => self.add_safetensors(path, bytes),
        }
    }

    fn add_zip(&mut self, path: &Path, bytes: Bytes) -> Result<()> {
        let mut zip = npz::Zip::open(path, &bytes)?;
        let unpacked = if zip.member("data.pkl").is_some() {
            self.enter_torch(path, &mut zip)?;
            Vec::new()
        } else {
            self.enter_npz(path, &mut zip, &bytes)?
        };
        drop(zip);
        let unpacked = unpacked.into_iter().map(Bytes::Memory);
        self.shards
            .extend(std::iter::once(bytes).chain(unpacked).map(|bytes| Shard { path: path.to_path_buf(), bytes }));
        Ok(())
    }

    /// Note a tensor, once its place in the file is known to exist.
    fn enter(&mut self, path: &Path, name: String, entry: Entry) -> Result<()> {
        let wrong = |what: &str| Err(Error::file(path, format!("tensor {:?}: {what}", shorten(&name, 60))));
        let numbers = entry.shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
        let Some(numbers) = numbers else { return wrong("its shape is larger than any file") };
        let stored = match &entry.strides {
            None => Some(numbers),
            // A view never has more numbers than what it looks at, and ends within it.
            Some(strides) if numbers > 0 => {
                let last =
                    entry.shape.iter().zip(strides).try_fold(0_usize, |sum, (d, s)| {
                        (d - 1).checked_mul(*s).and_then(|step| sum.checked_add(step))
                    });
                last.and_then(|last| last.checked_add(1)).filter(|stored| numbers <= *stored)
            }
            Some(_) => Some(0),
        };
        match stored.and_then(|n| entry.kind.bytes(n)) {
            Some(bytes) if bytes == entry.len => {}
            _ => return wrong("its shape does not fit its bytes"),
        }
        self.entries.insert(name, entry);
        Ok(())
    }

    /// The file, or the folder of shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }

    /// Names of the tensors that can be read.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().chain(self.packed.keys()).map(String::as_str)
    }

    /// Names of the tensors whose types are not read.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        self.unread.keys().map(String::as_str)
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let packed = self.packed.get(name).map(|packed| packed.shape.as_slice());
        packed.or_else(|| self.entries.get(name).map(|e| e.shape.as_slice()))
    }

    /// The type of a plain tensor, and its bits.
    pub fn stored(&self, name: &str) -> Option<(String, u64)> {
        self.entries.get(name).map(|entry| (entry.kind.of_gguf(), 8 * entry.len as u64))
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.entries.values().chain(self.parts.values()).map(|e| e.len as u64).sum()
    }

    /// Names of the tensors that nobody has taken.
    pub fn left_over(&self) -> Vec<&str> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.names().chain(self.unread()).filter(|name| !taken.contains(*name)).collect()
    }

    fn take(&self, name: &str) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.take(name);
        self.entries.get(name).ok_or_else(|| {
            if let Some(kind) = self.unread.get(name) {
                return Error::file(&self.path, format!("tensor {name:?} is stored as {kind}, which is not supported"));
            }
            let some: Vec<_> = self.names().take(4).map(|n| shorten(n, 60)).collect();
            Error::file(&self.path, format!("tensor {name:?} is missing; the file has {} ...", some.join(", ")))
        })
    }

    /// The bytes of a tensor.
    fn read(&self, entry: &Entry) -> Result<Vec<u8>> {
        let shard = &self.shards[entry.shard];
        let mut bytes = vec![0; entry.len];
        shard.bytes.read_at(&mut bytes, entry.start).map_err(|e| Error::io(&shard.path, e))?;
        Ok(bytes)
    }

    /// Refuse a tensor that is missing or of another shape, before anything of its size is made.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        let Some(packed) = self.packed.get(name) else { return self.check(name, shape).map(drop) };
        self.take(name);
        if packed.shape == shape {
            return Ok(());
        }
        Err(Error::file(&self.path, format!("tensor {name:?}: expected shape {shape:?}, found {:?}", packed.shape)))
    }

    fn check(&self, name: &str, shape: &[usize]) -> Result<&Entry> {
        let entry = self.entry(name)?;
        if entry.shape == shape {
            return Ok(entry);
        }
        let path = &self.shards[entry.shard].path;
        Err(Error::file(path, format!("tensor {name:?}: expected shape {shape:?}, found {:?}", entry.shape)))
    }

    /// Values of a tensor of the given shape as f32; 16-bit types are widened, values must be finite.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        if let Some(packed) = self.packed.get(name) {
            self.expect(name, shape)?;
            return self.dequantise(packed);
        }
        let entry = self.check(name, shape)?;
        let mut values = vec![0.0_f32; entry.stored()];
        self.fill(name, 0, &mut values)?;
        Ok(match &entry.strides {
            Some(strides) => in_order(&values, &entry.shape, strides),
            None => values,
        })
    }

    /// A tensor of the given shape in a type of floats.
    pub fn tensor(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        if !matches!(dtype, DType::BF16 | DType::F16) || !self.is_plain(name, shape)? {
            let values = self.f32(name, shape)?;
            // By value: on the CPU in f32 this takes the buffer over.
            return Ok(Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?);
        }
        Ok(self.stacked(&[(name.to_owned(), shape.to_vec())], dtype, device)?.tensor)
    }

    /// Whether a tensor's numbers lie in the file one after the other; refuses one that is missing or of another shape.
    fn is_plain(&self, name: &str, shape: &[usize]) -> Result<bool> {
        self.expect(name, shape)?;
        Ok(!self.packed.contains_key(name) && self.check(name, shape)?.strides.is_none())
    }

    /// Whether a tensor is a bias without effect.
    pub fn is_zero_bias(&self, name: &str) -> bool {
        let Some(shape) = self.shape(name).filter(|_| name.ends_with(".bias")) else { return false };
        self.f32(name, shape).is_ok_and(|values| values.iter().all(|value| *value == 0.0))
    }

    /// Integer tensor of any width and shape.
    pub fn integers(&self, name: &str) -> Result<(Vec<i64>, Vec<usize>)> {
        let entry = self.entry(name)?;
        let bytes = self.read(entry)?;
        let values = entry.kind.integers(&bytes).filter(|_| entry.strides.is_none()).ok_or_else(|| {
            Error::file(&self.path, format!("tensor {name:?}: expected integers, found {:?}", entry.kind))
        })?;
        Ok((values, entry.shape.clone()))
    }
}

/// The file of weights of a folder that has one alone under a name of its own, as GPTQ's writers gave them.
fn only_file(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?;
    let files =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    let mut files: Vec<PathBuf> = files.take(2).collect();
    if files.len() == 1 { files.pop() } else { None }
}

/// The numbers of a view in row-major order.
fn in_order(values: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let mut out = vec![0.0; shape.iter().product()];
    let (Some(width), Some(step)) = (shape.last(), strides.last()) else { return values.to_vec() };
    for (row, out) in out.chunks_mut((*width).max(1)).enumerate() {
        let (mut rest, mut start) = (row, 0);
        for (d, s) in shape.iter().zip(strides).rev().skip(1) {
            start += rest % d * s;
            rest /= d;
        }
        out.iter_mut().enumerate().for_each(|(at, v)| *v = values[start + at * step]);
    }
    out
}

/// A JSON file of at most 64 MiB.
pub fn read_json(path: &Path) -> Result<serde_json::Value> {
    let bytes = read_at_most(path, 64 << 20)?;
    let bytes = bytes.ok_or_else(|| Error::file(path, "more than 64 MiB are too many for a JSON file of this kind"))?;
    parse_json(path, &bytes)
}

/// JSON as Python writes it: numbers that are not finite become the texts "NaN", "Infinity" and "-Infinity", which no key
/// that wants a number takes.
pub fn parse_json(path: &Path, bytes: &[u8]) -> Result<serde_json::Value> {
    let wrong = |e| Error::file(path, format!("not valid JSON: {e}{}", what_else(bytes)));
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(e) => match quote_not_finite(bytes) {
            Some(quoted) => serde_json::from_slice(&quoted).map_err(wrong),
            None => Err(wrong(e)),
        },
    }
}

/// What a file is that should have been JSON or weights, where that can be told.
pub(crate) fn what_else(bytes: &[u8]) -> &'static str {
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"version https://git-lfs") {
        return "; it is a Git LFS pointer and not the file itself: run `git lfs pull`, or download the file";
    }
    let is = |text: &str| start.get(..text.len()).is_some_and(|found| found.eq_ignore_ascii_case(text.as_bytes()));
    if is("<!doctype html") || is("<html") {
        return "; it is a web page and not the file itself: download the raw file";
    }
    if bytes.starts_with(b"\xef\xbb\xbf") || bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return "; it begins with a byte order mark: save it as UTF-8 without one";
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x1f\x8b") {
        return "; it is an archive (a PyTorch file is one): rename it by what it is, or unpack it";
    }
    ""
}

/// The same with the words NaN and Infinity in quotes; `None` where there are none outside of texts.
fn quote_not_finite(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest, mut found) = (Vec::with_capacity(bytes.len() + 64), bytes, false);
    let (mut in_text, mut escaped) = (false, false);
    while let Some((&byte, after)) = rest.split_first() {
        let word = [&b"NaN"[..], b"Infinity", b"-Infinity"].into_iter().find(|word| !in_text && rest.starts_with(word));
        if let Some(word) = word {
            out.push(b'"');
            out.extend_from_slice(word);
            out.push(b'"');
            (rest, found) = (&rest[word.len()..], true);
            continue;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ => {}
        }
        out.push(byte);
        rest = after;
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_python() {
        let parse = |text: &str| parse_json(Path::new("x.json"), text.as_bytes());
        let found = parse(r#"{"a": NaN, "b": [-Infinity, Infinity, 1.5], "c": "NaN \" Infinity"}"#).unwrap();
        let expected = serde_json::json!({
            "a": "NaN", "b": ["-Infinity", "Infinity", 1.5], "c": "NaN \" Infinity"
        });
        assert_eq!(found, expected);
        assert!(parse("{nan}").is_err());
        assert!(parse("version https://git-lfs.github.com/spec/v1\noid").unwrap_err().to_string().contains("LFS"));
        assert!(parse("\u{feff}{}").unwrap_err().to_string().contains("byte order mark"));
        assert!(parse("<!DOCTYPE html><html>").unwrap_err().to_string().contains("web page"));
    }
}
