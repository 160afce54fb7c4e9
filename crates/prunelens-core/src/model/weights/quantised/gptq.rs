//! GPTQ, as AutoGPTQ and GPTQModel write it: codes packed along the inputs, zero points along the outputs, and `g_idx`, the group
//! of each input.

use serde_json::{Value, json};

use super::{
    Dequantise, Found, Packed, Scheme, Stored,
    codes::{code, mask, words},
    grid::Grid,
    keys::{self, Harmless, Only, Read, SEARCH, Table},
    modules::Pattern,
    source::{Source, bits, group_size},
    stored::{FLOATS, WORDS},
};
use crate::{error::Result, model::config::Keys};

pub(super) const SCHEME: Scheme =
    Scheme { name: "GPTQ", methods: &["gptq"], signs: &[".qweight", ".qzeros", ".g_idx"], check, open };

const KEYS: Table = &[
    ("bits", Read),
    ("w_bit", Read),
    ("group_size", Read),
    ("q_group_size", Read),
    ("sym", Read),
    ("desc_act", Read),
    ("static_groups", Read),
    ("dynamic", Read),
    ("format", Only(FORMATS)),
    ("checkpoint_format", Only(FORMATS)),
    ("is_marlin_format", Only(&["false"])),
    ("pack_dtype", Only(&[r#""int32""#])),
    ("extra_config", Only(&["{}"])),
    // Matrices and rotations beside the codes.
    ("adapter", Only(&[])),
    ("rotation", Only(&[])),
    // auto-round's words for what the layout says.
    ("data_type", Only(&[r#""int""#])),
    ("scale_dtype", Harmless),
];
/// `gemm` is what some say of the first version's layout; AWQ's of this name has other shapes.
const FORMATS: &[&str] = &[r#""gptq""#, r#""gptq_v2""#, r#""gemm""#];

fn check(config: Keys, place: &str) -> Result<Vec<String>> {
    keys::check(config, place, &[KEYS, SEARCH])
}

/// Widths that fill words, or three of them.
const BITS: &[u64] = &[2, 3, 4, 8];

fn open(source: &Source) -> Result<Found> {
    let keys = source.config;
    let version_2 = ["checkpoint_format", "format"].iter().any(|key| keys.get(key) == Some(&json!("gptq_v2")));
    let (default_bits, default_group) = (source.bits(BITS)?, group_size(keys)?);
    let symmetric = keys.bool_or("sym", true)?;
    let own = overrides(keys)?;
    let mut found = Found::default();
    for name in source.stored.names() {
        let Some(module) = name.strip_suffix(".qweight") else { continue };
        let mut first = None;
        for (pattern, own) in &own {
            if pattern.matches(module)? {
                first = Some(Keys { value: own, ..keys });
                break;
            }
        }
        let own = first;
        let own_bits = own.filter(|own| own.get("bits").is_some()).map(|own| bits(own, BITS)).transpose()?;
        let own_group = own.filter(|own| own.get("group_size").is_some()).map(group_size).transpose()?;
        let matrix = Matrix {
            module: module.to_owned(),
            bits: own_bits.unwrap_or(default_bits),
            version_2,
            symmetric: own.map_or(Ok(symmetric), |own| own.bool_or("sym", symmetric))?,
            ordered: keys.bool_or("desc_act", false)? && !keys.bool_or("static_groups", false)?,
        };
        found.packed.push(matrix.check(&source.stored, own_group.unwrap_or(default_group))?);
    }
    if !symmetric && !version_2 {
        found.notes.push(
            "GPTQ with zero points stored minus one: where AutoGPTQ stored a zero point of 0, it damaged those beside it".into(),
        );
    }
    Ok(found)
}

/// Settings of single modules: a pattern each, and what differs. The first that matches is taken.
fn overrides(keys: Keys) -> Result<Vec<(Pattern, Value)>> {
    let Some(all) = keys.get("dynamic") else { return Ok(Vec::new()) };
    let all = all.as_object().ok_or_else(|| keys.refuse("dynamic", "expected an object of patterns"))?;
    let pattern = |(text, own): (&String, &Value)| {
        let text = text.strip_prefix("+:").or_else(|| text.strip_prefix("-:")).unwrap_or(text);
        Ok((Pattern::regex(keys, "dynamic", text)?, own.clone()))
    };
    all.iter().map(pattern).collect()
}

#[derive(Debug)]
struct Matrix {
    module: String,
    bits: u32,
    /// Zero points are stored as they are, not minus one.
    version_2: bool,
    /// The zero point is the middle of the codes.
    symmetric: bool,
    /// Groups are scattered over the inputs.
    ordered: bool,
}

impl Matrix {
    fn part(&self, part: &str) -> String {
        format!("{}.{part}", self.module)
    }

    fn check(self, stored: &Stored, group: Option<usize>) -> Result<Packed> {
        let [qweight, qzeros, scales, g_idx] = ["qweight", "qzeros", "scales", "g_idx"].map(|part| self.part(part));
        let [rows, outputs] = stored.matrix(&qweight)?;
        stored.expect_kind(&qweight, WORDS)?;
        let listed = if stored.has(&g_idx) { Some(stored.shape(&g_idx)?) } else { None };
        let inputs = rows * 32 / self.bits as usize;
        if words(inputs, self.bits) != Some(rows) {
            return Err(
                stored.wrong(&qweight, format!("{rows} rows of words hold no whole number of {}-bit codes", self.bits))
            );
        }
        match listed {
            Some([n]) if *n != inputs => {
                let what = format!("expected {inputs} inputs as {qweight} has at {} bits, found {n}", self.bits);
                return Err(stored.wrong(&g_idx, what));
            }
            Some([_]) => {}
            Some(other) => {
                return Err(stored.wrong(&g_idx, format!("expected one number an input, found shape {other:?}")));
            }
            None if self.ordered => return Err(stored.wrong(&g_idx, "it is missing, and the config says desc_act")),
            None => {}
        }
        let grid = Grid::groups([outputs, inputs], group);
        let [_, groups] = grid.table();
        let packed_zeros = words(outputs, self.bits);
        let packed_zeros = packed_zeros.ok_or_else(|| {
            stored.wrong(&qzeros, format!("{outputs} zero points of {} bits do not fill its words", self.bits))
        })?;
        stored.expect(&scales, FLOATS, &[groups, outputs])?;
        stored.expect(&qzeros, WORDS, &[groups, packed_zeros])?;
        Ok(Packed {
            name: self.part("weight"),
            scheme: format!("GPTQ {} bits, {}", self.bits, super::group_words(group)),
            shape: [inputs, outputs],
            rows_are_outputs: false,
            counted: vec![qweight, qzeros, scales],
            beside: stored.present([g_idx]),
            weight: Box::new(Gptq { matrix: self, inputs, outputs, grid }),
        })
    }
}

#[derive(Debug)]
struct Gptq {
    matrix: Matrix,
    inputs: usize,
    outputs: usize,
    /// Of `[outputs, inputs]`; its table lies the other way round in the file.
    grid: Grid,
}

impl Dequantise for Gptq {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let Self { matrix, inputs, outputs, grid } = self;
        let (bits, outputs) = (matrix.bits, *outputs);
        let words = stored.words(&matrix.part("qweight"))?;
        let scales = stored.scales(&matrix.part("scales"))?;
        let zeros = self.zeros(stored)?;
        let g_idx = matrix.part("g_idx");
        let groups = grid.listed(stored, &g_idx)?;
        // A row an input: words run down the columns, which are outputs.
        let rows = Grid::groups([*inputs, outputs], None);
        Ok(rows.fill(|input, _, out| {
            let group = groups[input] * outputs;
            let (zeros, scales) = (&zeros[group..][..outputs], &scales[group..][..outputs]);
            for (output, out) in out.iter_mut().enumerate() {
                let code = code(|word| words[word * outputs + output], input, bits);
                *out = (code as i32 - zeros[output]) as f32 * scales[output];
            }
        }))
    }
}

impl Gptq {
    /// A zero point for each group and output.
    fn zeros(&self, stored: &Stored) -> Result<Vec<i32>> {
        let (bits, name) = (self.matrix.bits, self.matrix.part("qzeros"));
        let mut words = stored.words(&name)?;
        let minus_one = !self.matrix.version_2;
        // One in every field of a word.
        let ones = (0..32 / bits).fold(0_u32, |ones, field| ones | 1 << (field * bits));
        if minus_one && bits != 3 {
            // Version 1 was made by subtracting from whole words, where a zero point of 0 borrows from the next field.
            words.iter_mut().for_each(|word| *word = word.wrapping_add(ones));
        }
        let per_row = words.len() / self.grid.table()[1].max(1);
        let all =
            words.chunks(per_row.max(1)).flat_map(|row| (0..self.outputs).map(move |at| code(|w| row[w], at, bits)));
        // Three bits were subtracted field by field.
        let add = u32::from(minus_one && bits == 3);
        let zeros: Vec<i32> = all.map(|zero| ((zero + add) & mask(bits)) as i32).collect();
        let middle = 1 << (bits - 1);
        // Some files say the one convention and hold the other.
        if self.matrix.symmetric && minus_one && zeros.iter().all(|zero| *zero == middle + 1) {
            let what = "the config says symmetric codes with zero points stored minus one, and it holds them as they are; \
                        checkpoint_format \"gptq_v2\" would say so";
            return Err(stored.wrong(&name, what));
        }
        if self.matrix.symmetric && !minus_one && zeros.iter().all(|zero| *zero == middle - 1) {
            let what = "the config says symmetric codes with zero points as they are (gptq_v2), and it holds them minus one; \
                        checkpoint_format \"gptq\" would say so";
            return Err(stored.wrong(&name, what));
        }
        Ok(zeros)
    }
}
