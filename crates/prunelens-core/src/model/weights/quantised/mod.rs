//! Weights that are stored as other tensors: codes of a few bits, scales, zero points, bitmasks. A scheme finds them in a file,
//! and then each is asked for by its own name, as any weight is; it is dequantised when it is asked for, in f32.

mod awq;
mod bitsandbytes;
mod codes;
mod compressed_tensors;
mod fp8;
mod gptq;
mod grid;
mod keys;
mod mlx;
mod modules;
mod source;
mod stored;

use std::{fmt::Debug, path::Path};

use prunelens_kernels::{matmul::transpose, pointwise::all_finite};
use serde_json::Value;

pub use self::source::check_quantisation;
use self::{source::Source, stored::Stored};
use super::{Entry, Kind, Weights, read::not_finite};
use crate::{
    error::{Error, Result},
    model::config::Keys,
    text::shorten,
};

/// A way to store weights in fewer bits. A newcomer is a file in this folder and a line in [`SCHEMES`].
struct Scheme {
    /// As users know it.
    name: &'static str,
    /// What `quant_method` calls it.
    methods: &'static [&'static str],
    /// Ends of the names of tensors that stand for weights.
    signs: &'static [&'static str],
    /// Look at every key of its config: refuse those that would change a number and are not read, warn of those that are not
    /// known. The second is where they stand, as messages write it.
    check: fn(Keys, &str) -> Result<Vec<String>>,
    /// Find its weights, and check the shapes of their parts.
    open: fn(&Source) -> Result<Found>,
}

static SCHEMES: [Scheme; 6] =
    [gptq::SCHEME, awq::SCHEME, compressed_tensors::SCHEME, bitsandbytes::SCHEME, fp8::SCHEME, mlx::SCHEME];

/// What a scheme finds in a file.
#[derive(Default)]
struct Found {
    packed: Vec<Packed>,
    /// What users should know of this file beside its scheme.
    notes: Vec<String>,
}

/// One weight, and the tensors that stand for it.
#[derive(Debug)]
pub(super) struct Packed {
    /// As it is asked for.
    name: String,
    /// "GPTQ 4 bits, groups of 32".
    scheme: String,
    /// Rows and columns as the scheme gives them.
    pub(super) shape: [usize; 2],
    /// Rows are outputs, as in PyTorch's `Linear`; else inputs.
    rows_are_outputs: bool,
    /// Names of the tensors that hold codes, scales, zero points and masks: what its size is counted by.
    counted: Vec<String>,
    /// Names of its other tensors: orders, shapes, tables.
    beside: Vec<String>,
    weight: Box<dyn Dequantise>,
}

/// How a scheme's tensors become numbers.
trait Dequantise: Debug + Send + Sync {
    /// Rows one after another.
    fn values(&self, stored: &Stored) -> Result<Vec<f32>>;
}

/// A weight that is stored in another way than it is computed with.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// As the loader asks for it.
    pub name: String,
    /// In words.
    pub scheme: String,
    /// How many numbers it has.
    pub weights: u64,
    /// What its codes, scales, zero points and masks take in the file.
    pub bits: u64,
}

impl Weights {
    /// Let weights that are stored as other tensors be read by their own names. `config` is the model's `config.json`, `dir`
    /// its folder, and `transposed` says which modules keep their weights `[inputs, outputs]`.
    pub fn unpack(&mut self, config: Keys, dir: Option<&Path>, transposed: &dyn Fn(&str) -> bool) -> Result<()> {
        let Some((scheme, said)) = source::scheme(config, dir)? else { return self.refuse_unnamed() };
        let source = Source { config: said.keys(), stored: Stored { weights: self } };
        let found = (scheme.open)(&source)?;
        if found.packed.is_empty() {
            let signs = scheme.signs.join(", ");
            let what = format!(
                "its tensors are plain: none ends in {signs}, and {} says that its weights are compressed by {}; if they \
                 were dequantised, remove that from the config",
                said.path.display(),
                scheme.name
            );
            return Err(Error::file(&self.path, what));
        }
        for packed in found.packed {
            self.take_parts(packed, transposed)?;
        }
        self.notes.extend(found.notes);
        // Those of `config.json` are told by who reads it.
        if said.beside {
            self.notes.extend(said.warnings);
        }
        self.refuse_rest(scheme)
    }

