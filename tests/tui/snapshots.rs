//! What screens look like, and where colour carries meaning, in which styles.

use std::{fmt::Write, sync::Arc};

use prunelens::{
    engine::{JobState, Progress, Report},
    export,
    tui::{
        State,
        theme::{ColorDepth, Theme},
        view::draw,
    },
};
use ratatui::{
    buffer::Buffer,
    style::{Color, Modifier},
};

use crate::session::{Part, Session, dark, theme};

pub fn screen(state: &State, width: u16, height: u16, theme: &Theme) -> String {
    export::text::text(&draw(width, height, state, theme).0)
}

macro_rules! snapshot {
    ($name:literal, $session:expr, $width:literal x $height:literal) => {
        insta::assert_snapshot!($name, screen(&$session.state, $width, $height, &dark()))
    };
}

#[test]
fn explore() {
    let mut session = Session::explored();
    snapshot!("explore_120x36", session, 120 x 36);
    snapshot!("explore_80x24", session, 80 x 24);
    snapshot!("explore_60x16", session, 60 x 16);
    snapshot!("explore_200x60", session, 200 x 60);
    session.state.size = (250, 60);
    let now = session.state.now.as_millis() as u64;
    session.time(now).answer_study();
    snapshot!("explore_250x60", session, 250 x 60);
    snapshot!("too_small", session, 40 x 12);
}

/// A GPU's name is long, and the type of numbers is what figures depend on.
#[test]
fn the_first_line_keeps_device_and_type_longer_than_its_name() {
    let mut session = Session::ready();
    let mut info = crate::session::info();
    (info.device, info.dtype) = ("cuda:0 NVIDIA H200, 140 GiB".into(), "bf16".into());
    session.report(Report::Ready(Arc::new(info)));
    let first = |width| screen(&session.state, width, 36, &dark()).lines().next().unwrap().to_owned();
    assert!(first(160).contains("cuda:0 NVIDIA H200, 140 GiB, bf16  "), "{}", first(160));
    assert!(first(112).contains("  cuda:0, bf16  "), "{}", first(112));
    assert!(first(84).ends_with("iB"), "{}", first(84));
}

#[test]
fn explore_without_trained_sae() {
    let mut session = Session::ready();
    let mut info = crate::session::info();
    info.variants.pop();
    session.report(Report::Ready(Arc::new(info)));
    session.keys("1");
    let (generation, target) = session.state.follow.asked.clone().unwrap();
    let mut comparison = crate::session::comparison(&target.prompt, target.setting, Part::All);
    comparison.views.pop();
    comparison.matches = Arc::default();
    session.report(Report::Comparison { generation, comparison: Arc::new(comparison), complete: true });
    session.answer_latent();
    snapshot!("explore_without_trained", session, 120 x 36);
}

#[test]
fn empty_prompt_teaches() {
    let mut session = Session::ready();
    session.state.first_steps = true;
    snapshot!("empty_120x36", session, 120 x 36);
    snapshot!("empty_80x24", session, 80 x 24);
}

#[test]
fn loading() {
    let mut session = Session::loading();
    session.report(Report::Loading(Progress {
        what: "reading weights".into(),
        done: 3 << 28,
        total: 1 << 31,
        unit: "bytes",
    }));
    session.time(4000);
    snapshot!("loading", session, 80 x 24);
    session.report(Report::LoadFailed(
        "weights.safetensors: tensor wte.weight has shape [3], expected [4096, 192]; download it again".into(),
    ));
    snapshot!("load_failed", session, 80 x 24);
}

#[test]
fn session_and_log() {
    let mut session = Session::explored();
    session.keys("i");
    snapshot!("session", session, 80 x 24);
    session.report(Report::LoadFailed(
        "a long message that says what is wrong and what to do about it, wrapped over lines of the log screen".into(),
    ));
    session.keys("L");
    snapshot!("log", session, 80 x 24);
}

#[test]
fn overlays() {
    let mut session = Session::explored();
    session.keys("?");
    snapshot!("help", session, 120 x 36);
    session.keys("<esc>:crit");
    snapshot!("palette", session, 120 x 36);
    session.keys("<esc>/12");
    snapshot!("find", session, 80 x 24);
    session.keys("<esc>m<enter>q");
    snapshot!("confirm_quit", session, 80 x 24);
}

