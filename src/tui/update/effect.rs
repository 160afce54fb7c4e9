//! What `update` asks the outside to do.

use std::path::PathBuf;

use crate::{
    engine::{Command, Request},
    export::Document,
    tui::studies::Ask,
};

/// Files to be written side by side.
#[derive(Clone, Debug)]
pub struct Export {
    /// What their names begin with.
    pub name: String,
    pub documents: Vec<Document>,
    pub picture: Picture,
}

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    Screen,
    /// The chosen run's panel alone.
    Run,
}

#[derive(Clone, Debug)]
pub enum Effect {
    Command(Command),
    Request(Request),
    /// Send text to the terminal's clipboard.
    Copy(String),
    /// Write documents and pictures to the results folder.
    Export(Export),
    /// Names of latents of the SAE with this digest are wanted.
    RecallNames(String),
    /// Explanations of latents are to be read from a file of Neuronpedia's.
    Explain(PathBuf),
    /// What the last word of a line can go on to is wanted.
    Complete(String),
    /// Folders that the path of a study can go on to are wanted.
    CompleteStudy(String),
    /// Something of the study on screen is wanted.
    Study(Ask),
    /// The session that a line means is wanted.
    Open(String),
    /// Write the view, under a name or to a path.
    SaveView(String),
    /// Record from now on, under a name or to a path; or stop, and write what was recorded.
    Record(Option<String>),
    /// Keep the name that a latent has now.
    KeepName(u32),
    /// Keep the last prompt.
    KeepPrompt,
    /// The first steps were taken: do not explain them again.
    RememberUse,
    /// Clear and draw everything.
    Clear,
    /// Take the mouse, or give it back.
    Mouse(bool),
    Suspend,
    Quit,
}
