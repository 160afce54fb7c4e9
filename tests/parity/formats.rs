//! One SAE of each published format, read through the command line.

use std::{collections::HashSet, path::Path};

use candle_core::Device;
use serde_json::Value;

use crate::support::{Place, fixture, floats};

#[test]
fn inspect_gives_the_numbers_of_every_format() {
    let root = fixture("");
    // Python writes infinity bare, which is not JSON.
    let index = std::fs::read_to_string(root.join("index.json")).unwrap().replace(": Infinity", ": null");
    let index: Value = serde_json::from_str(&index).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let place = Place::new();
    let mut seen = HashSet::new();
    for case in index["saes"].as_array().unwrap() {
        let format = text(&case["format"]);
        if !seen.insert(format.clone()) {
            continue;
        }
        let model = index["models"].as_array().unwrap().iter().find(|m| m["arch"] == case["arch"]).unwrap();
        let out = place.path("out.safetensors");
        let space = text(&case["spaces"][0]);
        let mut command = place.command();
        command.args([
            "inspect",
            "--compress",
            "none",
            "--criterion",
            "magnitude",
            "--ratio",
            "0",
            // On a GPU, too: there the models would be in bf16.
            "--dtype",
            "f32",
            "--json",
            "--force",
        ]);
        command.arg("--model").arg(root.join(text(&model["dir"])));
        command.arg("--sae").arg(root.join(text(&case["files"][0])));
        command.args(["--tl-processing", if space == "tl" { "on" } else { "off" }]);
        command.arg("--save").arg(&out).args(["--prompt", &text(&model["prompts"][0])]);
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{format}: {}", String::from_utf8_lossy(&ran.stderr));
        let load = |path: &Path| candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let (found, expected) = (load(&out), load(&root.join(text(&case["expected"]))));
        for (ours, theirs) in [("variant.original.latents", "latents"), ("variant.original.recons", "recon")] {
            let (found, expected) = (floats(&found[ours]), floats(&expected[&format!("p0.{space}.{theirs}")]));
            assert_eq!(found.len(), expected.len(), "{format} {ours}");
            for (found, expected) in found.iter().zip(&expected) {
                let off = (found - expected).abs();
                assert!(off <= 5e-4 + 1e-3 * expected.abs(), "{format} {ours}: {found}, expected {expected}");
            }
        }
    }
    assert!(seen.len() >= 20, "{seen:?}");
}