    fn take_parts(&mut self, mut packed: Packed, transposed: &dyn Fn(&str) -> bool) -> Result<()> {
        for part in packed.counted.iter().chain(&packed.beside) {
            if let Some(entry) = self.entries.remove(part) {
                self.parts.insert(part.clone(), entry);
            }
        }
        if self.entries.contains_key(&packed.name) {
            let (name, part) = (shorten(&packed.name, 80), packed.counted.first().map_or("", String::as_str));
            return Err(Error::file(&self.path, format!("holds both {name:?} and {:?}", shorten(part, 80))));
        }
        let module = packed.name.trim_end_matches(".weight");
        if packed.rows_are_outputs == transposed(module) {
            let shape = packed.shape;
            packed = Packed {
                shape: [shape[1], shape[0]],
                weight: Box::new(Turned { shape, weight: packed.weight }),
                ..packed
            };
        }
        self.packed.insert(packed.name.clone(), packed);
        Ok(())
    }

    /// Tensors of a scheme that the config does not name.
    fn refuse_unnamed(&self) -> Result<()> {
        let signed = |name: &str| SCHEMES.iter().find(|scheme| scheme.signs.iter().any(|sign| name.ends_with(sign)));
        let Some((name, scheme)) = self.names().find_map(|name| Some((name, signed(name)?))) else { return Ok(()) };
        let what = format!(
            "tensor {:?} belongs to weights compressed by {}, or in a like way, and nothing says how: expected \
             quantization_config in config.json, or quantize_config.json beside it",
            shorten(name, 80),
            scheme.name
        );
        Err(Error::file(&self.path, what))
    }

    /// Tensors that would be parts of compressed weights and are parts of none.
    fn refuse_rest(&self, scheme: &Scheme) -> Result<()> {
        let signs = || SCHEMES.iter().flat_map(|scheme| scheme.signs);
        match self.names().find(|name| !self.packed.contains_key(*name) && signs().any(|sign| name.ends_with(sign))) {
            None => Ok(()),
            Some(name) => {
                let (name, scheme) = (shorten(name, 80), scheme.name);
                Err(Error::file(&self.path, format!("tensor {name:?} is no part of a weight compressed by {scheme}")))
            }
        }
    }

    /// The weights that are stored in another way than they are computed with, in the order of their names.
    pub fn quantised(&self) -> Vec<Quantised> {
        let packed = self.packed.values().map(|packed| {
            let bytes = packed.counted.iter().filter_map(|part| self.parts.get(part)).map(|entry| entry.len as u64);
            Quantised {
                name: packed.name.clone(),
                scheme: packed.scheme.clone(),
                weights: packed.shape.iter().map(|n| *n as u64).product(),
                bits: 8 * bytes.sum::<u64>(),
            }
        });
        // A GGUF file's BF16 is one of the types that its writers choose among.
        let chosen = |entry: &Entry| match entry.kind {
            Kind::Ggml(_) | Kind::Blocks(_) => true,
            kind => kind == Kind::BF16 && self.metadata.iter().next().is_some(),
        };
        let blocks = self.entries.iter().filter(|(_, entry)| chosen(entry)).map(|(name, entry)| Quantised {
            name: name.clone(),
            scheme: format!("GGUF {}", entry.kind.of_gguf()),
            weights: entry.stored() as u64,
            bits: 8 * entry.len as u64,
        });
        packed.chain(blocks).collect()
    }

    pub(super) fn dequantise(&self, packed: &Packed) -> Result<Vec<f32>> {
        let values = packed.weight.values(&Stored { weights: self })?;
        if !all_finite(&values) {
            return Err(not_finite(&self.path, &packed.name));
        }
        Ok(values)
    }
}

/// The same weight the other way round.
#[derive(Debug)]
struct Turned {
    shape: [usize; 2],
    weight: Box<dyn Dequantise>,
}

impl Dequantise for Turned {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let [rows, cols] = self.shape;
        Ok(transpose(&self.weight.values(stored)?, rows, cols))
    }
}

/// An integer from a config, which may be -1.
fn signed(keys: Keys, key: &str) -> Option<i64> {
    keys.get(key).and_then(Value::as_i64)
}

fn group_words(group: Option<usize>) -> String {
    group.map_or("a scale a row".into(), |n| format!("groups of {n}"))
}
