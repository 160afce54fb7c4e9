//! bitsandbytes: a table of 16 numbers and a largest value for each block (nf4, fp4), perhaps quantised itself; or int8 with one
//! for each row.

use serde_json::Value;

use super::{
    super::Kind,
    Dequantise, Found, Packed, Scheme, Stored,
    grid::Grid,
    keys::{self, Harmless, Only, Read, Table},
    source::Source,
};
use crate::{
    error::Result,
    model::{config::Keys, known},
    text::shorten,
};

pub(super) const SCHEME: Scheme = Scheme {
    name: "bitsandbytes",
    methods: &["bitsandbytes"],
    signs: &[".SCB", ".absmax", ".quant_map", ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"],
    check,
    open,
};

const KEYS: Table = &[
    ("load_in_4bit", Read),
    ("load_in_8bit", Read),
    ("_load_in_4bit", Read),
    ("_load_in_8bit", Read),
    ("bnb_4bit_quant_type", Read),
    // Each tensor's own quant state says it, and its type.
    ("bnb_4bit_use_double_quant", Harmless),
    ("bnb_4bit_quant_storage", Harmless),
    // How it is run: in which type, and which columns of large activations are not rounded.
    ("bnb_4bit_compute_dtype", Harmless),
    ("llm_int8_threshold", Harmless),
    ("llm_int8_skip_modules", Harmless),
    ("llm_int8_enable_fp32_cpu_offload", Harmless),
    ("llm_int8_has_fp16_weight", Only(&["false"])),
];

/// Of a tensor's quant state.
const STATE_KEYS: Table = &[
    ("quant_type", Read),
    ("blocksize", Read),
    ("shape", Read),
    ("nested_blocksize", Read),
    ("nested_offset", Read),
    // Of the weight before it was quantised, and of the tables: stored as f32.
    ("dtype", Harmless),
    ("nested_dtype", Harmless),
];

fn check(config: Keys, place: &str) -> Result<Vec<String>> {
    keys::check(config, place, &[KEYS])
}

/// Refuse a config that says another kind of codes than the tensors are.
fn agree(config: Keys, tensor: &str, four_bits: Option<&str>) -> Result<()> {
    let says = |kind: &str| {
        [format!("load_in_{kind}"), format!("_load_in_{kind}")]
            .iter()
            .any(|key| config.get(key) == Some(&Value::Bool(true)))
    };
    let (own, other) = if four_bits.is_some() { ("4bit", "8bit") } else { ("8bit", "4bit") };
    if says(other) && !says(own) {
        let why = format!("true, and tensor {:?} has codes of {own}", shorten(tensor, 80));
        return Err(config.refuse(&format!("quantization_config.load_in_{other}"), &why));
    }
    match (four_bits, config.get("bnb_4bit_quant_type").and_then(Value::as_str)) {
        (Some(kind), Some(said)) if said != kind => {
            let why = format!("{:?}, and tensor {:?} is {kind}", shorten(said, 40), shorten(tensor, 80));
            Err(config.refuse("quantization_config.bnb_4bit_quant_type", &why))
        }
        _ => Ok(()),
    }
}

const STATE: &str = ".quant_state.bitsandbytes__";
/// A state is a few numbers.
const LONGEST: usize = 1 << 16;

fn open(source: &Source) -> Result<Found> {
    let stored = &source.stored;
    let mut found = Found::default();
    for name in stored.names() {
        if let Some(module) = name.strip_suffix(".SCB") {
            found.packed.push(int8(stored, module)?);
            agree(source.config, name, None)?;
        }
        if let Some(weight) = name.strip_suffix(".absmax") {
            let (packed, kind) = four_bits(stored, weight)?;
            found.packed.push(packed);
            agree(source.config, weight, Some(kind))?;
        } else if let Some((weight, _)) =
            name.split_once(STATE).filter(|(weight, _)| !stored.has(&format!("{weight}.absmax")))
        {
            return Err(stored.wrong(&format!("{weight}.absmax"), "it is missing beside its quant state"));
        }
    }
    if found.packed.iter().any(|packed| packed.scheme.contains("int8")) {
        found
            .notes
            .push("activations are rounded to int8 at run time (by token) by bitsandbytes; not simulated".into());
    }
    Ok(found)
}

fn int8(stored: &Stored, module: &str) -> Result<Packed> {
    let [weight, scb, format] = ["weight", "SCB", "weight_format"].map(|part| format!("{module}.{part}"));
    let shape = stored.matrix(&weight)?;
    stored.expect_kind(&weight, &[Kind::I8])?;
    stored.expect(&scb, &[Kind::F32], &shape[..1])?;
    if stored.has(&format) && stored.integers(&format)?.iter().any(|format| *format != 0) {
        return Err(stored.wrong(&format, "only row by row, 0, is read"));
    }
    Ok(Packed {
        name: weight.clone(),
        scheme: "bitsandbytes int8, a scale a row".into(),
        shape: [shape[0], shape[1]],
        rows_are_outputs: true,
        counted: vec![weight.clone(), scb.clone()],
        beside: stored.present([format]),
        weight: Box::new(Int8 { weight, scb, grid: Grid::groups(shape, None) }),
    })
}

#[derive(Debug)]
struct Int8 {
    weight: String,
    scb: String,
    grid: Grid,
}

impl Dequantise for Int8 {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        // 1 / 127 as the library writes it; the order of the two products is its own, too.
        const STEP: f32 = 7.874_016e-3;
        let (codes, scales) = (stored.bytes(&self.weight)?, stored.floats(&self.scb)?);
        Ok(self.grid.fill(|row, at, out| {
            let codes = &codes[row * out.len()..];
            out.iter_mut().zip(codes).for_each(|(out, code)| *out = f32::from(*code as i8) * scales[at] * STEP);
        }))
    }
}