#[test]
fn a_latent_in_full() {
    let mut session = Session::explored();
    session.keys("<enter>");
    snapshot!("latent_reading", session, 80 x 24);
    session.answer_study();
    snapshot!("latent_80x24", session, 80 x 24);
    snapshot!("latent_120x36", session, 120 x 36);
    snapshot!("latent_200x60", session, 200 x 60);
    session.keys("v");
    snapshot!("latent_beside_pruned", session, 120 x 36);
}

#[test]
fn what_the_models_say() {
    let mut session = Session::explored();
    session.keys("p");
    snapshot!("predictions_asking", session, 80 x 24);
    session.answer_study();
    snapshot!("predictions_80x24", session, 80 x 24);
    snapshot!("predictions_120x36", session, 120 x 36);
    session.keys("x").answer_study();
    snapshot!("predictions_edited", session, 120 x 36);
    snapshot!("predictions_200x60", session, 200 x 60);
}

#[test]
fn the_prompt_continued() {
    let mut session = Session::explored();
    session.keys("g");
    snapshot!("generation_asked", session, 80 x 24);
    session.answer_generation(5);
    snapshot!("generation_80x24", session, 80 x 24);
    session.keys("<esc>xg").answer_generation(12);
    session.keys("<right>");
    snapshot!("generation_edited_80x24", session, 80 x 24);
    snapshot!("generation_edited_120x36", session, 120 x 36);
    snapshot!("generation_edited_200x60", session, 200 x 60);
    session.keys("o");
    snapshot!("generation_settings", session, 80 x 24);
}

#[test]
fn two_prompts() {
    let mut session = Session::explored();
    session.keys("|<ctrl-l>The army and the old navy of the United States are").time(2000).answer(Part::All);
    session.keys("<esc><left><left><left><left>").answer_latent();
    snapshot!("pair_80x24", session, 80 x 24);
    snapshot!("pair_120x36", session, 120 x 36);
    snapshot!("pair_200x60", session, 200 x 60);
    snapshot!("pair_60x16", session, 60 x 16);
    // By a variant that there is no column for.
    let hidden =
        (0..5).filter(|_| screen(&session.keys("o").state, 80, 24, &dark()).contains(" variants, by ")).count();
    assert!((1..5).contains(&hidden), "{hidden}");
    session.keys("]");
    insta::assert_snapshot!("pair_styles_old", styled(&draw(120, 36, &session.state, &dark()).0));
}

#[test]
fn looking_for_latents() {
    let mut session = Session::explored();
    session.keys("/navy");
    snapshot!("find_asking", session, 80 x 24);
    session.answer_study();
    snapshot!("find_word", session, 80 x 24);
    session.keys("<esc>s");
    snapshot!("steer", session, 80 x 24);
}

#[test]
fn text_of_strangers_is_harmless() {
    let mut session = Session::ready();
    let mut info = crate::session::info();
    info.model = "\u{1b}[2Jmodel\n".into();
    info.device = "cpu\u{202e}".into();
    session.report(Report::Ready(Arc::new(info)));
    session.keys("1");
    let (generation, target) = session.state.follow.asked.clone().unwrap();
    let mut comparison = crate::session::comparison(&target.prompt, target.setting, Part::All);
    let tokens = Arc::make_mut(&mut comparison.tokens);
    for (token, piece) in tokens.iter_mut().skip(1).zip([
        "\u{1b}[31m",
        "\n",
        "\t",
        " 日本",
        "👩\u{200d}👩\u{200d}👧",
        "\u{202e}",
        "\u{7}",
    ]) {
        token.piece = piece.as_bytes().to_vec();
    }
    tokens[8].piece = vec![0xe2, 0x82];
    session.report(Report::Comparison { generation, comparison: Arc::new(comparison), complete: true });
    session.answer_latent();
    let text = screen(&session.state, 120, 36, &dark());
    assert!(text.chars().all(|c| c == '\n' || !prunelens_core::text::is_unsafe(c) || c == '\u{200d}'), "{text}");
    snapshot!("strangers", session, 120 x 36);
}

