//! The explorer in a real terminal.

use std::time::{Duration, Instant};

use crate::support::{
    GPT2, Place, SAE, Tensors, fixture,
    screen::{DEADLINE, Screen, compared},
};

/// The alternate screen was taken, and left.
fn assert_left(screen: &Screen) {
    assert!(screen.sent.windows(8).any(|w| w == b"\x1b[?1049l"));
}

#[test]
fn a_first_visit() {
    let mut screen = Screen::start(&[]);
    screen.wait_for("take an example by its number");
    screen.wait_for("demo");
    screen.keys("The army and the navy");
    screen.wait_for("The army and the navy");
    // The comparison follows the typing by itself.
    screen.wait("latents of every variant", |s| s.contains("latents at") && s.contains('▸') && s.contains("alive"));

    // Out of the prompt; the ratio is pulled and the figures follow.
    screen.keys("\x1b");
    screen.wait_for("q quit");
    screen.keys("]");
    screen.wait_for("ratio 0.30");
    screen.wait_for("kept  70 %");
    screen.keys("{");
    screen.wait_for("ratio 0.29");
    screen.keys("0");
    screen.wait_for("ratio 0.00");
    screen.wait_for("kept  100 %");
    screen.keys("c");
    screen.wait_for("paper");

    screen.keys("?");
    screen.wait_for("How to read the screen");
    screen.keys("\x1b");
    screen.wait_without("How to read the screen");
    screen.keys("q");
    assert!(screen.ended().success());
}

#[test]
fn a_held_key_glides_without_a_backlog() {
    let mut screen = Screen::compared();
    screen.keys("\t0");
    screen.wait_for("ratio 0.00");
    for _ in 0..60 {
        screen.keys("}");
    }
    screen.wait_for("ratio 0.60");
    screen.wait_for("kept  40 %");
    for _ in 0..60 {
        screen.keys("]");
    }
    screen.wait_for("ratio 0.99");
    for _ in 0..60 {
        screen.keys("[");
    }
    screen.wait_for("ratio 0.00");
    screen.keys("\x03");
    assert!(screen.ended().success());
}

#[test]
fn a_latent_can_be_watched_while_the_ratio_moves() {
    let mut screen = Screen::start(&[]);
    screen.wait_for("wanda 50%");
    screen.keys("1");
    screen.wait_for("latents at");
    screen.keys("]]]");
    screen.wait_for("ratio 0.40");
    screen.wait_for("alive");
    screen.settle();
    let idle = screen.bytes_while_idle(Duration::from_millis(1500), Duration::from_millis(700));
    assert_eq!(idle, 0, "something is written while nothing happens");
    screen.keys("?");
    screen.wait_for("How to read the screen");
    screen.keys("?q");
    assert_eq!(screen.ended().exit_code(), 0);
    assert_left(&screen);
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    let mut screen = Screen::start(&[]);
    screen.wait_for("wanda 50%");
    for (columns, rows, what) in [(80, 24, "ratio 0.25"), (30, 8, "60x16"), (1, 1, ""), (200, 60, "wanda 50%")] {
        screen.resize(columns, rows);
        screen.wait_for(what);
    }
    // The prompt has the focus: a letter is typed, and Ctrl-C leaves all the same.
    screen.keys("q\x03");
    assert_eq!(screen.ended().exit_code(), 0);
    assert_left(&screen);
}

#[test]
fn any_size_and_back() {
    let mut screen = Screen::compared();
    for (columns, rows) in [(1, 1), (59, 15), (2, 40), (200, 1)] {
        screen.resize(columns, rows);
        screen.keys("\t");
    }
    screen.resize(60, 10);
    screen.wait_for("60x16");
    screen.resize(80, 24);
    screen.wait("the panels, narrower", |s| s.contains("latents at") && s.contains("ratio 0.25"));
    screen.resize(200, 60);
    screen.wait("the panels, wider", |s| s.contains("latents at") && s.contains("promotes"));
    screen.resize(1, 1);
    screen.resize(120, 36);
    screen.wait("the panels as before", |s| s.contains("latents at") && s.contains("promotes"));
    screen.keys("\x03");
    assert!(screen.ended().success());
}

