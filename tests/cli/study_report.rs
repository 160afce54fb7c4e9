//! `prunelens study report`, `study diff` and `check` on studies whose cells are made up.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prunelens::study::{CELL, Figures, Group, Origin, Study, StudyFile, cells};
use prunelens_core::{compare::Variant, data::records::read_records};
use prunelens_metrics::{Better, JobSpec, MetricRow, MetricTable};

use crate::support::{Place, browser, read_json, shown_by};

const FILE: &str = r#"
[[sessions]]
name = "small <b>&"

[grid]
compress = ["wanda:0.5"]
ratios = [0.25, 0.5]

[metrics.core]
rows = 16

[metrics.sweep]
rows = 16

[[bounds]]
metric = "core"
figure = "ce_loss_score"
variant = "transfer"
least = 0.9

[[bounds]]
metric = "core"
figure = "kl_div_with_sae"
variant = "pruned"
ratio = 0.25
worse = 0.1
"#;

/// The study that a file's text is of, in a folder of its own.
fn study(place: &Place, name: &str, text: &str) -> Study {
    let file = StudyFile::parse(Origin { file: place.path("made.toml"), folder: place.path("."), text: text.into() });
    let study = Study::new(file.unwrap(), &place.path(name), &|_| None).unwrap();
    study.keep().unwrap();
    study
}

/// Its cells but for those that `skip` names, with this divergence of `transfer` and the pruned SAEs.
fn fill(study: &Study, kl: f64, skip: &str) {
    for (group, cell) in study.cells().filter(|(_, cell)| cell.name != skip) {
        let figures = figures(group, &cell.job, kl);
        cells::write(&cell.folder.join(CELL), &cell.of, &figures).unwrap();
    }
}

fn figures(group: &Group, job: &JobSpec, kl: f64) -> Figures {
    let pruned_alone = job.params.0.get("variants").is_some_and(|variants| variants.to_string() == "pruned");
    let variants = match pruned_alone {
        true => vec![Variant::Pruned],
        false => Variant::ALL.to_vec(),
    };
    let value = |name: &str, variant: Variant, ratio: f64| {
        let much = if variant == Variant::Pruned { ratio } else { 0.0 };
        match (name, variant) {
            ("kl_div_with_sae", Variant::Original | Variant::Trained) => 0.1,
            ("kl_div_with_sae", _) => kl + much,
            ("mse_per_element", Variant::Original | Variant::Trained) => 1.0,
            ("mse_per_element", _) => 1.1 + much * much,
            ("ce_loss_score", _) => 0.95 - much,
            _ => 3.0 + much * much,
        }
    };
    let row = |(name, category, ratio): (&str, &str, Option<f64>)| MetricRow {
        category: category.into(),
        name: ratio.map_or(name.to_owned(), |ratio| format!("{name} wanda {ratio}")),
        better: if name == "ce_loss_score" { Better::Higher } else { Better::Lower },
        values: variants.iter().map(|variant| Some(value(name, *variant, ratio.unwrap_or(self::ratio(job))))).collect(),
    };
    let names = ["ce_loss_with_sae", "kl_div_with_sae", "mse_per_element", "ce_loss_score"];
    let rows = match job.family.as_str() {
        "sweep" => {
            let points = [0.0, 0.25, 0.5, 0.75];
            names[..3]
                .iter()
                .flat_map(|name| points.map(|ratio| row((name, "blocks.1.hook_resid_post", Some(ratio)))))
                .collect()
        }
        _ => names.map(|name| row((name, "made", None))).into(),
    };
    let hook = ("hook".to_owned(), "blocks.1.hook_resid_post".to_owned());
    let settings = [("original on", "demo"), ("text", "<script>alert(1)</script>"), ("rows", "16")];
    let table = MetricTable {
        metric: job.family.clone(),
        settings: settings.map(|(name, value)| (name.into(), value.into())).into_iter().chain([hook]).collect(),
        variants,
        rows,
        warnings: vec!["odd \u{1b}[31m | \"very\"".into()],
        progress: 1.0,
        blocks: Vec::new(),
    };
    Figures { place: group.place.clone(), device: "cpu".into(), job: job.clone(), table, details: Vec::new() }
}

