//! What may happen to the state.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crossterm::event::KeyEvent;
use prunelens_core::session::SessionSpec;

use crate::{
    engine::Report,
    settings::SessionSettings,
    tui::{
        state::{Explained, Pointed},
        studies::Told,
    },
};

#[derive(Clone, Debug)]
pub enum Message {
    /// Time since the start; comes before every other message and when a deadline has passed.
    TimePassed(Duration),
    KeyPressed(KeyEvent),
    /// A bracketed paste: one edit.
    Pasted(String),
    Resized(u16, u16),
    /// The mouse was pressed on something, or dragged there.
    Clicked(Pointed),
    Dragged(Pointed),
    /// The wheel was turned over something, down or up.
    Turned {
        over: Pointed,
        down: bool,
    },
    Reported(Box<Report>),
    /// Text was handed to the terminal's clipboard; whether it took it is not known.
    Copied(usize),
    /// Names that were given earlier to latents of the SAE with this digest.
    Named {
        digest: String,
        names: BTreeMap<u32, String>,
        explained: Explained,
    },
    /// What the last word of a line can go on to.
    Completed {
        line: String,
        found: Vec<String>,
    },
    /// The session that a line means, and its settings; or why it means none.
    Meant {
        line: String,
        meant: Result<Box<(SessionSpec, SessionSettings)>, String>,
    },
    /// Explanations were read from a file, or could not be.
    Explained(Result<Explained, String>),
    /// Recording has begun to this file, or has ended.
    Recording(Option<String>),
    /// Something that should have been remembered was not.
    Forgotten(String),
    Exported(Result<Vec<PathBuf>, String>),
    /// Something was found out of the study on screen.
    Study(Box<Told>),
    /// The user asked the system to end the program.
    Terminated,
}