#[test]
fn nothing_is_sent_and_nothing_computed_while_idle() {
    let mut screen = Screen::compared();
    screen.settle();
    let time = Duration::from_secs(2);
    assert_eq!(screen.bytes_while_idle(time, time), 0);
}

#[test]
fn without_colour_there_is_none() {
    let args = ["--prompt", "The army and the navy"];
    let mut screen = Screen::with(Place::new(), &args, &[("NO_COLOR", "1")], (120, 36));
    screen.wait("latents", |s| s.contains("latents at") && s.contains('▸'));
    let (rows, columns) = screen.screen().size();
    for row in 0..rows {
        for column in 0..columns {
            let cell = screen.screen().cell(row, column).unwrap();
            let colors = (cell.fgcolor(), cell.bgcolor());
            assert_eq!(colors, (vt100::Color::Default, vt100::Color::Default), "row {row}, column {column}");
        }
    }
    screen.keys("\x03");
    assert!(screen.ended().success());
}

#[test]
fn ascii_alone() {
    let mut screen = Screen::with(Place::new(), &["--ascii", "--prompt", "The army"], &[], (120, 36));
    screen.wait("latents", |s| s.contains("latents at") && s.contains("alive"));
    let text = screen.text();
    assert!(text.is_ascii(), "{:?} is not ASCII in\n{text}", text.chars().find(|c| !c.is_ascii()));
    let mut screen = Screen::with(Place::new(), &[], &[("LC_ALL", "C")], (120, 36));
    screen.wait("the same where the locale knows nothing else", |s| s.contains("take an example"));
    assert!(screen.text().is_ascii());
}

#[test]
fn wide_characters_and_pastes() {
    let mut screen = Screen::start(&[]);
    screen.wait_for("take an example");
    screen.keys("\x1b[200~日本語 🦊\te\u{301}\x1b[31m fox\x1b[201~");
    screen.wait_for("日本語");
    screen.wait_for("latents at");
    // What was pasted did not become commands or colours.
    screen.wait_for("fox");
    screen.keys("\x03");
    assert!(screen.ended().success());
}

#[test]
fn pastes_wide_characters_and_no_colours() {
    let mut screen = Screen::with(Place::new(), &[], &[("NO_COLOR", "1")], (100, 30));
    screen.wait_for("wanda 50%");
    screen.keys("\x1b[200~日本 café\x07\x1b[201~");
    screen.wait_for("日本 café");
    screen.wait_for("latents at");
    screen.keys("\x03");
    screen.ended();
    assert_left(&screen);
    let text = String::from_utf8_lossy(&screen.sent);
    for code in ["\x1b[38;", "\x1b[48;", "\x1b[31m", "\x1b[34m"] {
        assert!(!text.contains(code), "{code:?} although NO_COLOR is set");
    }
}

#[test]
fn signals_give_the_terminal_back() {
    for size in [(120, 36), (80, 24)] {
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
            let mut screen = Screen::with(Place::new(), &[], &[], size);
            screen.wait_for("prompt");
            screen.signal(signal);
            assert_eq!(screen.ended().exit_code(), 128 + signal as u32, "the code that shells give it");
            assert_left(&screen);
        }
    }
}

/// Who stops the program from outside gives nothing back: it takes up the terminal when it goes on, whole.
#[test]
fn a_stop_from_outside_leaves_no_trace() {
    let mut screen = Screen::compared();
    screen.settle();
    let before = screen.text();
    screen.stopped_from_outside();
    screen.wait("the same screen", |text| text == before);
    screen.keys("\t?");
    screen.wait_for("How to read the screen");
    screen.keys("q");
    screen.wait_without("How to read the screen");
    screen.keys("q");
    assert!(screen.ended().success());
    assert_left(&screen);
}

