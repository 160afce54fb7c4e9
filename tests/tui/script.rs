//! Pictures and recordings from scripted keys, with an engine that answers at once.

use prunelens::{
    engine::EngineHandle,
    tui::{Look, RenderOptions, render, theme::ColorDepth},
};
use prunelens_core::session::SessionSpec;

use crate::session::FakeEngine;

fn rendered(keys: &str, extension: &str) -> String {
    rendered_by(FakeEngine::handle(), keys, extension)
}

fn rendered_by(engine: EngineHandle, keys: &str, extension: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("screen").with_extension(extension);
    let options = RenderOptions {
        session: SessionSpec::demo(),
        settings: Default::default(),
        prompt: None,
        view: None,
        look: Look { theme: Some("dark".into()), depth: ColorDepth::Truecolor, ascii: false },
        size: (120, 36),
        keys: keys.into(),
        out: out.clone(),
    };
    render(engine, options).unwrap();
    std::fs::read_to_string(out).unwrap()
}

#[test]
fn typed_text_is_compared_and_the_ratio_followed() {
    let text = rendered("hello navy<wait><esc>]]<wait>", "txt");
    assert!(text.contains("hello navy"), "{text}");
    assert!(text.contains("ratio 0.35"), "{text}");
    assert!(text.contains("#1204"), "{text}");
}

#[test]
fn jobs_can_be_waited_for() {
    let text = rendered("1<wait>m<enter><job>", "txt");
    assert!(text.contains("ce_loss_score") && text.contains("in 0:41"), "{text}");
}

#[test]
fn only_a_picture_with_texts_waits_for_the_whole_corpus() {
    // This engine never comes to the end of its corpus; what does not show texts of it is drawn all the same.
    let text = rendered_by(FakeEngine::over_corpus(false), "1<wait>p<wait>", "txt");
    assert!(text.contains("alone") && text.contains("with the reconstruction in place"), "{text}");
    let text = rendered_by(FakeEngine::over_corpus(false), "1<wait>M<wait>", "txt");
    assert!(text.contains("metrics"), "{text}");
}

#[test]
fn pictures_are_well_formed() {
    let svg = rendered("1<wait>", "svg");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<text ").count(), svg.matches("</text>").count());
}

#[test]
fn recordings_have_a_frame_a_key() {
    let cast = rendered("ab<wait>", "cast");
    let lines: Vec<serde_json::Value> = cast.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((lines[0]["width"].as_u64(), lines[0]["height"].as_u64()), (Some(120), Some(36)));
    assert!(lines.len() >= 5, "{}", lines.len());
    let times: Vec<f64> = lines[1..].iter().map(|l| l[0].as_f64().unwrap()).collect();
    assert!(times.windows(2).all(|w| w[0] <= w[1]), "{times:?}");
}

#[test]
fn pictures_do_not_depend_on_chance() {
    assert_eq!(rendered("1<wait>]<wait>", "svg"), rendered("1<wait>]<wait>", "svg"));
}

#[test]
#[ignore]
fn pictures() {
    for (name, keys) in [
        ("explore", "1<wait><left><left><left><left><wait>]<wait>"),
        ("metrics", "1<wait>m<enter><job>"),
        ("help", "1<wait>?"),
        ("empty", "<wait>"),
        ("palette", "1<wait>:"),
    ] {
        std::fs::write(format!("/tmp/ui-{name}.svg"), rendered(keys, "svg")).unwrap();
    }
}
