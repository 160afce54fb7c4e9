//! The atlas of every latent against columns that the Python stack gave, by brute force in float64.
//!
//! Walks `index.json` of the folder in `PRUNELENS_ATLAS_FIXTURES` (default `tests/fixtures/atlas`) with the flags that stand
//! there, through the program itself.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use prunelens_core::data::read_records;
use prunelens_metrics::atlas::{Atlas, Block};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{Place, fixtures, read_json};

type Columns = BTreeMap<String, Vec<f64>>;

fn columns(path: &Path) -> Columns {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |view: safetensors::tensor::TensorView| {
        assert_eq!(view.dtype(), safetensors::Dtype::F64);
        view.data().as_chunks::<8>().0.iter().map(|v| f64::from_le_bytes(*v)).collect()
    };
    tensors.tensors().into_iter().map(|(name, view)| (name, values(view))).collect()
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap())
}

/// Relative and absolute: those of the longest group that the name begins with.
fn tolerance(tolerances: &Value, name: &str) -> (f64, f64) {
    if words(&tolerances["exact"]).any(|exact| exact == name) {
        return (0.0, 0.0);
    }
    let groups = tolerances["groups"].as_object().unwrap();
    let group =
        groups.iter().filter(|(group, _)| name.starts_with(group.as_str())).max_by_key(|(group, _)| group.len());
    let found = group.map_or(&tolerances["default"], |(_, found)| found);
    (found["rtol"].as_f64().unwrap(), found["atol"].as_f64().unwrap())
}

#[test]
fn columns_are_those_of_the_python_stack() {
    let other_set = env::var_os("PRUNELENS_ATLAS_FIXTURES").map(PathBuf::from);
    // Heirs have an oracle of their own, which another set can be without.
    let with_heirs = other_set.as_ref().is_none_or(|folder| folder.join("heirs.json").exists());
    let folder = other_set.unwrap_or_else(|| fixtures().join("atlas"));
    let oracle = with_heirs.then(|| read_json(&folder.join("heirs.json")));
    let index = read_json(&folder.join("index.json"));
    let mut failed = Vec::new();
    let mut compared = 0;
    for case in index["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let place = Place::new();
        let out = place.path("out");
        let mut command = place.command();
        command.current_dir(&folder).args(["metrics", "atlas"]).args(words(&case["flags"])).args(words(&case["atlas"]));
        let ran = command.arg("--out").arg(&out).output().unwrap();
        assert!(ran.status.success(), "{id}: {}", String::from_utf8_lossy(&ran.stderr));

        let (found, expected) =
            (columns(&out.join("atlas.safetensors")), columns(&folder.join(case["expected"].as_str().unwrap())));
        let known = found.keys().filter(|name| !name.starts_with("heir"));
        assert!(known.eq(expected.keys()), "{id}: {:?}", found.keys());
        check_blocks(&out, &found);
        compared += check_heirs(&out, oracle.as_ref(), id, &mut failed);
        let other = place.path("other");
        let flags = words(&case["flags"]).scan("", |before, word| {
            let flag = std::mem::replace(before, word);
            Some(if flag == "--ratio" {
                "0.6"
            } else if flag == "--criterion" {
                "magnitude"
            } else {
                word
            })
        });
        let mut command = place.command();
        command.current_dir(&folder).args(["metrics", "atlas"]).args(flags).args(words(&case["atlas"]));
        let ran = command.arg("--out").arg(&other).output().unwrap();
        assert!(ran.status.success(), "{id}: {}", String::from_utf8_lossy(&ran.stderr));
        compared += check_heirs(&other, oracle.as_ref(), &format!("{id} magnitude 0.6"), &mut failed);
        for (name, expected) in &expected {
            let (relative, absolute) = tolerance(&index["tolerances"], name);
            assert_eq!(found[name].len(), expected.len(), "{id} {name}");
            for (latent, (found, expected)) in found[name].iter().zip(expected).enumerate() {
                compared += 1;
                let same = found.is_nan() && expected.is_nan();
                let near = (found - expected).abs() <= absolute + relative * expected.abs();
                if !same && !near {
                    failed.push(format!("{id} {name} {latent}: {found}, expected {expected}"));
                }
            }
        }

        let said = read_json(&out.join("atlas.json"));
        for name in ["rows", "positions", "masked", "predicted"] {
            assert_eq!(said[name], case["sums"][name], "{id} {name}");
        }
        let (loss, expected) = (said["ce_loss"].as_f64().unwrap(), case["sums"]["ce_loss"].as_f64().unwrap());
        assert!((loss - expected).abs() < 1e-5 * expected, "{id}: loss {loss}, expected {expected}");
        same_in_parquet(&out, &found);
    }
    let shown = failed.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(failed.is_empty(), "{} of {compared}:\n{shown}", failed.len());
    assert!(compared > 5000, "only {compared} numbers were compared");
}

