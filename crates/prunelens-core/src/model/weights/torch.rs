//! PyTorch's `.pt` and `.pth`: a zip archive with a pickle that names tensors, and one member a storage.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    Entry, Weights,
    npz::Zip,
    pickle::{self, Object, Pickle},
};
use crate::{
    error::{Error, Result},
    text::shorten,
};

/// A pickle of tensors has a line or two each, some 150 bytes; what needs more is not one.
const PICKLE: u64 = 512 << 10;

impl Weights {
    /// Note the tensors of an archive that will be the next shard.
    pub(super) fn enter_torch(&mut self, path: &Path, zip: &mut Zip) -> Result<()> {
        if let Some(at) = zip.members.iter().position(|m| m.name == "byteorder")
            && zip.read(path, at, 16)? != b"little"
        {
            return Err(Error::file(path, "its numbers are stored big end first, which is not supported"));
        }
        let at = zip.members.iter().position(|m| m.name == "data.pkl").unwrap_or_default();
        let content = zip.read(path, at, PICKLE)?;
        let pickle = pickle::read(&content).map_err(|what| Error::file(path, format!("its pickle {what}")))?;
        let Object::Dict(items) = pickle.root() else {
            return Err(Error::file(path, "expected a dictionary of tensors (a state_dict)"));
        };
        let shard = self.shards.len();
        for (key, value) in items {
            let Object::Text(name) = pickle.get(*key) else {
                return Err(Error::file(path, "expected a dictionary of tensors by name"));
            };
            match pickle.get(*value) {
                Object::Tensor(tensor) => {
                    let entry = place(&pickle, tensor, zip, shard);
                    let wrong = |what| Error::file(path, format!("tensor {:?}: {what}", shorten(name, 60)));
                    self.enter(path, (*name).to_owned(), entry.map_err(wrong)?)?;
                }
                _ => drop(self.extras.insert((*name).to_owned(), json(&pickle, *value, 0, &mut 10_000))),
            }
        }
        Ok(())
    }
}

/// Where a tensor's numbers are in the archive.
fn place(pickle: &Pickle, tensor: &pickle::Tensor, zip: &Zip, shard: usize) -> Result<Entry, String> {
    let Object::Storage(storage) = pickle.get(tensor.storage) else { return Err("it has no storage".into()) };
    let kind = storage.kind;
    let member = zip.member(&format!("data/{}", storage.key)).ok_or("its storage is not in the archive")?;
    let start = member.stored.ok_or("its storage is compressed")?;
    let (shape, strides) = (tensor.shape.clone(), &tensor.strides);
    if shape.len() != strides.len() || shape.len() > 8 {
        return Err("its shape and strides do not agree".into());
    }
    let steps = |d: &usize, step: &mut usize| Some(std::mem::replace(step, step.saturating_mul(*d)));
    let mut step = 1;
    let mut plain: Vec<usize> = shape.iter().rev().filter_map(|d| steps(d, &mut step)).collect();
    plain.reverse();
    // Along a dimension of one nothing is stepped.
    let in_order = shape.iter().zip(strides).zip(&plain).all(|((d, s), p)| *d <= 1 || s == p);
    let too_far = "it reaches beyond its storage";
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(0_usize, |sum, (d, s)| d.saturating_sub(1).checked_mul(*s).and_then(|step| sum.checked_add(step)));
    let numbers = if shape.contains(&0) { Some(0) } else { last.and_then(|last| last.checked_add(1)) };
    let len = numbers.and_then(|n| kind.bytes(n)).ok_or(too_far)?;
    let skipped = kind.bytes(tensor.offset).ok_or(too_far)?;
    if skipped.checked_add(len).is_none_or(|end| end as u64 > member.size) {
        return Err(too_far.into());
    }
    let strides = (!in_order).then(|| strides.clone());
    Ok(Entry { shard, kind, shape, strides, start: start + skipped as u64, len })
}

/// Plain values as JSON; `budget` bounds how many, since pickles can name one object many times.
fn json(pickle: &Pickle, at: u32, depth: usize, budget: &mut usize) -> Value {
    if *budget == 0 || depth > 8 {
        return Value::Null;
    }
    *budget -= 1;
    match pickle.get(at) {
        Object::Bool(v) => (*v).into(),
        Object::Int(v) => (*v).into(),
        Object::Float(v) => (*v).into(),
        Object::Text(v) => shorten(v, 400).into(),
        Object::Tuple(items) | Object::List(items) => {
            items.iter().map(|item| json(pickle, *item, depth + 1, budget)).collect()
        }
        Object::Dict(items) => {
            let mut out = Map::new();
            for (key, value) in items {
                if let Object::Text(key) = pickle.get(*key) {
                    out.insert(shorten(key, 400), json(pickle, *value, depth + 1, budget));
                }
            }
            out.into()
        }
        Object::None | Object::Global(_) | Object::Storage(_) | Object::Tensor(_) => Value::Null,
    }
}
