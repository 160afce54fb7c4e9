//! What the config says: groups of modules by their names, the format of each, and how scales are spread.

use serde_json::Value;

use super::super::{
    grid::Grid,
    keys::{self, Harmless, Only, Read, Table},
    modules::Pattern,
    source::group_size,
};
use crate::{error::Result, model::config::Keys, text::shorten};

/// Formats of quantised weights.
const FORMATS: [&str; 6] = [
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
];

const KEYS: Table = &[
    ("config_groups", Read),
    ("format", Read),
    ("ignore", Read),
    ("sparsity_config", Read),
    ("transform_config", Read),
    ("kv_cache_scheme", Read),
    ("version", Harmless),
    ("global_compression_ratio", Harmless),
    // "frozen" has the tensors of training beside plain weights.
    ("quantization_status", Only(&[r#""compressed""#, r#""initialized""#, r#""frozen""#])),
];

const GROUP: Table = &[
    ("targets", Read),
    ("format", Read),
    ("weights", Read),
    ("input_activations", Read),
    ("output_activations", Read),
];

const WEIGHTS: Table = &[
    ("num_bits", Read),
    ("type", Read),
    ("symmetric", Read),
    ("strategy", Read),
    ("group_size", Read),
    ("block_structure", Read),
    ("actorder", Read),
    ("dynamic", Only(&["false"])),
    ("observer", Harmless),
    ("observer_kwargs", Harmless),
    // The tensors have types.
    ("scale_dtype", Harmless),
    ("zp_dtype", Harmless),
];

const SPARSITY: Table = &[
    ("format", Read),
    ("targets", Harmless),
    ("ignore", Harmless),
    ("global_sparsity", Harmless),
    ("sparsity_structure", Harmless),
    ("registry_requires_subclass", Harmless),
];

/// Look at every key, those of its groups among them.
pub(super) fn check(config: Keys, place: &str) -> Result<Vec<String>> {
    let mut warnings = keys::check(config, place, &[KEYS])?;
    let mut inside = |value: &Value, name: &str, table| -> Result<()> {
        warnings.extend(keys::check(Keys { value, ..config }, &format!("{place}{name}."), &[table])?);
        Ok(())
    };
    if let Some(value) = config.get("sparsity_config") {
        inside(value, "sparsity_config", SPARSITY)?;
    }
    for (name, group) in config.get("config_groups").and_then(Value::as_object).into_iter().flatten() {
        let name = format!("config_groups.{}", shorten(name, 40));
        inside(group, &name, GROUP)?;
        if let Some(weights) = group.get("weights") {
            inside(weights, &format!("{name}.weights"), WEIGHTS)?;
        }
    }
    Ok(warnings)
}

pub(super) struct Config {
    groups: Vec<Group>,
    ignored: Vec<Pattern>,
    /// `sparse-24-bitmask`, `sparse-bitmask`, or none.
    pub sparse: Option<String>,
    pub notes: Vec<String>,
}

/// Modules that are stored alike.
#[derive(Clone, Debug)]
pub(super) struct Group {
    targets: Vec<Pattern>,
    pub format: String,
    pub bits: u32,
    pub float: bool,
    pub symmetric: bool,
    /// Groups are scattered over the columns, as `weight_g_idx` lists them.
    pub scattered: bool,
    pub spread: Spread,
}

/// How many weights share a scale.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spread {
    /// All.
    Matrix,
    Row,
    /// So many columns of a row.
    Group(usize),
    /// Rows and columns.
    Block(usize, usize),
}

impl Spread {
    pub fn grid(self, shape: [usize; 2]) -> Grid {
        match self {
            Self::Matrix => Grid::blocks(shape, shape[0], shape[1]),
            Self::Row => Grid::groups(shape, None),
            Self::Group(n) => Grid::groups(shape, Some(n)),
            Self::Block(height, width) => Grid::blocks(shape, height, width),
        }
    }

    pub fn words(self) -> String {
        match self {
            Self::Matrix => "a scale a matrix".into(),
            Self::Row => "a scale a row".into(),
            Self::Group(n) => format!("groups of {n}"),
            Self::Block(height, width) => format!("blocks of {height} x {width}"),
        }
    }
}

impl Config {
    pub fn read(keys: Keys) -> Result<Self> {
        let format = keys.str_or("format", "dense")?;
        let sparse = keys
            .get("sparsity_config")
            .map_or(Ok("dense"), |value| Keys { value, ..keys }.str_or("format", "dense"))?;
        let sparse = match sparse {
            "dense" => None,
            "sparse-24-bitmask" | "sparse-bitmask" => Some(sparse.to_owned()),
            other => {
                let what = format!(
                    "format {:?} is not read; expected sparse-24-bitmask or sparse-bitmask",
                    shorten(other, 40)
                );
                return Err(keys.refuse("sparsity_config", &what));
            }
        };
        let mut config = Self { groups: Vec::new(), ignored: patterns(keys, "ignore")?, sparse, notes: Vec::new() };
        if keys.get("transform_config").is_some_and(|value| value.as_object().is_none_or(|all| !all.is_empty())) {
            return Err(keys.refuse("transform_config", "rotations of weights are not read; expected none"));
        }
        let groups = keys.get("config_groups").map(|groups| {
            groups.as_object().ok_or_else(|| keys.refuse("config_groups", "expected an object of groups"))
        });
        for (name, value) in groups.transpose()?.into_iter().flatten() {
            let own = Keys { value, ..keys };
            let format = own.str_or("format", format)?;
            let known = |format: &&str| FORMATS.contains(format);
            let Some(format) = Some(format).filter(known) else {
                let what = format!(
                    "format {:?} of {} is not read; expected {}",
                    shorten(format, 40),
                    shorten(name, 40),
                    FORMATS.join(", ")
                );
                return Err(keys.refuse("format", &what));
            };
            config.groups.push(Group::read(own, format)?);
            for key in ["input_activations", "output_activations"] {
                config.note_activations(own, key)?;
            }
        }
        if keys.get("kv_cache_scheme").is_some() {
            config.notes.push(
                "keys and values are rounded at run time (kv_cache_scheme) by what runs this model; not simulated"
                    .into(),
            );
        }
        Ok(config)
    }

    fn note_activations(&mut self, keys: Keys, key: &str) -> Result<()> {
        let Some(value) = keys.get(key) else { return Ok(()) };
        let own = Keys { value, ..keys };
        let kind = if own.str_or("type", "int")? == "float" { "fp" } else { "int" };
        let by = own.str_or("strategy", "tensor")?;
        let note = format!(
            "activations are rounded to {kind}{} at run time (by {}) by what runs this model; not simulated",
            own.get("num_bits").and_then(Value::as_u64).unwrap_or(8),
            shorten(by, 20)
        );
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        Ok(())
    }

    /// The group of a module; one that names it comes before one that names its class.
    pub fn group(&self, module: &str) -> Result<Option<&Group>> {
        for pattern in &self.ignored {
            if pattern.matches(module)? {
                return Ok(None);
            }
        }
        for class in [false, true] {
            for group in &self.groups {
                for target in group.targets.iter().filter(|target| target.is_class() == class) {
                    if target.matches(module)? {
                        return Ok(Some(group));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// A list of names and expressions.
fn patterns(keys: Keys, key: &str) -> Result<Vec<Pattern>> {
    let Some(value) = keys.get(key) else { return Ok(Vec::new()) };
    let all = value.as_array().ok_or_else(|| keys.refuse(key, "expected a list of names"))?;
    let text = |value: &Value| {
        let text = value.as_str().ok_or_else(|| keys.refuse(key, "expected a list of names"))?;
        Pattern::parse(keys, key, text)
    };
    all.iter().map(text).collect()
}

impl Group {
    fn read(keys: Keys, format: &str) -> Result<Self> {
        let value =
            keys.get("weights").ok_or_else(|| keys.refuse("weights", "expected what its weights are rounded to"))?;
        let weights = Keys { value, ..keys };
        let float = match weights.str_or("type", "int")? {
            "int" => false,
            "float" => true,
            other => return Err(keys.refuse("type", &format!("expected int or float, found {:?}", shorten(other, 40)))),
        };
        let bits = weights.size("num_bits")?;
        let allowed: &[usize] = match format {
            "pack-quantized" => &[2, 4, 8],
            "nvfp4-pack-quantized" | "mxfp4-pack-quantized" => &[4],
            _ => &[8],
        };
        // Of integers as bytes, each width up to 8 is a byte a code.
        let as_bytes = !float && matches!(format, "int-quantized" | "naive-quantized") && (2..=8).contains(&bits);
        if !allowed.contains(&bits) && !as_bytes {
            return Err(keys.refuse("num_bits", &format!("expected {allowed:?} for {format}, found {bits}")));
        }
        let of_floats = format.contains("fp4") || format == "float-quantized";
        if (of_floats && !float) || (float && matches!(format, "pack-quantized" | "int-quantized")) {
            let kind = if float { "float" } else { "int" };
            return Err(keys.refuse("type", &format!("{format} does not hold numbers of type {kind}")));
        }
        Ok(Self {
            targets: patterns(keys, "targets")?,
            format: format.to_owned(),
            bits: bits as u32,
            float,
            symmetric: weights.bool_or("symmetric", true)?,
            scattered: match weights.str_or("actorder", "weight")? {
                // Columns were quantised in another order and lie in their own.
                "weight" | "static" => false,
                "group" | "dynamic" => true,
                other => {
                    let what = format!("expected group, weight, dynamic or static, found {:?}", shorten(other, 40));
                    return Err(weights.refuse("actorder", &what));
                }
            },
            spread: spread(weights)?,
        })
    }
}

fn spread(keys: Keys) -> Result<Spread> {
    let size = |key: &str| match group_size(keys)? {
        Some(n) => Ok(n),
        None => Err(keys.refuse(key, "expected a size above 0, found -1")),
    };
    let strategy = match (keys.str_or("strategy", "")?, keys.get("group_size").and_then(Value::as_i64)) {
        ("", None) => "tensor",
        ("", Some(-1)) => "channel",
        ("", Some(_)) => "group",
        (strategy, _) => strategy,
    };
    Ok(match strategy {
        "tensor" => Spread::Matrix,
        "channel" => Spread::Row,
        "group" | "tensor_group" => Spread::Group(size("group_size")?),
        "block" => {
            let sizes = keys.get("block_structure").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let sizes: Vec<usize> = sizes.iter().filter_map(|n| usize::try_from(n.as_u64()?).ok()).collect();
            match sizes[..] {
                [height, width] if height > 0 && width > 0 => Spread::Block(height, width),
                _ => return Err(keys.refuse("block_structure", "expected rows and columns of a block")),
            }
        }
        other => {
            let what =
                format!("{:?} is not read; expected tensor, channel, group, block or tensor_group", shorten(other, 40));
            return Err(keys.refuse("strategy", &what));
        }
    })
}