#[test]
fn ascii_only() {
    let mut session = Session::explored();
    let theme = Theme::load("dark", ColorDepth::Truecolor, true).unwrap();
    session.keys("m<enter>");
    session.job(1, JobState::Running { done: 62, total: 100, unit: "rows", seconds: 20.0, note: String::new() });
    for keys in ["", "m", "<esc><esc>", "?", "<esc>:", "<esc>i", "L", "<esc>w"] {
        session.keys(keys);
        let text = screen(&session.state, 120, 36, &theme);
        let odd: Vec<char> = text.chars().filter(|c| !c.is_ascii()).collect();
        assert!(odd.is_empty(), "{odd:?} in\n{text}");
    }
    session.keys("g").answer_generation(9);
    let text = screen(&session.state, 120, 36, &theme);
    assert!(text.is_ascii(), "{text}");
    session.keys("<esc><esc>");
    session.keys("w");
    insta::assert_snapshot!("ascii", screen(&session.state, 120, 36, &theme));
}

/// Styles in short: `fg/bg+modifiers`, one letter a style, with a key.
fn styled(buffer: &Buffer) -> String {
    let color = |c: Color| match c {
        Color::Reset => "-".to_owned(),
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        other => format!("{other:?}"),
    };
    let mut styles: Vec<String> = Vec::new();
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            let modifiers =
                if cell.modifier == Modifier::empty() { String::new() } else { format!("+{:?}", cell.modifier) };
            let style = format!("{}/{}{modifiers}", color(cell.fg), color(cell.bg));
            // The colour of nothing cannot be seen.
            let blank = cell.symbol() == " "
                && cell.bg == Color::Reset
                && !cell.modifier.intersects(Modifier::REVERSED | Modifier::UNDERLINED);
            if blank {
                line.push(' ');
                continue;
            }
            let at = styles.iter().position(|s| *s == style).unwrap_or_else(|| {
                styles.push(style);
                styles.len() - 1
            });
            line.push(
                char::from_u32(if at < 26 { 'a' as u32 + at as u32 } else { 'A' as u32 + at as u32 - 26 })
                    .unwrap_or('?'),
            );
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for (at, style) in styles.iter().enumerate() {
        let letter =
            char::from_u32(if at < 26 { 'a' as u32 + at as u32 } else { 'A' as u32 + at as u32 - 26 }).unwrap_or('?');
        let _ = writeln!(out, "{letter} {style}");
    }
    out
}

#[test]
fn colours_of_explore() {
    let mut session = Session::explored();
    insta::assert_snapshot!("styles_fresh", styled(&draw(120, 36, &session.state, &dark()).0));
    // The ratio has moved, the answer has not come: what depends on it is old.
    session.keys("]");
    let later = session.state.now.as_millis() as u64 + 1000;
    session.time(later);
    insta::assert_snapshot!("styles_old", styled(&draw(120, 36, &session.state, &dark()).0));
}

#[test]
fn other_knobs_say_what_they_turn() {
    let mut session = Session::explored();
    for knob in ["bits", "rank", "latents"] {
        session.keys("C");
        session.answer(Part::All);
        insta::assert_snapshot!(format!("knob_{knob}"), screen(&session.state, 120, 36, &dark()));
    }
}

#[test]
fn few_colours_and_none() {
    let session = Session::explored();
    for (name, depth) in [("ansi", ColorDepth::Ansi16), ("mono", ColorDepth::None)] {
        let theme = theme("dark", depth);
        assert_eq!(theme.name, name);
        insta::assert_snapshot!(
            format!("strips_{name}"),
            screen(&session.state, 120, 36, &theme).lines().skip(4).take(2).collect::<Vec<_>>().join("\n")
        );
        let (buffer, _) = draw(120, 36, &session.state, &theme);
        for cell in buffer.content() {
            assert!(depth.shows(cell.fg) || cell.fg == Color::Reset, "{cell:?}");
            assert!(depth.shows(cell.bg) || cell.bg == Color::Reset, "{cell:?}");
        }
    }
}
