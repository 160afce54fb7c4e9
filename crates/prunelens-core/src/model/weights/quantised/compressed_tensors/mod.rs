//! compressed-tensors, as llm-compressor and vLLM write it: groups of modules, each with a format and a scheme of scales, and
//! zeros left out of sparse matrices by a bitmask.

mod config;
mod packed;
mod plain;
mod sparse;

use self::config::{Config, Group};
use super::{Found, Packed, Scheme, Stored, source::Source};
use crate::error::Result;

pub(super) const SCHEME: Scheme = Scheme {
    name: "compressed-tensors",
    methods: &["compressed-tensors"],
    signs: &[".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_g_idx", ".compressed", ".bitmask"],
    check: config::check,
    open,
};

/// Parts of one matrix, of which each name ends in one.
const PARTS: [&str; 3] = [".weight_packed", ".weight_scale", ".compressed"];

fn open(source: &Source) -> Result<Found> {
    let config = Config::read(source.config)?;
    let stored = &source.stored;
    let mut modules: Vec<&str> =
        stored.names().filter_map(|name| PARTS.iter().find_map(|part| name.strip_suffix(part))).collect();
    // `X.weight.compressed` and `X.compressed` are both the weight of X.
    modules.iter_mut().for_each(|module| *module = module.strip_suffix(".weight").unwrap_or(module));
    modules.sort_unstable();
    modules.dedup();
    let mut found = Found { packed: Vec::new(), notes: config.notes.clone() };
    for module in modules {
        found.packed.push(open_module(stored, &config, module)?);
    }
    Ok(found)
}

/// Tensors of activations and of the cache, whose rounding is not simulated.
const BESIDE: [&str; 6] =
    ["weight_shape", "weight_g_idx", "input_scale", "input_zero_point", "output_scale", "input_global_scale"];

fn open_module(stored: &Stored, config: &Config, module: &str) -> Result<Packed> {
    let part = |part: &str| format!("{module}.{part}");
    let mask = sparse::Mask::find(stored, config, module)?;
    let quantised = ["weight_packed", "weight_scale"].into_iter().find(|name| stored.has(&part(name)));
    let group = config.group(module)?;
    let mut packed = match (quantised, group) {
        (None, _) => {
            let mask = mask.ok_or_else(|| stored.wrong(&part("weight"), "it is missing"))?;
            sparse::open(stored, module, mask)?
        }
        (Some(name), None) => {
            let what = "its module is ignored, or no target of the config means it";
            return Err(stored.wrong(&part(name), what));
        }
        (Some(_), Some(group)) => format(stored, module, group, mask)?,
    };
    packed.beside.extend(stored.present(BESIDE.map(part)));
    Ok(packed)
}

/// The group of each column, if groups are scattered.
fn expect_g_idx(stored: &Stored, name: &str, cols: usize) -> Result<()> {
    if stored.has(name) && stored.shape(name)? != [cols] {
        return Err(stored.wrong(name, format!("expected {cols} groups, found shape {:?}", stored.shape(name)?)));
    }
    Ok(())
}

/// Whole numbers and floats by their format's name.
fn format(stored: &Stored, module: &str, group: &Group, mask: Option<sparse::Mask>) -> Result<Packed> {
    let g_idx = format!("{module}.weight_g_idx");
    if group.format.contains("fp4") && stored.has(&g_idx) {
        return Err(stored.wrong(&g_idx, format!("scattered groups of {} are not read", group.format)));
    }
    if group.scattered && !stored.has(&g_idx) {
        return Err(stored.wrong(&g_idx, "it is missing, and the config's actorder says that groups are scattered"));
    }
    let dense = |packed: Result<Packed>, mask: &Option<sparse::Mask>| match mask {
        None => packed,
        Some(_) => {
            Err(stored.wrong(&format!("{module}.bitmask"), format!("a bitmask over {} is not read", group.format)))
        }
    };
    match group.format.as_str() {
        "pack-quantized" => dense(packed::integers(stored, module, group), &mask),
        "nvfp4-pack-quantized" => dense(packed::nvfp4(stored, module, group), &mask),
        "mxfp4-pack-quantized" => dense(packed::mxfp4(stored, module, group), &mask),
        _ => plain::open(stored, module, group, mask),
    }
}
