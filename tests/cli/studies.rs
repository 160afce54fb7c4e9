//! `prunelens atlas report` and `prunelens study`: what they write, that nothing is measured twice, what they refuse.

use std::{fs, path::Path};

use crate::support::{Place, Ran, read_json};

/// An atlas of the demo, quick: nothing is calibrated.
fn atlas(place: &Place, name: &str, rows: &str, criterion: &str) {
    atlas_of(place, &[], name, rows, criterion);
}

/// The same of another SAE.
fn atlas_of(place: &Place, sae: &[&str], name: &str, rows: &str, criterion: &str) {
    let flags = ["--compress", "magnitude:0.5", "--ratios", "0,0.5,0.9", "--context", "24"];
    let own = ["--rows", rows, "--criterion", criterion, "--out", name];
    place.run(["metrics", "atlas"].iter().chain(sae).chain(&flags).chain(&own)).done();
}

fn report(place: &Place, atlases: &[&str]) -> Ran {
    let flags = ["--firings", "3", "--resamples", "100", "--out", "report"];
    place.run(["atlas", "report"].into_iter().chain(atlases.iter().copied()).chain(flags))
}

fn is_svg(path: &Path) {
    let svg = fs::read_to_string(path).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{}", path.display());
}

#[test]
fn a_report_lays_criteria_against_random_and_refuses_what_cannot_be_compared() {
    let place = Place::new();
    atlas(&place, "magnitude", "16", "magnitude");
    atlas(&place, "random", "16", "random");
    let ran = report(&place, &["magnitude", "random/atlas.json"]).done().printable();
    let files = ["report.md", "survivors.svg", "goes-with.svg", "loss-magnitude.svg", "loss-random.svg", "report.json"];
    for file in files {
        assert!(ran.out.contains(file), "{file}: {ran:?}");
    }
    files.iter().filter(|file| file.ends_with("svg")).for_each(|file| is_svg(&place.path("report").join(file)));
    let page = fs::read_to_string(place.path("report/report.md")).unwrap();
    for words in ["## Pruned by magnitude", "less that of `random`", "drawn as 16 blocks", "The model's pruning alone"]
    {
        assert!(page.contains(words), "{words}:\n{page}");
    }
    // Pictures that the page shows are there.
    for part in page.split("](").skip(1) {
        assert!(place.path("report").join(part.split(')').next().unwrap()).is_file(), "{part}");
    }
    let json = read_json(&place.path("report/report.json"));
    assert_eq!((json["blocks"].as_u64(), json["findings"].as_array().unwrap().len()), (Some(16), 2));
    let survivors = json["findings"][0]["survivors"].as_array().unwrap();
    assert!(survivors[0].as_f64() > survivors[2].as_f64(), "{survivors:?}");
    let again = fs::read(place.path("report/report.json")).unwrap();
    report(&place, &["magnitude", "random"]).done();
    assert!(fs::read(place.path("report/report.json")).unwrap() == again, "the same draws");

    atlas(&place, "fewer", "12", "wanda");
    report(&place, &["magnitude", "fewer"]).refused(1, &["fewer/atlas.json", "magnitude/atlas.json", "other rows"]);
    report(&place, &["magnitude", "magnitude"]).refused(1, &["magnitude/atlas.json", "give each once"]);
    report(&place, &["magnitude", "none"]).refused(1, &["none"]);
    report(&place, &[]).refused(2, &["ATLAS"]);
    place
        .run(["atlas", "report", "magnitude", "--firings", "1000000", "--out", "report"])
        .refused(1, &["magnitude/atlas.json", "--firings"]);
    place.run(["atlas", "report", "magnitude", "--dense", "2", "--out", "r"]).refused(2, &["--dense", "0 to 1"]);
    let spoilt = place.path("random/atlas.blocks.safetensors");
    let mut bytes = fs::read(&spoilt).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&spoilt, bytes).unwrap();
    report(&place, &["magnitude", "random"]).refused(1, &["atlas.blocks.safetensors", "run the atlas again"]);
}

fn text(place: &Place) {
    let sentence = |n: usize| format!("The {n}. ship left the harbour with {} men and a cargo of wool. ", n * 7 % 13);
    place.write("text.txt", (0..400).map(sentence).collect::<String>());
}

