//! Figures for other programs.

use std::sync::Arc;

use prunelens::export::{
    Figures,
    pair::{PairFigures, PairRow},
};
use prunelens_core::{compare::Variant, sae::Criterion};

use crate::session::{PROMPT, Part, comparison, table};

fn figures(part: Part) -> Figures {
    Figures {
        model: "demo".into(),
        compression: "wanda 50%".into(),
        sae: "2k topk32".into(),
        comparison: Arc::new(comparison(PROMPT, 0.25, Criterion::Wanda, part)),
        tables: vec![Arc::new(table(1.0))],
        pair: None,
    }
}

#[test]
fn json_holds_every_variant_and_survival() {
    let json = figures(Part::All).json();
    for variant in ["original", "transfer", "pruned", "trained"] {
        let object = &json["variants"][variant];
        for name in
            ["l0", "mse", "explained_variance", "cossim", "ce_loss_with_sae", "ce_loss_without_sae", "kl_div_with_sae"]
        {
            assert!(object[name].is_f64(), "{variant} {name}");
        }
        assert_eq!(object["top"].as_array().unwrap().len(), json["tokens"]["ids"].as_array().unwrap().len());
    }
    assert_eq!(json["survival"].as_array().unwrap().len(), 20);
    assert_eq!(json["prompt"], PROMPT);
}

#[test]
fn what_is_not_known_yet_is_null_or_empty() {
    let early = figures(Part::Latents);
    assert!(early.json()["variants"]["pruned"]["l0"].is_null());
    assert!(early.csv().contains("\nl0,,,,\n"), "{}", early.csv());
    assert!(early.markdown().contains("| l0 | - | - | - | - |"), "{}", early.markdown());
}

#[test]
fn documents_have_names_of_their_own() {
    let documents = figures(Part::All).documents();
    let names: Vec<_> = documents.iter().map(|d| d.extension.as_str()).collect();
    assert_eq!(names, ["json", "csv", "md", "metrics-1.csv"]);
}

#[test]
fn two_prompts_are_written_beside_each_other() {
    let second = Arc::new(comparison("The navy", 0.25, Criterion::Wanda, Part::Latents));
    let row = PairRow {
        latent: 7,
        first: [Some(1.0), Some(0.5), Some(0.0), None],
        second: [Some(3.0), Some(0.0), Some(0.25), None],
    };
    let pair = PairFigures { second, tokens: Some((2, 2)), variants: Variant::ALL.to_vec(), rows: vec![row] };
    let figures = Figures { pair: Some(pair), ..figures(Part::All) };
    let names: Vec<_> = figures.documents().into_iter().map(|d| d.extension).collect();
    assert_eq!(names, ["json", "csv", "md", "pair.csv", "metrics-1.csv"]);
    let csv = figures.pair.as_ref().unwrap().csv();
    assert_eq!(csv.lines().nth(1), Some("7,1,3,2,0.5,0,-0.5,0,0.25,0.25,,,"));
    assert!(figures.markdown().contains("| #7 | 1.0000 | 3.0000 | 2.0000 | 0.5000 | 0.0000 | -0.5000 |"));
    let json = figures.json();
    assert_eq!(json["second_prompt"]["prompt"], "The navy");
    assert_eq!(json["second_prompt"]["latents"][0]["variants"]["pruned"]["difference"], 0.25);
}
