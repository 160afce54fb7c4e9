//! fp8 with a scale for each block, as DeepSeek's checkpoints have it. The scale multiplies, whatever `weight_scale_inv` says.

use super::{
    super::Kind,
    Dequantise, Found, Packed, Scheme, Stored,
    codes::e4m3,
    grid::Grid,
    keys::{self, Harmless, Only, Read, Table},
    source::Source,
    stored::FLOATS,
};
use crate::{error::Result, model::config::Keys};

pub(super) const SCHEME: Scheme =
    Scheme { name: "fp8", methods: &["fp8"], signs: &[".weight_scale_inv", ".weight_scale"], check, open };

const KEYS: Table = &[
    ("weight_block_size", Read),
    ("activation_scheme", Read),
    ("fmt", Only(&[r#""e4m3""#, r#""float8_e4m3fn""#])),
    // Scales that are powers of two are stored as numbers all the same.
    ("scale_fmt", Only(&[r#""float""#, r#""ue8m0""#])),
    // Of mixtures of experts, which are none of the families read.
    ("expert_dtype", Harmless),
    ("ignored_layers", Harmless),
];

fn check(config: Keys, place: &str) -> Result<Vec<String>> {
    keys::check(config, place, &[KEYS])
}

fn open(source: &Source) -> Result<Found> {
    let (keys, stored) = (source.config, &source.stored);
    let block = keys.get("weight_block_size").map(|value| {
        let sizes: Option<Vec<usize>> = value
            .as_array()
            .and_then(|all| all.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect());
        match sizes.as_deref() {
            Some([height, width]) if *height > 0 && *width > 0 => Ok([*height, *width]),
            _ => Err(keys.refuse("weight_block_size", "expected rows and columns of a block")),
        }
    });
    let block = block.transpose()?;
    let mut found = Found::default();
    for name in stored.names().filter(|name| name.ends_with(".weight")) {
        let (inverse, plain) = (format!("{name}_scale_inv"), format!("{name}_scale"));
        let scale = if stored.has(&inverse) || !stored.has(&plain) { inverse } else { plain };
        if stored.kind(name) != Some(Kind::F8E4M3) && !stored.has(&scale) {
            continue;
        }
        let shape = stored.matrix(name)?;
        stored.expect_kind(name, &[Kind::F8E4M3])?;
        stored.expect_kind(&scale, FLOATS)?;
        // Without blocks one scale is for all.
        let [height, width] = block.unwrap_or(shape);
        let grid = Grid::blocks(shape, height, width);
        let one = block.is_none() && stored.shape(&scale)?.iter().all(|n| *n == 1);
        if !one && stored.shape(&scale)? != grid.table() {
            let found = stored.shape(&scale)?;
            return Err(stored.wrong(&scale, format!("expected shape {:?}, found {found:?}", grid.table())));
        }
        let module = name.trim_end_matches(".weight");
        found.packed.push(Packed {
            name: name.to_owned(),
            scheme: match block {
                Some([height, width]) => format!("fp8 e4m3, blocks of {height} x {width}"),
                None => "fp8 e4m3, a scale a matrix".into(),
            },
            shape: [shape[0], shape[1]],
            rows_are_outputs: true,
            counted: vec![name.to_owned(), scale.clone()],
            beside: stored.present(["input_scale", "activation_scale"].map(|part| format!("{module}.{part}"))),
            weight: Box::new(Fp8 { codes: name.to_owned(), scale, grid }),
        });
    }
    if let Ok(scheme @ ("dynamic" | "static")) = keys.str_or("activation_scheme", "dynamic") {
        found.notes.push(format!(
            "activations are rounded to fp8 at run time ({scheme}) by what runs this model; not simulated"
        ));
    }
    Ok(found)
}

#[derive(Debug)]
pub(super) struct Fp8 {
    pub codes: String,
    pub scale: String,
    pub grid: Grid,
}

impl Dequantise for Fp8 {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let (codes, scales) = (stored.bytes(&self.codes)?, stored.floats(&self.scale)?);
        let columns = self.grid.columns();
        let width = columns.len();
        Ok(self.grid.fill(|row, at, out| {
            for ((out, code), group) in out.iter_mut().zip(&codes[row * width..]).zip(&columns) {
                *out = e4m3(*code) * scales[at + group];
            }
        }))
    }
}
