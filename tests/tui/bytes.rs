//! What keys cost: the bytes that a terminal is sent, counted. Time does not matter here: answers come in the same frame.

use std::time::Duration;

use crossterm::event::KeyEvent;
use prunelens::{
    ansi::Painter,
    engine::{self, Command, EngineHandle},
    tui::{Effect, Message, State, keys::keymap::Key, start, state::Phase, theme::Theme, update, view},
};
use prunelens_core::session::SessionSpec;

use crate::session::dark;

/// Around every frame.
const SYNCHRONIZED: usize = 16;

/// The explorer on the demo, with a terminal that counts.
struct Counted {
    engine: EngineHandle,
    state: State,
    theme: Theme,
    painter: Painter,
    bytes: usize,
}

impl Counted {
    fn at(size: (u16, u16)) -> Self {
        let mut state = State::new(SessionSpec::demo(), vec!["dark".into()], size);
        state.prompt.set("The army and the navy of the United States are");
        let effects = start(&state);
        let engine = engine::start().unwrap();
        let mut counted = Self { engine, state, theme: dark(), painter: Painter::default(), bytes: 0 };
        counted.perform(effects);
        while counted.state.phase != Phase::Ready || counted.state.indexing {
            counted.report();
        }
        counted.settle();
        counted.frame();
        counted
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Command(command) => self.engine.command(command),
                Effect::Request(request) => self.engine.request(request),
                _ => {}
            }
        }
    }

    fn send(&mut self, message: Message) {
        let effects = update(&mut self.state, message);
        self.perform(effects);
    }

    fn report(&mut self) {
        let report = self.engine.reports.blocking_recv().expect("the engine runs");
        self.send(Message::Reported(Box::new(report)));
    }

    /// Until everything that was asked for has come.
    fn settle(&mut self) {
        if let Some(deadline) = self.state.follow.deadline {
            self.send(Message::TimePassed(deadline));
        }
        while self.state.comparing() || self.state.latent_incomplete() {
            self.report();
        }
    }

    fn frame(&mut self) {
        let (width, height) = self.state.size;
        let (buffer, cursor) = view::draw(width, height, &self.state, &self.theme);
        let sent = self.painter.frame(&buffer, cursor).len();
        self.bytes += if sent > 0 { sent + SYNCHRONIZED } else { 0 };
    }

    /// The frame that a key leads to at once, and the one with all answers to it.
    fn cost(&mut self, key: &str) -> usize {
        self.bytes = 0;
        let key: KeyEvent = key.parse::<Key>().unwrap().into();
        self.send(Message::KeyPressed(key));
        self.frame();
        self.settle();
        self.frame();
        // Nothing is left that would be sent later.
        let later = self.state.now + Duration::from_secs(1);
        let before = self.bytes;
        self.send(Message::TimePassed(later));
        self.frame();
        assert_eq!(self.bytes, before, "bytes without a cause");
        self.bytes
    }

    fn mean(&mut self, keys: &[&str]) -> usize {
        let costs: Vec<usize> = keys.iter().map(|key| self.cost(key)).collect();
        println!("{keys:?}: {costs:?}");
        costs.iter().sum::<usize>() / costs.len()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.engine.command(Command::Quit);
    }
}

/// What a letter, a step of the slider and a move in the table send, on average.
fn costs(size: (u16, u16)) -> [usize; 3] {
    let mut counted = Counted::at(size);
    let letter = counted.mean(&["space", "r", "e", "a", "d", "y"]);
    counted.cost("esc");
    let step = counted.mean(&["]", "]", "}", "[", "{"]);
    [letter, step, counted.mean(&["j", "j", "j", "k", "down", "down"])]
}

#[test]
fn keys_send_few_bytes() {
    let [letter, step, moved] = costs((120, 36));
    assert!(letter <= 3_000, "a letter sends {letter} bytes");
    assert!(step <= 2_000, "a step of the slider sends {step} bytes");
    assert!(moved <= 1_500, "a move in the table sends {moved} bytes");
}

#[test]
fn a_large_screen_costs_little_more() {
    let [letter, step, moved] = costs((200, 60));
    assert!(letter <= 6_000, "a letter sends {letter} bytes");
    assert!(step <= 4_000, "a step of the slider sends {step} bytes");
    assert!(moved <= 3_000, "a move in the table sends {moved} bytes");
}
