//! Looking at a study's folder: on a thread of its own, for a folder may be far away and models may be busy.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use prunelens_core::{
    error::{Error, Result},
    session::SessionSpec,
};

use crate::{
    settings::{SessionSettings, environment, open},
    study::{
        STUDY,
        watch::{Place, Seen, Watch},
    },
};

/// What is wanted of a study.
#[derive(Clone, Debug)]
pub enum Ask {
    /// How far it is, and all of one cell; `anew`: nothing that was seen before counts.
    Look { folder: PathBuf, at: Place, anew: bool },
    /// The session of a group, beside the one there is now.
    Session { group: usize, now: Arc<SessionSettings> },
}

/// What was found.
#[derive(Clone, Debug)]
pub enum Told {
    Seen(Arc<Seen>),
    /// Why the folder cannot be looked at now.
    Wrong(String),
    /// The session and its settings, or why there is none.
    Session(Result<Box<(SessionSpec, SessionSettings)>, String>),
}

/// Answers one question after the other.
#[derive(Default)]
pub struct Looker(Option<(PathBuf, Watch)>);

impl Looker {
    pub fn answer(&mut self, ask: Ask) -> Told {
        match ask {
            Ask::Look { folder, at, anew } => match self.look(folder, at, anew) {
                Ok(seen) => Told::Seen(seen.into()),
                Err(error) => Told::Wrong(error.to_string()),
            },
            Ask::Session { group, now } => Told::Session(self.session(group, &now).map_err(|e| e.to_string())),
        }
    }

    fn look(&mut self, folder: PathBuf, at: Place, anew: bool) -> Result<Seen> {
        let folder = std::path::absolute(&folder).map_err(|e| Error::io(&folder, e))?;
        if let Some((of, watch)) = self.0.as_mut().filter(|_| !anew)
            && *of == folder
            && watch.is_current()?
        {
            return Ok(watch.look(at));
        }
        // One that cannot be opened leaves the one before: it may be back in a moment.
        let watch = Watch::open(&folder, &environment)?;
        let (_, watch) = self.0.insert((folder, watch));
        Ok(watch.look(at))
    }

    fn session(&self, group: usize, now: &SessionSettings) -> Result<Box<(SessionSpec, SessionSettings)>> {
        let Some((_, watch)) = &self.0 else { return Err(Error::invalid("no study is open")) };
        let resolved = open::as_on_this_machine(watch.session(group)?, now, &environment)?;
        Ok(Box::new((resolved.spec, resolved.settings)))
    }
}

/// Folders worth a look; more is typed sooner than read.
const MOST: usize = 200;

/// Folders that a path can go on to, those that hold a study first.
pub fn complete(path: &str) -> Vec<String> {
    let mut found = open::paths(path);
    found.retain(|candidate| candidate.ends_with('/') && candidate != path);
    found.truncate(MOST);
    found.sort_by_key(|folder| !Path::new(folder).join(STUDY).is_file());
    found
}

/// The thread that looks. It begins with the first question.
pub struct Studies {
    asking: Option<std::sync::mpsc::Sender<Ask>>,
    telling: tokio::sync::mpsc::UnboundedSender<Told>,
    pub told: tokio::sync::mpsc::UnboundedReceiver<Told>,
}

impl Default for Studies {
    fn default() -> Self {
        let (telling, told) = tokio::sync::mpsc::unbounded_channel();
        Self { asking: None, telling, told }
    }
}

impl Studies {
    pub fn ask(&mut self, ask: Ask) {
        let asking = match &self.asking {
            Some(asking) => asking,
            None => match self.start() {
                Ok(asking) => self.asking.insert(asking),
                Err(error) => {
                    // Nobody is left to tell only where the explorer itself has gone.
                    let _ = self.telling.send(Told::Wrong(format!("cannot start a thread: {error}")));
                    return;
                }
            },
        };
        let _ = asking.send(ask);
    }

    fn start(&self) -> std::io::Result<std::sync::mpsc::Sender<Ask>> {
        let (asking, asked) = std::sync::mpsc::channel::<Ask>();
        let telling = self.telling.clone();
        let work = move || {
            let mut looker = Looker::default();
            while let Ok(mut ask) = asked.recv() {
                // Of several looks that wait only the last one counts.
                while let Ask::Look { anew, .. } = ask
                    && let Ok(next) = asked.try_recv()
                {
                    ask = match next {
                        Ask::Look { folder, at, anew: again } => Ask::Look { folder, at, anew: anew || again },
                        session @ Ask::Session { .. } => session,
                    };
                }
                if telling.send(looker.answer(ask)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("study".into()).spawn(work)?;
        Ok(asking)
    }
}
