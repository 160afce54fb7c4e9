//! Every screen and overlay at every size.

use std::sync::Arc;

use prunelens::{
    engine::{JobState, Progress, Report},
    tui::{
        theme::{ColorDepth, Theme},
        view::draw,
    },
};

use crate::session::{NOW, Session, details, run, table};

/// Sessions on every screen and with every overlay.
fn sessions() -> Vec<Session> {
    let after = |keys: &str| {
        let mut session = Session::explored();
        session.keys(keys);
        session
    };
    let mut sessions: Vec<Session> =
        ["", "4", "<tab>", "w", "i", "L", "?", ":re", "/12", "m", "m<down><down><down>x", "m<enter>q", "M", "e", "d"]
            .into_iter()
            .map(after)
            .collect();
    sessions.push(Session::loading());
    sessions.push(Session::ready());
    let mut session = Session::loading();
    session.report(Report::Loading(Progress { what: "weights".into(), done: 7, total: 9, unit: "bytes" }));
    sessions.push(session);
    let mut session = Session::loading();
    session.report(Report::LoadFailed("x".repeat(500)));
    sessions.push(session);
    let measured = || {
        let mut session = after("m<enter>");
        session.job(1, JobState::Running { done: 1, total: 3, unit: "rows", seconds: 1.0, note: "n".repeat(200) });
        let runs = Arc::new(vec![run(0.5, "blocks.1.hook_resid_post"), run(0.5, "blocks.2.hook_resid_post")]);
        session.report(Report::Runs { runs, now: NOW });
        session.report(Report::JobTable { id: 1, table: Arc::new(table(0.3)), details: Arc::new(details()) });
        session
    };
    for keys in ["", "<right>", "<right><right>", "b<down>", "b<down><right>", "<down><right>", "<down><right><right>"]
    {
        let mut session = measured();
        session.keys(keys);
        sessions.push(session);
    }
    let mut session = measured();
    session.job(1, JobState::Unwritten("no space".into())).keys("w/tmp");
    sessions.push(session);
    for keys in ["", "F", "<tab> <right><up> ", "xv<down>", "f", "/12"] {
        sessions.push(crate::atlas::opened(keys));
    }
    for keys in ["", "<down><right><right>", "<pagedown>f"] {
        sessions.push(crate::study::opened(keys));
    }
    sessions.push(after("a"));
    let mut session = after("");
    session.report(Report::Crashed("index out of bounds".into()));
    sessions.push(session);
    sessions
}

#[test]
fn never_at_any_small_size() {
    let themes = [ColorDepth::None, ColorDepth::Truecolor].map(|d| Theme::load("dark", d, false).unwrap());
    for session in sessions() {
        for width in 1..=40 {
            for height in 1..=20 {
                draw(width, height, &session.state, &themes[usize::from(width) % 2]);
            }
        }
    }
}

#[test]
fn never_at_larger_sizes() {
    let theme = Theme::load("dark", ColorDepth::Truecolor, false).unwrap();
    for session in sessions() {
        for (width, height) in
            [(60, 16), (61, 17), (60, 40), (80, 24), (99, 30), (100, 23), (100, 24), (120, 21), (200, 60), (300, 16)]
        {
            draw(width, height, &session.state, &theme);
        }
    }
}

#[test]
fn never_with_odd_prompts() {
    let theme = Theme::load("dark", ColorDepth::Truecolor, false).unwrap();
    for prompt in [
        "",
        " ",
        "日本語のテキスト",
        "👩\u{200d}👩\u{200d}👧 e\u{301}",
        "a\n\n\nb",
        &"word ".repeat(900),
        &"x".repeat(3000),
        "\t\t",
    ] {
        let mut session = Session::ready();
        session.send(prunelens::tui::Message::Pasted(prompt.into())).time(500);
        if session.state.follow.asked.is_some() {
            session.answer(crate::session::Part::All);
        }
        for keys in ["<left>", "<esc><left><left>", "<home>", "<end>"] {
            session.keys(keys).answer_latent();
            for (width, height) in [(60, 16), (80, 24), (120, 36), (200, 60)] {
                draw(width, height, &session.state, &theme);
            }
        }
    }
}