#[test]
fn seeds_of_an_sae_are_put_together() {
    let place = Place::new();
    text(&place);
    let flags = ["--compress", "none", "--text", "text.txt", "--hook", "blocks.1.hook_resid_post", "--tokens", "3000"];
    let small = ["--batch", "64", "--buffer", "512", "--context", "32", "--d-sae", "96", "--k", "8"];
    let seeds = ["--vary", "seed=0,1", "--out", "saes"];
    place.run(["train"].iter().chain(&flags).chain(&small).chain(&seeds)).done();
    for seed in ["0", "1"] {
        let sae = ["--sae".to_owned(), format!("saes/seed{seed}")];
        let sae = [sae[0].as_str(), sae[1].as_str()];
        for criterion in ["magnitude", "random"] {
            atlas_of(&place, &sae, &format!("{criterion}{seed}"), "16", criterion);
        }
    }
    let survivors = |atlases: &[&str]| {
        report(&place, atlases).done();
        let json = read_json(&place.path("report/report.json"));
        let survivors: Vec<f64> =
            json["findings"][0]["survivors"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).collect();
        (survivors, json)
    };
    let (both, json) = survivors(&["magnitude0", "magnitude1", "random1", "random0"]);
    assert_eq!(json["saes"].as_array().unwrap().len(), 2, "{json}");
    let page = fs::read_to_string(place.path("report/report.md")).unwrap();
    assert!(page.contains("seed0") && page.contains("seed1"), "{page}");
    // Each figure is the mean over SAEs, with an interval from one to the other.
    let ((first, _), (second, _)) = (survivors(&["magnitude0"]), survivors(&["magnitude1"]));
    for (at, share) in both.iter().enumerate() {
        assert!((share - (first[at] + second[at]) / 2.0).abs() < 1e-12, "{both:?}, {first:?}, {second:?}");
    }
    let figures = json["findings"][0]["figures"].as_array().unwrap();
    assert!(!figures.is_empty() && figures.iter().all(|figure| figure[1]["saes"]["high"].is_number()), "{json}");
    // A criterion that one SAE lacks compares different SAEs.
    report(&place, &["magnitude0", "magnitude1", "random0"]).refused(2, &["random", "1 SAEs", "one of each SAE"]);
}

fn redundancy(place: &Place, more: &[&str]) -> Ran {
    let flags = [
        "study",
        "redundancy",
        "--text",
        "text.txt",
        "--hook",
        "blocks.1.hook_resid_post",
        "--out",
        "study",
        "--tokens",
        "1500",
        "--batch",
        "64",
        "--buffer",
        "512",
        "--context",
        "32",
        "--compress",
        "magnitude:0.5",
        "--ratios",
        "0.5,0.9",
        "--d-sae",
        "96",
    ];
    let rows = if more.contains(&"--rows") { &[][..] } else { &["--rows", "8"] };
    place.run(flags.iter().chain(rows).chain(more))
}