/// Heirs, shares and fates as `heirs.py` beside the fixtures found them; how many were compared.
fn check_heirs(out: &Path, oracle: Option<&Value>, id: &str, failed: &mut Vec<String>) -> usize {
    let Some(oracle) = oracle else { return 0 };
    let found = columns(&out.join("atlas.safetensors"));
    let (expected, within) = (&oracle["cases"][id], oracle["tolerance"].as_f64().unwrap());
    let fates = read_records(&out.join("atlas.parquet"), &["fate"]).unwrap();
    let number = |column: &str, latent: usize| expected[column][latent].as_f64().unwrap_or(f64::NAN);
    for latent in 0..fates.len() {
        let (heir, share) = (found["heir"][latent], found["heir_share"][latent]);
        let same = heir == number("heir", latent) || (heir.is_nan() && number("heir", latent).is_nan());
        if !same && expected["clear"][latent].as_bool().unwrap() {
            failed.push(format!("{id} heir {latent}: {heir}, expected {}", number("heir", latent)));
        }
        let expected_share = number("heir_share", latent);
        if (share - expected_share).abs() > within || share.is_nan() != expected_share.is_nan() {
            failed.push(format!("{id} heir_share {latent}: {share}, expected {expected_share}"));
        }
        let fate = fates[latent].values[0].as_deref();
        if fate != expected["fate"][latent].as_str() {
            failed.push(format!("{id} fate {latent}: {fate:?}, expected {}", expected["fate"][latent]));
        }
    }
    assert_eq!(Some(fates.len()), expected["fate"].as_array().map(Vec::len), "{id}");
    3 * fates.len()
}

/// Sums of blocks of rows add up to the figures of all rows.
fn check_blocks(out: &Path, found: &Columns) {
    let atlas = Atlas::open(out).unwrap();
    let blocks = atlas.blocks().unwrap();
    assert_eq!(blocks.len(), 24, "of 64 rows");
    let sum = |of: &dyn Fn(&Block) -> f64| blocks.iter().map(of).sum::<f64>();
    let (positions, predicted) = (sum(&|block| block.positions), sum(&|block| block.predicted));
    assert_eq!((positions, predicted), (atlas.about.positions as f64, atlas.about.predicted as f64));
    let last = atlas.about.ratios.len() - 1;
    let at_last = format!("mass.pruned.{}", atlas.about.ratios[last]);
    (0..atlas.about.d_sae).for_each(|latent| {
        for (sum, expected) in [
            (sum(&|block| block.fired[latent]), found["density.original"][latent] * positions),
            (sum(&|block| block.original[latent]), found["mass.original"][latent]),
            (sum(&|block| block.transfer[latent]), found["mass.transfer"][latent]),
            (sum(&|block| block.grid[last][latent]), found[&at_last][latent]),
            (sum(&|block| block.attribution[latent]), -found["importance"][latent] * predicted),
        ] {
            assert!((sum - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{latent}: {sum}, {expected}");
        }
    });
}

/// Numbers to the bit, null for NaN; and a word for each latent.
fn same_in_parquet(out: &Path, columns: &Columns) {
    let mut names: Vec<&str> = columns.keys().map(String::as_str).collect();
    names.push("fate");
    let records = read_records(&out.join("atlas.parquet"), &names).unwrap();
    for (latent, record) in records.iter().enumerate() {
        for (value, name) in record.values.iter().zip(&names[..columns.len()]) {
            let read = value.as_ref().map_or(f64::NAN, |value| value.parse::<f64>().unwrap());
            let expected = columns[*name][latent];
            assert!(read == expected || (read.is_nan() && expected.is_nan()), "{name} {latent}: {read}, {expected}");
        }
        assert!(record.values.last().unwrap().as_ref().is_some_and(|fate| !fate.is_empty()));
    }
    assert!(columns.values().all(|values| values.len() == records.len()));
}