fn ratio(job: &JobSpec) -> f64 {
    job.params.get("ratio").unwrap().unwrap_or(0.0)
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

/// Every element that is opened is closed, in order; attributes are quoted.
fn is_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in html.split('<').skip(1) {
        let (tag, rest) = part.split_once('>').expect("a tag ends");
        assert!(!rest.contains('>') || tag.starts_with("style"), "{part}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        match tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap_or_default() {
            "!doctype" => {}
            name if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            _ if tag.ends_with('/') => {}
            name => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_report_says_what_to_do_and_what_is_missing() {
    let place = Place::new();
    fill(&study(&place, "study", FILE), 0.5, "core wanda 0.5");
    let ran = place.run(["study", "report", "study", "--out", "report"]).done().printable();
    assert!(ran.out.contains("no decision, figures are missing"), "{ran:?}");
    assert!(ran.out.contains("1 of 3 cells are not measured yet"), "{ran:?}");
    fill(&study(&place, "study", FILE), 0.5, "");
    let ran = place.run(["study", "report", "study", "--out", "report"]).done().printable();
    assert!(ran.out.contains("layer 1: keep the SAE as it is"), "{ran:?}");

    let page = read(place.path("report/report.md"));
    insta::assert_snapshot!("study-report", page.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    for part in page.split("](").skip(1) {
        assert!(place.path("report").join(part.split(')').next().unwrap()).is_file(), "{part}");
    }
    let html = read(place.path("report/report.html"));
    is_well_formed(&html);
    assert!(html.contains("default-src 'none'") && html.contains("<svg ") && html.contains("small &lt;b&gt;&amp;"));
    assert!(!html.contains("<script") && !html.contains('\u{1b}'));
    let outside: Vec<&str> = html
        .split("http")
        .skip(1)
        .filter(|rest| !rest.starts_with("://www.w3.org/2000/svg\"") && !rest.starts_with("-equiv"))
        .collect();
    assert!(outside.is_empty() && !html.contains("src=") && !html.contains("href=") && !html.contains("url("));

    let records =
        read_records(&place.path("report/figures.parquet"), &["figure", "variant", "ratio", "value"]).unwrap();
    let lines = read(place.path("report/figures.csv"));
    assert_eq!(records.len(), lines.lines().count() - 1);
    // Two cells of core with 4 figures, a sweep with 3 that the ratios of one variant repeat: 4 x 4 + 4 + 3 x (3 + 4).
    assert_eq!(records.len(), 41);
    let json = read_json(&place.path("report/figures.json"));
    assert_eq!(json["cells"].as_array().unwrap().len(), 3);
    assert_eq!(json["decisions"][0]["decision"], "keep");
    place.run(["study", "report", "nothing", "--out", "report"]).refused(1, &["study.json", "study run"]);
}

#[test]
fn a_browser_shows_the_page() {
    let Some(browser) = browser() else { return };
    let place = Place::new();
    fill(&study(&place, "study", FILE), 0.5, "");
    place.run(["study", "report", "study", "--out", "report"]).done();
    let path = place.path("report/report.html");
    let (dom, written) = (shown_by(&browser, &path), read(path));
    // What the browser read are the tables and charts, none lost to a stranger's name.
    for part in ["<tr>", "<svg ", "<polyline", "<h2>", "<figure>"] {
        assert_eq!(dom.matches(part).count(), written.matches(part).count(), "{part}");
    }
    assert!(dom.contains("<title>prunelens: Study made</title>") && !dom.contains("<script"), "{dom}");
}

#[test]
fn two_studies_are_compared_figure_by_figure() {
    let place = Place::new();
    fill(&study(&place, "first", FILE), 0.5, "");
    fill(&study(&place, "second", FILE), 0.75, "core wanda 0.5");
    let ran = place.run(["study", "diff", "first", "second"]).done().printable();
    for words in [
        "2 cells in both",
        "kl_div_with_sae transfer",
        "0.5000       0.7500",
        "worse",
        "only in the first",
        "core_wanda_0.5",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert!(!ran.out.contains("ce_loss_with_sae"), "{}", ran.out);
    let other = FILE.replace("rows = 16", "rows = 32");
    let study = study(&place, "third", &other);
    for (group, cell) in study.cells() {
        let mut figures = figures(group, &cell.job, 0.9);
        figures.table.settings[2].1 = "32".into();
        cells::write(&cell.folder.join(CELL), &cell.of, &figures).unwrap();
    }
    let json = place.run(["study", "diff", "first", "third", "--json"]).done().json();
    assert_eq!((json["paired"].as_u64(), json["changed"].as_array().unwrap().len()), (Some(3), 0));
    assert_eq!(json["incomparable"][0]["differs"][0], "rows: 16 | 32");
    place.run(["study", "diff", "first", "."]).refused(1, &["no cells of a study"]);
    place.run(["study", "diff", "first", "first", "--beyond", "2"]).refused(2, &["--beyond"]);
}

#[test]
fn a_check_fails_where_a_bound_is_broken() {
    let place = Place::new();
    fill(&study(&place, "was", FILE), 0.5, "");
    fill(&study(&place, "now", FILE), 0.55, "");
    let check = |study: &str, more: &[&str]| {
        place
            .run(["check", study, "--baseline", "was", "--junit", "out/j.xml", "--page", "out/p.md"].iter().chain(more))
    };
    let ran = check("now", &[]).done();
    assert_eq!(ran.out, "2 bounds held, 0 broken, 0 that cannot be told\n");
    is_xml(&place.path("out/j.xml"), "tests=\"2\" failures=\"0\" errors=\"0\"");
    assert!(read(place.path("out/p.md")).starts_with("# The study is within its bounds"));

    fill(&study(&place, "worse", FILE), 0.7, "");
    let ran = check("worse", &[]).printable();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("is worse than the baseline's 0.75 by 0.2"), "{ran:?}");
    assert!(ran.err.contains("1 of 2 bounds broken"), "{ran:?}");
    is_xml(&place.path("out/j.xml"), "tests=\"2\" failures=\"1\" errors=\"0\"");

    fill(&study(&place, "missing", FILE), 0.5, "core wanda 0.25");
    let ran = check("missing", &["--json"]).printable();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("core wanda 0.25: not measured yet"), "{ran:?}");

    // As a file, with its cells elsewhere.
    place.write("made.toml", FILE);
    let ran = place.run(["check", "made.toml", "--out", "now", "--baseline", "was"]).done();
    assert!(ran.out.starts_with("2 bounds held"), "{ran:?}");
    // Without it they are looked for in `study`; a folder has its own.
    let ran = place.run(["check", "made.toml", "--baseline", "was"]).printable();
    assert!(ran.code == Some(1) && ran.out.contains("not measured yet"), "{ran:?}");
    place.run(["check", "now", "--out", "was"]).refused(2, &["now is a folder with its cells already"]);
    place.run(["check", "now"]).refused(2, &["--baseline", "kl_div_with_sae"]);
    let wrong = FILE.replace("figure = \"ce_loss_score\"", "figure = \"ce_loss\"");
    fill(&study(&place, "wrong", &wrong), 0.5, "");
    check("wrong", &[]).refused(1, &["no figure \"ce_loss\"", "ce_loss_score"]);
}

fn is_xml(path: &Path, words: &str) {
    let xml = fs::read_to_string(path).unwrap();
    is_well_formed(xml.split_once("?>").unwrap().1);
    assert!(xml.contains(words), "{xml}");
}
