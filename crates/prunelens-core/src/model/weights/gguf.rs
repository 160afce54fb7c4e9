//! GGUF headers: metadata and the places of tensors, each count checked against what is left of the file before anything
//! is allocated. Blocks are dequantised by candle, those that it does not know by `blocks`.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Read},
    path::Path,
};

use candle_core::quantized::GgmlDType;

use super::{Bytes, Entry, Kind, Shard, Weights, blocks::Blocks, bytes::Cursor};
use crate::{
    error::{Error, Result},
    text::shorten,
};

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of any width.
    Int(i64),
    /// Of either width.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// In UTF-8.
    Text(String),
    /// Such as a vocabulary.
    Texts(Vec<String>),
    /// Of up to 32 bits.
    Numbers(Vec<f32>),
}

/// What the file says beside its tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    /// All keys, and their values where they are one of the types above.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The value, if it is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The value, if it is a whole number.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.get(key) {
            Some(Value::Int(v)) => Some(*v),
            _ => None,
        }
    }

    /// The value, if it is a number.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(Value::Float(v)) => Some(*v),
            Some(Value::Int(v)) => Some(*v as f64),
            _ => None,
        }
    }

    /// The value, if it is true or false.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key) {
            Some(Value::Bool(v)) => Some(*v),
            _ => None,
        }
    }

    /// The value, if it is a list of texts.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.get(key) {
            Some(Value::Texts(v)) => Some(v),
            _ => None,
        }
    }

    /// The value, if it is a list of numbers.
    pub fn numbers(&self, key: &str) -> Option<&[f32]> {
        match self.get(key) {
            Some(Value::Numbers(v)) => Some(v),
            _ => None,
        }
    }
}

/// Vocabularies and merges are the longest lists.
const LONGEST: u64 = 1 << 20;
const TENSORS: u64 = 1 << 16;

impl Weights {
    pub(super) fn add_gguf(&mut self, path: &Path, bytes: Bytes) -> Result<()> {
        let len = bytes.size().map_err(|e| Error::io(path, e))?;
        let cursor = bytes.cursor().map_err(|e| Error::io(path, e))?;
        let mut header = Header { reader: BufReader::new(cursor), left: len };
        let (metadata, tensors) = header.read().map_err(|what| {
            Error::file(path, format!("not a whole GGUF file ({}); fetch it again", shorten(&what, 200)))
        })?;
        // Data follow at the next multiple of the alignment.
        let align = metadata.int("general.alignment").and_then(|a| u64::try_from(a).ok()).unwrap_or(32);
        if !align.is_power_of_two() || align > 1 << 20 {
            return Err(Error::file(path, format!("general.alignment is {align}; expected a small power of two")));
        }
        let data = (len - header.left).next_multiple_of(align);
        for (name, tensor) in tensors {
            let tensor = match tensor {
                Ok(tensor) => tensor,
                Err(kind) => {
                    self.unread.insert(name, kind);
                    continue;
                }
            };
            let wrong = |what: &str| Error::file(path, format!("tensor {:?}: {what}", shorten(&name, 60)));
            let numbers = tensor.shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
            // Only whole rows are quantised.
            let row = *tensor.shape.last().unwrap_or(&1);
            let size = tensor.kind.bytes(row).and(numbers.and_then(|n| tensor.kind.bytes(n)));
            let size = size.ok_or_else(|| wrong("its shape does not fit its blocks"))?;
            let start = data.checked_add(tensor.offset);
            let end = start.and_then(|start| start.checked_add(size as u64));
            let (Some(start), Some(_)) = (start, end.filter(|end| *end <= len)) else {
                return Err(wrong("it ends beyond the file; fetch it again"));
            };
            let entry = Entry {
                shard: self.shards.len(),
                kind: tensor.kind,
                shape: tensor.shape,
                strides: None,
                start,
                len: size,
            };
            self.enter(path, name.clone(), entry)?;
        }
        self.metadata = metadata;
        drop(header);
        self.shards.push(Shard { path: path.to_path_buf(), bytes });
        Ok(())
    }
}

struct Tensor {
    kind: Kind,
    /// Slowest dimension first.
    shape: Vec<usize>,
    offset: u64,
}

struct Header<'a> {
    reader: BufReader<Cursor<'a>>,
    /// Bytes after the reader's place.
    left: u64,
}

/// Types that llama.cpp knows and that are not read here.
const UNREAD: [(u32, &str); 7] =
    [(9, "Q8_1"), (15, "Q8_K"), (24, "I8"), (25, "I16"), (26, "I32"), (27, "I64"), (41, "Q1_0")];

/// What a tensor is, or the name of its type where that is not read.
type Declared = std::result::Result<Tensor, String>;
type Parsed<T> = std::result::Result<T, String>;

fn cut(_: io::Error) -> String {
    "it ends too early".into()
}