#[test]
fn redundancy_is_measured_once_a_cell_and_goes_on() {
    let place = Place::new();
    text(&place);
    redundancy(&place, &[]).refused(2, &["--vary k=8,32"]);
    redundancy(&place, &["--vary", "k=2,8", "--rows", "0"]).refused(2, &["--rows"]);
    redundancy(&place, &["--vary", "k=2,8", "--hook", "blocks.0.hook_resid_post"]).refused(2, &["one --hook"]);
    let plan = redundancy(&place, &["--vary", "k=2,8", "--plan"]).done();
    assert!(plan.out.contains("4 SAEs on one reading") && plan.out.contains("measured at 4 points"), "{plan:?}");
    assert!(!place.path("study/cells").exists());

    let ran = redundancy(&place, &["--vary", "k=2,8"]).done().printable();
    assert!(ran.out.contains("k2") && ran.out.contains("redundancy.md"), "{ran:?}");
    let json = read_json(&place.path("study/redundancy.json"));
    let settings = json["settings"].as_array().unwrap();
    assert_eq!(settings.len(), 2);
    for setting in settings {
        assert_eq!(setting["saes"].as_array().unwrap().len(), 2, "two seeds");
        assert_eq!(setting["costs"][0][1]["mean"], 0.0, "the SAE as it is costs nothing");
        let rank = setting["effective_rank"]["mean"].as_f64().unwrap();
        assert!((1.0..=96.0).contains(&rank), "{rank}");
        assert!((0.0..=1.0).contains(&setting["likeness"]["mean_cosine"].as_f64().unwrap()));
    }
    let page = fs::read_to_string(place.path("study/redundancy.md")).unwrap();
    assert!(page.contains("Two seeds of one setting") && page.contains("seeds"), "{page}");
    is_svg(&place.path("study/cost.svg"));
    is_svg(&place.path("study/against-redundancy.svg"));

    // Again: nothing is trained or measured; a cell that is spoilt is.
    let cell = place.path("study/cells/k2-seed0.json");
    let (before, kept) = (fs::read(&cell).unwrap(), place.path("study/cells/k8-seed1.json"));
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let untouched = (time(&kept), time(&place.path("study/saes/k2-seed0/sae_weights.safetensors")));
    fs::write(&cell, "spoilt").unwrap();
    let again = redundancy(&place, &["--vary", "k=2,8"]);
    assert!(again.code == Some(0) && again.err.contains("measured again"), "{again:?}");
    assert!(fs::read(&cell).unwrap() == before, "the same figures");
    assert_eq!((time(&kept), time(&place.path("study/saes/k2-seed0/sae_weights.safetensors"))), untouched);
}

#[test]
fn rules_are_laid_against_the_first() {
    let place = Place::new();
    let rules = |rules: &str, more: &[&str]| {
        let flags =
            ["study", "rules", "--rules", rules, "--rows", "9", "--context", "48", "--ratio", "0.5", "--out", "r"];
        place.run(flags.iter().chain(more))
    };
    rules("magnitude:0.5,magnitude:0.5", &[]).refused(2, &["--rules", "twice"]);
    rules("magnitude:0.5", &["--compress", "wanda:0.5"]).refused(2, &["--rules"]);
    rules("none", &[]).refused(2, &["none"]);
    rules("half", &[]).refused(2, &["half"]);
    let plan = rules("magnitude:0.5,wanda:0.5", &["--plan"]).done().printable();
    assert!(plan.out.contains("to do   wanda:0.5") && plan.out.contains("432 tokens"), "{plan:?}");
    assert!(!place.path("r").exists(), "a plan writes nothing");
    let ran = rules("magnitude:0.5,wanda:0.5,magnitude:0.9", &["--criterion", "magnitude"]).done().printable();
    assert!(ran.out.contains("wanda:0.5") && ran.out.contains("rules.md"), "{ran:?}");
    let json = read_json(&place.path("r/rules.json"));
    let figure = |rule: usize, part: &str, name: &str| json["rules"][rule][part][name].clone();
    let half = |rule: usize| figure(rule, "survival", "half")["value"].as_f64().unwrap();
    assert!((figure(1, "figures", "zeros").as_f64().unwrap() - 0.5).abs() < 0.01);
    assert!(half(1) > half(2), "a model of a tenth of its weights keeps fewer latents");
    assert!(figure(0, "survival", "half")["against_first"].is_null());
    assert!(figure(1, "survival", "half")["against_first"][1]["low"].is_number());
    let page = fs::read_to_string(place.path("r/rules.md")).unwrap();
    assert!(page.contains("not of equal sparsity") && page.contains("`magnitude:0.9`"), "{page}");
    is_svg(&place.path("r/rules.svg"));
    let time = |name: &str| fs::metadata(place.path(name)).unwrap().modified().unwrap();
    let (cell, table) = ("r/cells/wanda_0.5/figures.json", "r/cells/wanda_0.5/atlas.parquet");
    let before = (time(cell), time(table));
    rules("magnitude:0.5,wanda:0.5", &["--criterion", "magnitude"]).done();
    assert_eq!((time(cell), time(table)), before, "not measured twice");
    let plan = rules("magnitude:0.5,wanda:0.25", &["--plan", "--json"]).done().json();
    let there: Vec<_> = plan["rules"].as_array().unwrap().iter().map(|rule| rule["there"].as_bool()).collect();
    assert_eq!(there, [Some(true), Some(false)]);
    assert!(plan["rules"][1]["passes"].as_f64() > Some(1.0), "{plan}");
}
