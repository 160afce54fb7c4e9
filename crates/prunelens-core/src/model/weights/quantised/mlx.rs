//! MLX: codes packed along the inputs, and a scale and a bias for each group; or fp4 with a power of two.

use serde_json::{Map, Value};

use super::{
    super::Kind,
    Dequantise, Found, Packed, Scheme, Stored,
    codes::{E2M1, code, e8m0},
    grid::Grid,
    keys::{self, Read, Table},
    source::{Source, bits, group_size},
    stored::FLOATS,
};
use crate::{error::Result, model::config::Keys, text::shorten};

pub(super) const SCHEME: Scheme =
    Scheme { name: "MLX", methods: &["mlx"], signs: &[".scales", ".biases"], check, open };

const KEYS: Table = &[("bits", Read), ("group_size", Read), ("mode", Read)];

/// Beside its own keys stand modules, with settings of their own, or with whether they are compressed, as the file says itself.
fn check(config: Keys, place: &str) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut plain = Map::new();
    for (key, value) in config.value.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => {
                let place = format!("{place}{}.", shorten(key, 60));
                warnings.extend(keys::check(Keys { value, ..config }, &place, &[KEYS])?);
            }
            Value::Bool(_) => {}
            _ => drop(plain.insert(key.clone(), value.clone())),
        }
    }
    warnings.extend(keys::check(Keys { value: &Value::Object(plain), ..config }, place, &[KEYS])?);
    Ok(warnings)
}

const BITS: &[u64] = &[2, 3, 4, 5, 6, 8];

fn open(source: &Source) -> Result<Found> {
    let (keys, stored) = (source.config, &source.stored);
    let mut found = Found::default();
    for name in stored.names() {
        // A matrix of words without scales is refused where it is asked for.
        let Some(module) = name.strip_suffix(".scales") else { continue };
        let own = keys.get(module).filter(|own| own.is_object()).map_or(keys, |own| Keys { value: own, ..keys });
        found.packed.push(matrix(stored, module, keys, own)?);
    }
    // The config is checked even where no matrix asks for it.
    bits(keys, BITS)?;
    Ok(found)
}

/// `own` are the settings of this module, `all` those of the others.
fn matrix(stored: &Stored, module: &str, all: Keys, own: Keys) -> Result<Packed> {
    let [codes, scales, biases] = ["weight", "scales", "biases"].map(|part| format!("{module}.{part}"));
    let mode = own.str_or("mode", all.str_or("mode", "affine")?)?;
    let affine = match mode {
        "affine" => true,
        "mxfp4" => false,
        other => {
            let what = format!("{:?} is not read; expected affine or mxfp4", shorten(other, 40));
            return Err(all.refuse("mode", &what));
        }
    };
    let with = |key: &str| if own.get(key).is_some() { own } else { all };
    let bits = bits(with("bits"), if affine { BITS } else { &[4] })?;
    let group = group_size(with("group_size"))?;
    let [rows, words] = stored.matrix(&codes)?;
    stored.expect_kind(&codes, &[Kind::U32, Kind::I32])?;
    let cols = words.saturating_mul(32) / bits as usize;
    if super::codes::words(cols, bits) != Some(words) {
        return Err(stored.wrong(&codes, format!("{words} words hold no whole number of {bits}-bit codes")));
    }
    let grid = Grid::groups([rows, cols], group);
    stored.expect(&scales, if affine { FLOATS } else { &[Kind::U8] }, &grid.table())?;
    let mut counted = vec![codes, scales];
    if affine {
        stored.expect(&biases, FLOATS, &grid.table())?;
        counted.push(biases);
    }
    let module = module.to_owned();
    Ok(Packed {
        name: format!("{module}.weight"),
        scheme: format!("MLX {bits} bits{}, {}", if affine { "" } else { " (mxfp4)" }, super::group_words(group)),
        shape: [rows, cols],
        rows_are_outputs: true,
        counted,
        beside: Vec::new(),
        weight: Box::new(Mlx { module, bits, affine, grid, words }),
    })
}

#[derive(Debug)]
struct Mlx {
    module: String,
    bits: u32,
    affine: bool,
    grid: Grid,
    /// Of a row.
    words: usize,
}

impl Dequantise for Mlx {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let part = |part: &str| format!("{}.{part}", self.module);
        let words = stored.words(&part("weight"))?;
        let columns = self.grid.columns();
        let at = |row: usize, col: usize| code(|word| words[row * self.words + word], col, self.bits);
        if !self.affine {
            let scales = powers(stored, &part("scales"))?;
            return Ok(self.grid.fill(|row, group, out| {
                for (col, out) in out.iter_mut().enumerate() {
                    *out = E2M1[at(row, col) as usize] * scales[group + columns[col]];
                }
            }));
        }
        let (scales, biases) = (stored.floats(&part("scales"))?, stored.floats(&part("biases"))?);
        Ok(self.grid.fill(|row, group, out| {
            for (col, out) in out.iter_mut().enumerate() {
                let group = group + columns[col];
                *out = at(row, col) as f32 * scales[group] + biases[group];
            }
        }))
    }
}

/// Scales that are exponents of two.
pub(super) fn powers(stored: &Stored, name: &str) -> Result<Vec<f32>> {
    stored.expect_kind(name, &[Kind::U8])?;
    let powers: Option<Vec<f32>> = stored.bytes(name)?.into_iter().map(e8m0).collect();
    powers.ok_or_else(|| stored.wrong(name, "a scale is NaN"))
}
