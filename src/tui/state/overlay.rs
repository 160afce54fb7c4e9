//! What lies over the screen, with what is written there.

use super::{Find, Form, GenerationForm, JobId, OpenLine};

/// What lies over the screen.
#[derive(Clone, Debug, PartialEq)]
pub enum Overlay {
    Help {
        scroll: usize,
    },
    Palette {
        query: String,
        selected: usize,
    },
    /// Going to a latent by its number, or by what it has to do with.
    Find(Find),
    /// A name for a latent.
    Name {
        latent: u32,
        name: String,
    },
    /// A name of a file, for what is to be written to it or read from it.
    Ask {
        what: Ask,
        text: String,
    },
    /// What session to open.
    Open(OpenLine),
    /// The table of compressed copies, and the one selected in it.
    Copies {
        selected: usize,
    },
    /// A change of the selected latent, as it is written, or one of those in force that is written anew.
    Edit {
        spec: String,
        of: Option<usize>,
    },
    /// How to continue the prompt.
    Generation(GenerationForm),
    /// A job about to be started.
    Form(Form),
    /// Another folder for results that could not be written.
    WriteTo {
        id: JobId,
        folder: String,
    },
    ConfirmQuit,
}

/// What a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To write the view to.
    SaveView,
    /// To read explanations of latents from.
    Explanations,
    /// To record to.
    Record,
}
