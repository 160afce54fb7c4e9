//! The tensors of a file as they lie in it, each checked against what a scheme expects of it before it is read.

use half::{bf16, f16};

use super::super::{Entry, Kind, Weights};
use crate::{
    error::{Error, Result},
    text::shorten,
};

#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub weights: &'a Weights,
}

impl<'a> Stored<'a> {
    fn find(&self, name: &str) -> Option<&'a Entry> {
        self.weights.parts.get(name).or_else(|| self.weights.entries.get(name))
    }

    /// Names of all tensors that no weight has been made of.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.weights.entries.keys().map(String::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Those of the names that are there.
    pub fn present(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        names.into_iter().filter(|name| self.has(name)).collect()
    }

    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.find(name).map(|entry| entry.kind)
    }

    /// What is wrong with a tensor.
    pub fn wrong(&self, name: &str, what: impl AsRef<str>) -> Error {
        let path = match self.find(name) {
            Some(entry) => &self.weights.shards[entry.shard].path,
            None => &self.weights.path,
        };
        Error::file(path, format!("tensor {:?}: {}", shorten(name, 100), what.as_ref()))
    }

    pub fn shape(&self, name: &str) -> Result<&'a [usize]> {
        match self.find(name) {
            Some(entry) => Ok(&entry.shape),
            None => Err(match self.weights.unread.get(name) {
                Some(kind) => self.wrong(name, format!("it is stored as {kind}, which is not supported")),
                None => self.wrong(name, "it is missing beside the other parts of its weight"),
            }),
        }
    }

    /// Rows and columns of a matrix, none of them 0.
    pub fn matrix(&self, name: &str) -> Result<[usize; 2]> {
        match *self.shape(name)? {
            [rows, cols] if rows > 0 && cols > 0 => Ok([rows, cols]),
            ref other => Err(self.wrong(name, format!("expected a matrix, found shape {other:?}"))),
        }
    }

    /// Refuse a tensor of another type or shape.
    pub fn expect(&self, name: &str, kinds: &[Kind], shape: &[usize]) -> Result<()> {
        let found = self.shape(name)?;
        if found != shape {
            return Err(self.wrong(name, format!("expected shape {shape:?}, found {found:?}")));
        }
        self.expect_kind(name, kinds)
    }

    /// Refuse a tensor of another type.
    pub fn expect_kind(&self, name: &str, kinds: &[Kind]) -> Result<()> {
        self.shape(name)?;
        match self.kind(name) {
            Some(kind) if kinds.contains(&kind) => Ok(()),
            kind => {
                let expected: Vec<_> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
                let found = kind.map_or("nothing".into(), |kind| format!("{kind:?}"));
                Err(self.wrong(name, format!("expected {}, found {found}", expected.join(" or "))))
            }
        }
    }

    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        self.shape(name)?;
        match self.find(name) {
            Some(entry) => self.weights.read(entry),
            None => Err(self.wrong(name, "it is missing")),
        }
    }

    /// Words of 32 bits, without sign.
    pub fn words(&self, name: &str) -> Result<Vec<u32>> {
        self.expect_kind(name, WORDS)?;
        Ok(self.bytes(name)?.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
    }

    pub fn integers(&self, name: &str) -> Result<Vec<i64>> {
        let bytes = self.bytes(name)?;
        let values = self.kind(name).and_then(|kind| kind.integers(&bytes));
        values.ok_or_else(|| self.wrong(name, format!("expected integers, found {:?}", self.kind(name))))
    }

    /// Finite floats of 16 or 32 bits, or fp8, widened.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.bytes(name)?;
        let values: Vec<f32> = match self.kind(name) {
            Some(Kind::F32) => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Some(Kind::F16) => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Some(Kind::BF16) => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Some(Kind::F8E4M3) => bytes.iter().map(|b| super::codes::e4m3(*b)).collect(),
            kind => return Err(self.wrong(name, format!("expected floats, found {kind:?}"))),
        };
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(at) => Err(self.wrong(name, format!("number {at} is {}", values[at]))),
        }
    }

    /// Scales that no writer of the scheme makes 0: it would divide by them.
    pub fn scales(&self, name: &str) -> Result<Vec<f32>> {
        let scales = self.floats(name)?;
        match scales.iter().position(|scale| *scale == 0.0) {
            None => Ok(scales),
            Some(at) => Err(self.wrong(name, format!("scale {at} is 0"))),
        }
    }
}

/// Types of packed words.
pub(super) const WORDS: &[Kind] = &[Kind::I32, Kind::U32];
/// Types of scales.
pub(super) const FLOATS: &[Kind] = &[Kind::F16, Kind::BF16, Kind::F32];
