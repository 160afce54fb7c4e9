//! What `update` asks the outside to do.

use crate::{
    engine::{Command, Request},
    export::Document,
};

#[derive(Clone, Debug)]
pub enum Effect {
    Command(Command),
    Request(Request),
    /// Send text to the terminal's clipboard.
    Copy(String),
    /// Write these documents and pictures of the screen to the results folder.
    Export(Vec<Document>),
    /// The first steps were taken: do not explain them again.
    RememberUse,
    /// Clear and draw everything.
    Clear,
    /// Take the mouse, or give it back.
    Mouse(bool),
    Suspend,
    Quit,
}