impl Header<'_> {
    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut out = [0; N];
        self.reader.read_exact(&mut out).map_err(cut)?;
        self.left = self.left.saturating_sub(N as u64);
        Ok(out)
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things that take at least `width` bytes each.
    fn count(&mut self, width: u64, most: u64, what: &str) -> Parsed<usize> {
        let n = self.u64()?;
        if n > most || n.checked_mul(width).is_none_or(|bytes| bytes > self.left) {
            return Err(format!("it claims {n} {what}"));
        }
        Ok(n as usize)
    }

    fn text(&mut self) -> Parsed<String> {
        let n = self.count(1, 16 << 20, "bytes of text")?;
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).map_err(cut)?;
        self.left -= n as u64;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    fn skip(&mut self, n: u64) -> Parsed<()> {
        io::copy(&mut self.reader.by_ref().take(n), &mut io::sink()).map_err(cut)?;
        self.left = self.left.checked_sub(n).ok_or("it ends too early")?;
        Ok(())
    }

    /// Of each tensor what it is, or the name of its type if that is not read.
    fn read(&mut self) -> Parsed<(Metadata, Vec<(String, Declared)>)> {
        self.array::<4>()?;
        let version = self.u32()?;
        if !matches!(version, 2 | 3) {
            return Err(format!("its version is {version}, expected 2 or 3"));
        }
        let n_tensors = self.count(24, TENSORS, "tensors")?;
        let n_values = self.count(12, TENSORS, "values")?;
        let mut metadata = Metadata::default();
        for _ in 0..n_values {
            let key = self.text()?;
            let kind = self.u32()?;
            if let Some(value) = self.value(kind)? {
                metadata.0.insert(key, value);
            }
        }
        let tensors = (0..n_tensors).map(|_| self.tensor()).collect::<Parsed<_>>()?;
        Ok((metadata, tensors))
    }

    /// A value of a type; lists that nothing here reads are passed over.
    fn value(&mut self, kind: u32) -> Parsed<Option<Value>> {
        Ok(Some(match kind {
            0 => Value::Int(self.array::<1>()?[0].into()),
            1 => Value::Int(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Int(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Int(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Int(self.u32()?.into()),
            5 => Value::Int(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 => return self.list(),
            10 => Value::Int(i64::try_from(self.u64()?).unwrap_or(i64::MAX)),
            11 => Value::Int(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("a value of type {other} is not known")),
        }))
    }

    fn list(&mut self) -> Parsed<Option<Value>> {
        let kind = self.u32()?;
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            other => return Err(format!("a list of type {other} is not known")),
        };
        match kind {
            8 => {
                let n = self.count(width, LONGEST, "texts")?;
                Ok(Some(Value::Texts((0..n).map(|_| self.text()).collect::<Parsed<_>>()?)))
            }
            4..=6 => {
                let n = self.count(width, LONGEST, "numbers")?;
                let number = |b: [u8; 4]| match kind {
                    4 => u32::from_le_bytes(b) as f32,
                    5 => i32::from_le_bytes(b) as f32,
                    _ => f32::from_le_bytes(b),
                };
                Ok(Some(Value::Numbers((0..n).map(|_| self.array().map(number)).collect::<Parsed<_>>()?)))
            }
            _ => {
                let n = self.count(width, u64::MAX, "numbers")?;
                self.skip(n as u64 * width)?;
                Ok(None)
            }
        }
    }

    fn tensor(&mut self) -> Parsed<(String, Declared)> {
        let name = self.text()?;
        let n = self.u32()?;
        if n > 4 {
            return Err(format!("tensor {:?} has {n} dimensions", shorten(&name, 60)));
        }
        let shape = (0..n).map(|_| self.u64().map(|d| usize::try_from(d).unwrap_or(usize::MAX)));
        let mut shape = shape.collect::<Parsed<Vec<_>>>()?;
        shape.reverse();
        let kind = match self.u32()? {
            0 => Kind::F32,
            1 => Kind::F16,
            2 => Kind::Ggml(GgmlDType::Q4_0),
            3 => Kind::Ggml(GgmlDType::Q4_1),
            6 => Kind::Ggml(GgmlDType::Q5_0),
            7 => Kind::Ggml(GgmlDType::Q5_1),
            8 => Kind::Ggml(GgmlDType::Q8_0),
            10 => Kind::Ggml(GgmlDType::Q2K),
            11 => Kind::Ggml(GgmlDType::Q3K),
            12 => Kind::Ggml(GgmlDType::Q4K),
            13 => Kind::Ggml(GgmlDType::Q5K),
            14 => Kind::Ggml(GgmlDType::Q6K),
            28 => Kind::F64,
            30 => Kind::BF16,
            other => match Blocks::of(other) {
                Some(blocks) => Kind::Blocks(blocks),
                None => {
                    let kind = UNREAD
                        .iter()
                        .find(|(id, _)| *id == other)
                        .map(|(_, kind)| format!("{kind} (type {other} of GGUF)"));
                    self.u64()?;
                    return Ok((name, Err(kind.unwrap_or_else(|| format!("type {other} of GGUF")))));
                }
            },
        };
        Ok((name, Ok(Tensor { kind, shape, offset: self.u64()? })))
    }
}
