//! Keys that hints name do something; counts go before moves; the mouse stays where it was pressed.

use std::{fmt::Write, sync::Arc};

use crossterm::event::{Event, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use prunelens::{
    engine::{JobState, Report},
    tui::{
        Message, State, message_of,
        state::{Follow, Log, Overlay, Panel, Screen},
    },
};

use crate::session::{Session, dark};

/// Everything of a state that a person could notice.
fn noticed(state: &State) -> String {
    let mut state = state.clone();
    (state.log, state.follow, state.redraw) = (Log::default(), Follow::default(), false);
    let mut text = String::new();
    write!(text, "{state:?}").unwrap();
    text
}

fn states() -> Vec<(&'static str, Session)> {
    let with = |session: Session, keys: &str| {
        let mut session = session;
        let later = session.state.now.as_millis() as u64 + 1000;
        session.keys(keys).time(later);
        session
    };
    let mut all = vec![("loading", Session::loading()), ("empty prompt", Session::ready())];
    all.push(("empty prompt, left", with(Session::ready(), "<esc>")));
    all.push(("explored", Session::explored()));
    for panel in 1..=6 {
        all.push(("a panel", with(Session::explored(), &panel.to_string())));
    }
    let mut latent = with(Session::explored(), "<enter>");
    latent.answer_study();
    all.push(("latent", latent));
    all.push(("predictions", with(Session::explored(), "p")));
    all.push(("metrics, none", with(Session::explored(), "M")));
    let mut job = with(Session::explored(), "m<enter>");
    job.job(1, JobState::Running { done: 1, total: 8, unit: "rows", seconds: 2.0, note: String::new() });
    all.push(("a job", job));
    for keys in ["i", "L", "?", ":", "/", "n", "s", "S", "<ctrl-s>", "m"] {
        all.push(("something over it", with(Session::explored(), keys)));
    }
    all.push(("atlas, none", with(Session::explored(), "a")));
    for keys in ["", "<tab>", "F", "f"] {
        all.push(("atlas", with(crate::atlas::opened(keys), "")));
    }
    all.push(("layers", with(crate::layers::layered(), "")));
    all.push(("a layer is coming", with(crate::layers::layered(), ".")));
    for keys in ["", "j"] {
        let mut strip = with(crate::layers::layered(), ";");
        strip.answer_strip(0..12, true).keys(keys);
        all.push(("the strip", strip));
    }
    all.push(("a line to open", with(Session::explored(), "O")));
    for keys in ["", "<down><right>"] {
        all.push(("a study", with(crate::study::opened(keys), "")));
    }
    let mut failed = Session::loading();
    failed.report(Report::LoadFailed("no such file".into()));
    all.push(("failed", failed));
    all
}

#[test]
fn no_key_of_the_footer_is_dead() {
    for (name, session) in states() {
        let state = &session.state;
        let hints = state.keymap.hints(state.contexts(), |action| state.offers(action));
        assert!(!hints.is_empty(), "{name}");
        for words in hints.iter().map(|hint| hint.words) {
            let of_words = |(spec, keys): &(_, &[prunelens::tui::keys::keymap::Key])| {
                let spec: &&prunelens::tui::keys::action::ActionSpec = spec;
                let first = keys.first().and_then(|key| state.keymap.action(state.contexts(), *key));
                spec.hint == Some(words) && state.contexts().contains(&spec.context) && first == Some(spec.action)
            };
            // Of a pair such as up and down, one may have come to the end.
            let alive = state.keymap.rows().filter(of_words).any(|(_, keys)| {
                let mut tried = Session { state: state.clone(), effects: Vec::new() };
                tried.send(Message::KeyPressed(keys[0].into()));
                !tried.effects.is_empty() || noticed(&tried.state) != noticed(state)
            });
            assert!(alive, "{words:?} does nothing: {name}, {:?} {:?}", state.screen, state.overlay);
        }
    }
}

#[test]
fn a_count_goes_before_a_move() {
    let mut session = Session::explored();
    let at = |session: &Session| session.state.table.position(session.state.latent.unwrap()).unwrap();
    session.keys("3j");
    assert_eq!((at(&session), session.state.count), (3, None));
    session.keys("2k");
    assert_eq!(at(&session), 1);
    session.keys("12j");
    assert_eq!(at(&session), session.state.table.rows.len() - 1, "no further than there are rows");
    session.keys("4G");
    assert_eq!(at(&session), 3);
    session.keys("3]");
    assert_eq!(session.state.setting().at, 0.4);
    session.keys("99999999j<esc>");
    session.keys("10<esc>");
    assert_eq!((session.state.count, session.state.focus), (None, Panel::Latents), "Esc takes it back");
}

#[test]
fn a_digit_alone_is_the_key_it_was() {
    let mut session = Session::explored();
    let now = session.state.now.as_millis() as u64;
    session.keys("4").time(now + 200);
    assert_eq!(session.state.focus, Panel::Latents, "it waits for what follows");
    assert!(session.state.next_wake().is_some());
    session.time(now + 400);
    assert_eq!((session.state.focus, session.state.count), (Panel::Detail, None));
    session.keys("5c");
    assert_eq!(session.state.focus, Panel::Ratio, "another key does not wait");
    session.keys("1x");
    assert_eq!(session.state.focus, Panel::Prompt);
    assert!(session.state.prompt.text().ends_with('x'), "what follows is typed");
    session.keys("<bs>7");
    assert!(session.state.prompt.text().ends_with('7'), "digits are text in a text");
}

#[test]
fn help_and_quitting_are_said_in_the_prompt() {
    let mut session = Session::explored();
    session.keys("1x<bs>");
    let screen = crate::snapshots::screen(&session.state, 120, 36, &dark());
    assert!(screen.contains("F1 help") && screen.contains("Ctrl-Q quit"), "{screen}");
    session.keys("<f1>");
    assert!(matches!(session.state.overlay, Some(Overlay::Help { .. })));
    session.keys("<esc><ctrl-q>");
    assert!(session.leaves());
}

/// The first cell that a text is drawn at.
fn place_of(session: &Session, text: &str) -> (u16, u16) {
    let screen = crate::snapshots::screen(&session.state, 120, 36, &dark());
    let (row, line) = screen.lines().enumerate().find(|(_, line)| line.contains(text)).expect(text);
    (line[..line.find(text).unwrap()].chars().count() as u16, row as u16)
}

fn mouse(session: &mut Session, kind: MouseEventKind, (column, row): (u16, u16)) {
    let event = Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
    if let Some(message) = message_of(event, &session.state, &dark()) {
        session.send(message);
    }
}

#[test]
fn a_drag_stays_on_the_slider() {
    let mut session = Session::explored();
    let (x, y) = place_of(&session, "●");
    mouse(&mut session, MouseEventKind::Down(MouseButton::Left), (x, y));
    assert_eq!(session.state.focus, Panel::Ratio);
    let latent = session.state.latent;
    // Over the table, and far beyond the end.
    mouse(&mut session, MouseEventKind::Drag(MouseButton::Left), (2, y - 12));
    assert_eq!((session.state.setting().at, session.state.latent), (0.0, latent));
    mouse(&mut session, MouseEventKind::Drag(MouseButton::Left), (119, 0));
    assert_eq!(session.state.setting().at, 0.99);
}

#[test]
fn wheel_and_clicks_reach_every_screen() {
    let mut session = Session::explored();
    session.keys("p");
    let (x, y) = place_of(&session, "army");
    mouse(&mut session, MouseEventKind::Down(MouseButton::Left), (x, y));
    let token = session.state.token;
    mouse(&mut session, MouseEventKind::ScrollDown, (x, y));
    assert_eq!((session.state.screen, session.state.token), (Screen::Predictions, token + 1));
    session.keys("<esc><enter>").answer_study();
    mouse(&mut session, MouseEventKind::ScrollDown, (60, 30));
    assert_eq!(session.state.latent_view.scroll, 1);
    session.keys("<esc>?");
    mouse(&mut session, MouseEventKind::ScrollDown, (60, 20));
    assert_eq!(session.state.overlay, Some(Overlay::Help { scroll: 1 }));
    session.keys("<esc>:");
    mouse(&mut session, MouseEventKind::ScrollDown, (60, 20));
    assert!(matches!(session.state.overlay, Some(Overlay::Palette { selected: 1, .. })));
}

#[test]
fn what_comes_back_soon_is_not_dimmed_meanwhile() {
    let mut session = Session::explored();
    let now = session.state.now.as_millis() as u64;
    session.keys("]");
    let state = &session.state;
    let shown = state.shown.clone().unwrap();
    let fresh = |state: &State| state.fresh(|target| shown.of == *target);
    assert!(fresh(state) && state.target() != shown.of);
    session.state.redraw = false;
    session.time(now + 149);
    assert!(fresh(&session.state) && !session.state.redraw);
    session.time(now + 150);
    assert!(!fresh(&session.state) && session.state.redraw, "after that it is, and drawn");
    assert!(Arc::ptr_eq(&session.state.shown.as_ref().unwrap().comparison, &shown.comparison));
}
