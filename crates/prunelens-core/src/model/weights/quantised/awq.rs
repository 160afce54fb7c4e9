//! AWQ as AutoAWQ writes it: 4 bits, zero points as they are. GEMM packs along the outputs in a shuffled order, GEMV along the
//! inputs in the plain one.

use serde_json::json;

use super::{
    Dequantise, Found, Packed, Scheme, Stored,
    codes::code,
    grid::Grid,
    keys::{self, Harmless, Only, Read, SEARCH, Table},
    source::{Source, group_size},
    stored::{FLOATS, WORDS},
};
use crate::{error::Result, model::config::Keys};

pub(super) const SCHEME: Scheme =
    Scheme { name: "AWQ", methods: &["awq"], signs: &[".qweight", ".qzeros"], check, open };

const KEYS: Table = &[
    ("bits", Read),
    ("w_bit", Read),
    ("group_size", Read),
    ("q_group_size", Read),
    ("version", Read),
    ("format", Read),
    ("checkpoint_format", Read),
    ("zero_point", Only(&["true"])),
    ("extra_config", Only(&["{}"])),
    ("desc_act", Only(&["false"])),
    // Symmetric codes have zero points all the same, in the middle.
    ("sym", Harmless),
    ("data_type", Only(&[r#""int""#])),
    ("scale_dtype", Harmless),
    ("do_fuse", Harmless),
    ("fuse_max_seq_len", Harmless),
];

fn check(config: Keys, place: &str) -> Result<Vec<String>> {
    keys::check(config, place, &[KEYS, SEARCH])
}

const BITS: u32 = 4;
/// Codes of a word.
const FIELDS: usize = 8;
/// Which field of a word holds each of its eight outputs.
const FIELD: [usize; FIELDS] = [0, 4, 1, 5, 2, 6, 3, 7];

fn open(source: &Source) -> Result<Found> {
    let keys = source.config;
    source.bits(&[u64::from(BITS)])?;
    // exllama and ipex are programs that run the first layout.
    let layouts = ["gemm", "exllama", "ipex", "gemv"].map(|layout| json!(layout));
    // The first of these that is there says it, as in transformers.
    let mut said = Vec::new();
    for key in ["version", "format", "checkpoint_format"] {
        let lower = keys.get(key).map(|value| json!(value.as_str().unwrap_or_default().to_lowercase()));
        if let Some(layout) = lower.as_ref().filter(|layout| !layouts.contains(layout)) {
            return Err(keys.refuse(key, &format!("the layout {layout} is not read; expected gemm or gemv")));
        }
        said.extend(lower);
    }
    let along_inputs = said.first().is_some_and(|layout| layout == "gemv");
    let group = group_size(keys)?;
    let mut found = Found::default();
    for name in source.stored.names() {
        let Some(module) = name.strip_suffix(".qweight") else { continue };
        let check = if along_inputs { gemv } else { gemm };
        found.packed.push(check(&source.stored, module, group)?);
    }
    found.notes.push(
        "AWQ folds its scales into norms and the matrices before: the residual stream is the original's, normalised inputs and \
         hidden units of the MLP are rescaled"
            .into(),
    );
    Ok(found)
}

fn parts(module: &str) -> [String; 3] {
    ["qweight", "qzeros", "scales"].map(|part| format!("{module}.{part}"))
}

fn packed(module: &str, group: Option<usize>, rows_are_outputs: bool, weight: Matrix) -> Packed {
    let [rows, cols] = if rows_are_outputs { [weight.outputs, weight.inputs] } else { [weight.inputs, weight.outputs] };
    Packed {
        name: format!("{module}.weight"),
        scheme: format!("AWQ {BITS} bits, {}", super::group_words(group)),
        shape: [rows, cols],
        rows_are_outputs,
        counted: parts(module).to_vec(),
        beside: Vec::new(),
        weight: if rows_are_outputs { Box::new(Gemv(weight)) } else { Box::new(Gemm(weight)) },
    }
}

fn gemm(stored: &Stored, module: &str, group: Option<usize>) -> Result<Packed> {
    let [qweight, qzeros, scales] = parts(module);
    let [inputs, words] = stored.matrix(&qweight)?;
    stored.expect_kind(&qweight, WORDS)?;
    let outputs = words.saturating_mul(FIELDS);
    let grid = Grid::groups([outputs, inputs], group);
    let [_, groups] = grid.table();
    if stored.shape(&scales)? != [groups, outputs] {
        let found = stored.shape(&scales)?;
        let what = format!(
            "expected scales of shape [{groups}, {outputs}] beside {qweight} of [{inputs}, {words}] as AWQ packs it, found {found:?}"
        );
        return Err(stored.wrong(&scales, what));
    }
    stored.expect_kind(&scales, FLOATS)?;
    stored.expect(&qzeros, WORDS, &[groups, words])?;
    Ok(packed(module, group, false, Matrix { module: module.into(), inputs, outputs, grid }))
}

fn gemv(stored: &Stored, module: &str, group: Option<usize>) -> Result<Packed> {
    let [qweight, qzeros, scales] = parts(module);
    let [outputs, words] = stored.matrix(&qweight)?;
    stored.expect_kind(&qweight, WORDS)?;
    let inputs = words.saturating_mul(FIELDS);
    let grid = Grid::groups([outputs, inputs], group);
    // The kernel reads zero points by so many words at a time.
    let step = match group {
        Some(32) => 4,
        Some(64) => 2,
        _ => 1,
    };
    let words = grid.table()[1].div_ceil(FIELDS).next_multiple_of(step);
    stored.expect(&scales, FLOATS, &[outputs, words * FIELDS])?;
    stored.expect(&qzeros, WORDS, &[outputs, words])?;
    Ok(packed(module, group, true, Matrix { module: module.into(), inputs, outputs, grid }))
}

#[derive(Debug)]
struct Matrix {
    module: String,
    inputs: usize,
    outputs: usize,
    grid: Grid,
}

#[derive(Debug)]
struct Gemm(Matrix);

impl Dequantise for Gemm {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let Matrix { module, inputs, outputs, grid } = &self.0;
        let [qweight, qzeros, scales] = parts(module);
        let (words, zeros, scales) = (stored.words(&qweight)?, stored.words(&qzeros)?, stored.scales(&scales)?);
        let (outputs, per_row) = (*outputs, outputs / FIELDS);
        let groups = grid.columns();
        let at = |words: &[u32], row: usize, col: usize| {
            let place = col / FIELDS * FIELDS + FIELD[col % FIELDS];
            code(|word| words[row * per_row + word], place, BITS) as i32
        };
        Ok(Grid::groups([*inputs, outputs], None).fill(|input, _, out| {
            let group = groups[input];
            for (output, out) in out.iter_mut().enumerate() {
                let difference = at(&words, input, output) - at(&zeros, group, output);
                *out = difference as f32 * scales[group * outputs + output];
            }
        }))
    }
}

#[derive(Debug)]
struct Gemv(Matrix);

impl Dequantise for Gemv {
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let Matrix { module, inputs, outputs, grid } = &self.0;
        let [qweight, qzeros, scales] = parts(module);
        let (words, zeros, table) = (stored.words(&qweight)?, stored.words(&qzeros)?, stored.floats(&scales)?);
        let (per_row, zeros_per_row) = (inputs / FIELDS, zeros.len() / outputs);
        let groups = grid.columns();
        // Scales beyond the groups are padding, and 0.
        let own = table.chunks(zeros_per_row * FIELDS).map(|row| &row[..grid.table()[1]]);
        if own.flatten().any(|scale| *scale == 0.0) {
            return Err(stored.wrong(&scales, "a scale is 0"));
        }
        Ok(grid.fill(|output, _, out| {
            let at = |words: &[u32], per_row: usize, col: usize| {
                code(|word| words[output * per_row + word], col, BITS) as i32
            };
            for (input, out) in out.iter_mut().enumerate() {
                let group = groups[input];
                let difference = at(&words, per_row, input) - at(&zeros, zeros_per_row, group);
                *out = difference as f32 * table[output * zeros_per_row * FIELDS + group];
            }
        }))
    }
}