/// What the quant state says.
struct State {
    shape: [usize; 2],
    block: usize,
    nested: Option<Nested>,
}

#[derive(Clone, Copy, Debug)]
struct Nested {
    block: usize,
    offset: f32,
}

fn state(stored: &Stored, weight: &str) -> Result<(String, &'static str, State)> {
    let names = ["nf4", "fp4"].map(|kind| (format!("{weight}{STATE}{kind}"), kind));
    let Some((name, kind)) = names.into_iter().find(|(name, _)| stored.has(name)) else {
        return Err(
            stored.wrong(weight, format!("expected a tensor {weight}{STATE}nf4 or ...fp4 beside it, found none"))
        );
    };
    stored.expect_kind(&name, &[Kind::U8])?;
    if stored.shape(&name)?.iter().product::<usize>() > LONGEST {
        return Err(stored.wrong(&name, "it is too long for a quant state"));
    }
    let json: Value = serde_json::from_slice(&stored.bytes(&name)?)
        .map_err(|e| stored.wrong(&name, format!("expected the JSON of a quant state: {e}")))?;
    known::look(Keys { value: &json, path: &stored.weights.path }, &format!("{name}: "), &[STATE_KEYS], &[""])?;
    let size = |key: &str| {
        let n = json.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        n.ok_or_else(|| stored.wrong(&name, format!("its {key:?}: expected a size above 0")))
    };
    if let Some(other) = json.get("quant_type").and_then(Value::as_str).filter(|other| *other != kind) {
        let other = shorten(other, 40);
        return Err(stored.wrong(&name, format!("its \"quant_type\": expected {kind}, found {other}")));
    }
    let sizes = json.get("shape").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let sizes: Vec<_> = sizes.iter().filter_map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect();
    let [rows, cols] = sizes[..] else {
        return Err(stored.wrong(&name, "its \"shape\": expected that of a matrix"));
    };
    let nested = if json.get("nested_blocksize").is_some_and(|n| !n.is_null()) {
        let offset = json.get("nested_offset").and_then(Value::as_f64).filter(|offset| offset.is_finite());
        let offset = offset.ok_or_else(|| stored.wrong(&name, "its \"nested_offset\": expected a number"))? as f32;
        Some(Nested { block: size("nested_blocksize")?, offset })
    } else {
        None
    };
    let block = size("blocksize")?;
    Ok((name, kind, State { shape: [rows, cols], block, nested }))
}

fn four_bits(stored: &Stored, weight: &str) -> Result<(Packed, &'static str)> {
    let part = |part: &str| format!("{weight}.{part}");
    let (state_name, kind, State { shape, block, nested }) = state(stored, weight)?;
    stored.expect_kind(weight, &[Kind::U8])?;
    let bytes: usize = stored.shape(weight)?.iter().product();
    let numbers = shape[0].checked_mul(shape[1]).filter(|n| *n > 0 && n.div_ceil(2) == bytes);
    let Some(numbers) = numbers else {
        return Err(
            stored.wrong(weight, format!("its quant state says shape {shape:?}, found {bytes} bytes of two numbers"))
        );
    };
    let blocks = numbers.div_ceil(block);
    stored.expect(&part("quant_map"), &[Kind::F32], &[16])?;
    stored.expect(&part("absmax"), &[if nested.is_some() { Kind::U8 } else { Kind::F32 }], &[blocks])?;
    let (mut counted, mut beside) = (vec![weight.to_owned(), part("absmax")], vec![part("quant_map"), state_name]);
    if let Some(Nested { block, .. }) = nested {
        stored.expect(&part("nested_absmax"), &[Kind::F32], &[blocks.div_ceil(block)])?;
        stored.expect(&part("nested_quant_map"), &[Kind::F32], &[256])?;
        counted.push(part("nested_absmax"));
        beside.push(part("nested_quant_map"));
    }
    let double = if nested.is_some() { ", double quantised" } else { "" };
    let packed = Packed {
        name: weight.to_owned(),
        scheme: format!("bitsandbytes {kind}, blocks of {block}{double}"),
        shape: [shape[0], shape[1]],
        rows_are_outputs: true,
        counted,
        beside,
        weight: Box::new(FourBits { weight: weight.to_owned(), numbers, block, nested }),
    };
    Ok((packed, kind))
}

#[derive(Debug)]
struct FourBits {
    weight: String,
    numbers: usize,
    block: usize,
    nested: Option<Nested>,
}

impl Dequantise for FourBits {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let part = |part: &str| format!("{}.{part}", self.weight);
        let (codes, table) = (stored.bytes(&self.weight)?, stored.floats(&part("quant_map"))?);
        let largest = match self.nested {
            None => stored.floats(&part("absmax"))?,
            Some(Nested { block, offset }) => {
                let (table, largest) =
                    (stored.floats(&part("nested_quant_map"))?, stored.floats(&part("nested_absmax"))?);
                let codes = stored.bytes(&part("absmax"))?;
                let value = |(at, code): (usize, &u8)| table[usize::from(*code)] * largest[at / block] + offset;
                codes.iter().enumerate().map(value).collect()
            }
        };
        // Blocks run over the borders of rows: one row of all numbers.
        let grid = Grid::groups([self.numbers.div_ceil(self.block), self.block.min(self.numbers)], None);
        let mut values = grid.fill(|block, _, out| {
            let start = block * self.block;
            for (at, out) in (start..self.numbers).zip(out) {
                let byte = codes[at / 2];
                let code = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
                *out = table[usize::from(code)] * largest[block];
            }
        });
        values.truncate(self.numbers);
        Ok(values)
    }
}
