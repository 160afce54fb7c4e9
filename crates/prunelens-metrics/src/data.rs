//! Where labelled texts and entities come from: a folder, or the demo's, which are compiled into the program.

use std::path::{Path, PathBuf};

use prunelens_core::{
    data::{
        Dataset,
        entities::{EntityClass, read_classes},
        read_datasets,
    },
    demo::sets,
    error::{Error, Result},
    session::{Session, Source},
    text::safe,
};
use serde::Deserialize;

/// The value that stands for the demo's data; a folder of this name is `./demo`.
pub const DEMO: &str = "demo";

/// What a family's parameter `data` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "PathBuf")]
pub enum Data {
    /// Compiled into the program.
    Demo,
    /// As `prunelens data` writes them.
    Folder(PathBuf),
}

impl From<PathBuf> for Data {
    fn from(path: PathBuf) -> Self {
        if path == Path::new(DEMO) { Self::Demo } else { Self::Folder(path) }
    }
}

impl From<&Path> for Data {
    fn from(path: &Path) -> Self {
        path.to_path_buf().into()
    }
}

impl Data {
    /// What a session measures on where nothing else is named: its own data, which only the demo has.
    pub fn of_session(session: &Session) -> Option<Self> {
        (session.spec.model == Source::Demo).then_some(Self::Demo)
    }

    /// What was asked for, else the session's own. `what` is needed, and `how` makes it.
    pub fn chosen(asked: &Option<Self>, session: &Session, what: &str, how: &str) -> Result<Self> {
        asked.clone().or_else(|| Self::of_session(session)).ok_or_else(|| {
            Error::Usage(format!(
                "{what} are needed: give their folder as data, --data on the command line (`{how}` makes one), or {DEMO} for those built in"
            ))
        })
    }

    /// The labelled texts, or those data sets of them that are named.
    pub fn datasets(&self, wanted: &[String]) -> Result<Vec<Dataset>> {
        match self {
            Self::Demo => sets::datasets(wanted),
            Self::Folder(folder) => read_datasets(folder, wanted),
        }
    }

    /// The entities.
    pub fn classes(&self) -> Result<Vec<EntityClass>> {
        match self {
            Self::Demo => sets::classes(),
            Self::Folder(folder) => read_classes(folder),
        }
    }

    /// Where they are, for messages.
    pub fn place(&self) -> &Path {
        match self {
            Self::Demo => Path::new(DEMO),
            Self::Folder(folder) => folder,
        }
    }

    /// What a table of results says of them.
    pub fn words(&self) -> String {
        match self {
            Self::Demo => format!("{DEMO}, built in, sha256 {}", sets::digest().get(..16).unwrap_or_default()),
            Self::Folder(folder) => safe(&folder.display().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_stands_for_what_is_built_in() {
        assert_eq!(Data::from(Path::new("demo")), Data::Demo);
        let folder = Data::from(Path::new("/x/demo"));
        assert_eq!((folder.words(), folder.place()), ("/x/demo".into(), Path::new("/x/demo")));
        assert!(Data::Demo.words().starts_with("demo, built in, sha256 "));
    }
}