/// Nothing answers SIGKILL: what was done is kept while it is done.
#[test]
fn a_killed_session_is_offered_again() {
    let mut screen = Screen::start(&["--prompt", "The navy of the north"]);
    screen.wait("a comparison", compared);
    screen.keys("\t]]");
    screen.wait("the ratio", |s| s.contains("ratio 0.35"));
    let folder = screen.home().join(".local/state/prunelens/left");
    let kept = || {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|file| file.path());
        // Not the one that is being written.
        let whole = files.filter(|path| path.extension().is_some_and(|end| end == "toml"));
        whole.filter_map(|path| std::fs::read_to_string(path).ok()).any(|text| text.contains("ratio:0.35"))
    };
    let begun = Instant::now();
    while !kept() {
        assert!(begun.elapsed() < DEADLINE, "it is not kept");
        screen.watch(Duration::from_millis(20), |_| ());
    }
    screen.signal(libc::SIGKILL);
    let mut screen = Screen::with(screen.killed(), &[], &[], (120, 36));
    screen.wait_for("The navy of the north");
    screen.keys("0");
    screen.wait("the ratio again", |s| compared(s) && s.contains("ratio 0.35"));
    screen.keys("\x03");
    assert!(screen.ended().success());
}

#[test]
fn a_broken_session_is_shown_and_left() {
    let place = Place::new();
    let model = place.copy(GPT2, "red\x1b[31mmodel");
    Tensors::edit(&model.join("model.safetensors"), |t| t.get("h.0.mlp.c_fc.bias").1[3] = f32::NAN);
    let sae = fixture(SAE);
    let args = ["--model", model.to_str().unwrap(), "--sae", sae.to_str().unwrap()];
    let mut screen = Screen::with(place, &args, &[], (120, 36));
    screen.wait_for("h.0.mlp.c_fc.bias");
    screen.wait_for("NaN or infinite");
    assert!(!screen.sent.windows(5).any(|w| w == b"\x1b[31m"), "the name's escape sequence was sent");
    screen.keys("q");
    screen.ended();
}

#[test]
fn mistakes_are_told_before_the_screen_is_taken() {
    let place = Place::new();
    place.write("session.toml", "rato = 1");
    let mut screen = Screen::with(place, &["--session", "session.toml"], &[], (120, 36));
    assert_eq!(screen.ended().exit_code(), 1);
    assert!(screen.text().contains("line 1: unknown field `rato`"), "{}", screen.text());
    assert!(!screen.sent.windows(8).any(|w| w == b"\x1b[?1049h"), "the screen was taken");
}

#[test]
fn a_job_runs_beside_the_person_and_can_be_cancelled() {
    let mut screen = Screen::compared();
    screen.keys("\tm");
    screen.wait_for("Enter starts");
    screen.keys("\r");
    screen.wait("the job's progress", |s| s.contains("core") && s.contains('%') && s.contains("left"));
    // The ratio is not on this screen; that it moved is seen on the other.
    screen.keys("]x");
    screen.wait_for("cancelled");
    screen.keys("\x1b");
    screen.wait_for("ratio 0.30");
    screen.keys("q");
    assert!(screen.ended().success());
}

#[test]
fn a_prompt_is_continued_in_both_models_and_taken_up() {
    let mut screen = Screen::compared();
    screen.keys("\tg");
    screen.wait("both texts, with their speed", |s| {
        s.contains("original model") && s.contains("pruned model") && s.contains("64 tokens,") && s.contains("a second")
    });
    screen.wait_for("differs at");
    screen.keys("]");
    screen.wait_for("continued");
    screen.keys("\r");
    screen.wait("the longer prompt, compared", |s| s.contains("latents at") && s.contains("ratio 0.30"));
    screen.keys("q");
    assert!(screen.ended().success());
}
