//! States of unfinished jobs on disk: one file a job, replaced whole, and a lock so that one process works on it.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use prunelens_core::{
    digest::sha256,
    error::{Error, Result},
    files::write_atomic,
    lock::Lock,
    session::Session,
    text::shorten,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Defaults, Family, JobSpec, fingerprint};

/// What a checkpoint begins with: a line of JSON; the job's state follows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The job that was asked for.
    pub spec: JobSpec,
    /// The same with what was changed to make it fit, such as a smaller batch: the state is of this one.
    pub fitted: JobSpec,
    /// What the outcome depends on beside the parameters.
    pub session: Value,
    /// What the files that the parameters name hold.
    pub files: Value,
    /// How far it was.
    #[serde(flatten)]
    pub known: SavedProgress,
    /// When it was written, in milliseconds since 1970; for people only.
    pub saved: u64,
    /// Of the state.
    bytes: u64,
    sha256: String,
}

/// How far a saved job was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedProgress {
    /// 0 to 1.
    pub share: f64,
    /// Of work until then.
    pub seconds: f64,
    /// Nothing is left to do but to write the results.
    pub finished: bool,
}

/// A header, and the state after it.
pub struct Saved {
    /// What the file says of itself.
    pub header: Header,
    /// For [`Job::restore`](crate::Job::restore).
    pub state: Vec<u8>,
}

/// No header is anywhere near this long.
const LONGEST_HEADER: u64 = 4 << 20;
/// Checkpoints that are looked through when listing.
const MOST: usize = 1000;
const EXTENSION: &str = "job";

/// The folder of all checkpoints.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    locked: bool,
}

impl Checkpoints {
    /// Files of unfinished jobs lie in `folder`; `locked`: a claim keeps other processes away.
    pub fn new(folder: impl Into<PathBuf>, locked: bool) -> Self {
        Self { folder: folder.into(), locked }
    }

    /// Those of the jobs of a session, whose files are looked at once.
    pub fn of<'a>(&'a self, session: &'a Session) -> SessionCheckpoints<'a> {
        SessionCheckpoints { all: self, of: session, session: fingerprint::of_session(session) }
    }

    /// Take a job's checkpoint, which need not exist yet, for this process alone.
    pub fn claim(&self, family: &Family, spec: &JobSpec, session: &Session) -> Result<Claim> {
        self.of(session).claim(family, spec)
    }

    /// How far a job was when it was last saved, whatever its session: where a folder's jobs are all of one.
    pub fn share(&self, spec: &JobSpec) -> Option<f64> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().take(MOST);
        let paths = entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == EXTENSION));
        let headers = paths.filter_map(|path| read_header(&mut BufReader::new(File::open(path).ok()?)).ok());
        let of_it = headers.filter(|header| header.spec == *spec);
        of_it.max_by_key(|header| header.saved).map(|header| header.known.share.clamp(0.0, 1.0))
    }

    /// Unfinished jobs of a session that nobody works on now, the one saved last first; and what cannot be read, of whatever job.
    pub fn unfinished(&self, families: &[Family], session: &Session) -> (Vec<Header>, Vec<Error>) {
        let known = fingerprint::of_session(session);
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let paths = entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == EXTENSION));
        let mut spoilt = Vec::new();
        let mut fits = |path: &Path| -> Option<Header> {
            let header = match read_header(&mut BufReader::new(File::open(path).ok()?)) {
                Ok(header) => header,
                // While it is locked it is being written, or about to be.
                Err(why) if !Lock::is_held(&path.with_extension("lock")) => {
                    let what =
                        format!("a job's saved state cannot be read ({why}); start the job anew, or remove the file");
                    spoilt.push(Error::file(path, what));
                    return None;
                }
                Err(_) => return None,
            };
            let family = header.spec.family(families).ok()?;
            let canonical = Defaults::of(family, session).canonical(&header.spec);
            let same = header.session == known && header.files == fingerprint::of_files(family, &canonical);
            (same && !Lock::is_held(&path.with_extension("lock"))).then_some(header)
        };
        let mut all: Vec<Header> = paths.take(MOST).filter_map(|path| fits(&path)).collect();
        all.sort_by_key(|header| std::cmp::Reverse(header.saved));
        (all, spoilt)
    }
}

/// The checkpoints of one session's jobs.
pub struct SessionCheckpoints<'a> {
    all: &'a Checkpoints,
    of: &'a Session,
    session: Value,
}

impl SessionCheckpoints<'_> {
    /// Take a job's checkpoint, which need not exist yet, for this process alone.
    pub fn claim(&self, family: &Family, spec: &JobSpec) -> Result<Claim> {
        let defaults = Defaults::of(family, self.of);
        self.claim_of(fingerprint::of_files(family, &defaults.canonical(spec)), spec, defaults)
    }

    /// The same of one job that does the work of several; in lists it goes by the first of them.
    pub fn claim_joined(&self, family: &Family, specs: &[&JobSpec]) -> Result<Claim> {
        let first = specs.first().ok_or_else(|| Error::invalid("no jobs to do together"))?;
        let files = json!({ "files": fingerprint::of_files(family, first), "joined": specs });
        self.claim_of(files, first, Defaults::of(family, self.of))
    }

    /// How far a job is that was begun by itself.
    pub fn known(&self, family: &Family, spec: &JobSpec) -> Option<SavedProgress> {
        let claim = self.claim(family, spec).ok()?;
        let header = read_header(&mut BufReader::new(File::open(&claim.path).ok()?)).ok()?;
        claim.is_of(&header.spec).then_some(header.known)
    }

    fn claim_of(&self, files: Value, spec: &JobSpec, defaults: Defaults) -> Result<Claim> {
        let Checkpoints { folder, locked } = self.all;
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let canonical = defaults.canonical(spec);
        let path = folder.join(fingerprint::key(&canonical, &self.session, &files)).with_extension(EXTENSION);
        let lock = if *locked { lock(&path.with_extension("lock"), spec)? } else { None };
        Ok(Claim { path, _lock: lock, spec: spec.clone(), defaults, session: self.session.clone(), files })
    }
}

/// A checkpoint that belongs to this process until this goes away, whatever ends the process.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: Option<Lock>,
    spec: JobSpec,
    defaults: Defaults,
    session: Value,
    files: Value,
}

impl Claim {
    /// Whether a job is this one, whichever of its defaults are spelled out.
    fn is_of(&self, spec: &JobSpec) -> bool {
        self.defaults.canonical(spec) == self.defaults.canonical(&self.spec)
    }

    /// The file, which need not exist.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was saved, if anything was.
    pub fn load(&self) -> Result<Option<Saved>> {
        let file = match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| Error::io(&self.path, e))?,
        };
        let broken = |what: String| Error::file(&self.path, format!("not a whole checkpoint ({what})"));
        let mut reader = BufReader::new(file);
        let header = read_header(&mut reader).map_err(broken)?;
        let mut state = Vec::new();
        reader.take(header.bytes.saturating_add(1)).read_to_end(&mut state).map_err(|e| Error::io(&self.path, e))?;
        if state.len() as u64 != header.bytes || sha256(&state) != header.sha256 {
            return Err(broken(format!("{} bytes of state, {} were written", state.len(), header.bytes)));
        }
        if !self.is_of(&header.spec) || header.session != self.session || header.files != self.files {
            return Err(broken("it is of another job".into()));
        }
        Ok(Some(Saved { header, state }))
    }

    /// Save a state; the file is the old one or the new one, whatever happens in between.
    pub fn save(&self, fitted: &JobSpec, known: SavedProgress, state: &[u8]) -> Result<()> {
        let header = Header {
            spec: self.spec.clone(),
            fitted: fitted.clone(),
            session: self.session.clone(),
            files: self.files.clone(),
            known,
            saved: millis(),
            bytes: state.len() as u64,
            sha256: sha256(state),
        };
        let mut bytes = serde_json::to_vec(&header)
            .map_err(|e| Error::file(&self.path, format!("the checkpoint cannot be written: {e}")))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(state);
        write_atomic(&self.path, &bytes)
    }

    /// Nothing is left to go on from.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&self.path, e)),
            _ => Ok(()),
        }
    }
}

/// Milliseconds since 1970; a clock before that counts as then.
pub fn millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX))
}

fn read_header(reader: &mut impl BufRead) -> Result<Header, String> {
    let mut line = Vec::new();
    reader.take(LONGEST_HEADER).read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
    serde_json::from_slice(&line).map_err(|e| shorten(&e.to_string(), 200))
}

/// The lock of a checkpoint.
fn lock(path: &Path, spec: &JobSpec) -> Result<Option<Lock>> {
    Lock::take(path, || {
        Error::invalid(format!(
            "another prunelens works on this very job ({}, same parameters, same session): wait until it is done, or change a parameter",
            spec.family
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParamValue;

    fn claim(folder: &Path) -> Result<Claim> {
        let spec = JobSpec::new("core").with("rows", ParamValue::Number(8.0));
        let path = folder.join("core-1.job");
        Ok(Claim {
            _lock: lock(&path.with_extension("lock"), &spec)?,
            path,
            spec,
            defaults: Defaults::default(),
            session: "s".into(),
            files: Value::Null,
        })
    }

    #[test]
    fn a_state_comes_back_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let claim = claim(folder.path()).unwrap();
        assert!(claim.load().unwrap().is_none());
        let state: Vec<u8> = (0..=255).chain(*b"\n\n").collect();
        let fitted = claim.spec.clone().with("batch", ParamValue::Number(2.0));
        let known = SavedProgress { share: 0.43, seconds: 12.5, finished: true };
        claim.save(&fitted, known, &state).unwrap();
        let saved = claim.load().unwrap().unwrap();
        assert_eq!((saved.state, saved.header.known), (state, known));
        assert_eq!((&saved.header.fitted, &saved.header.spec), (&fitted, &claim.spec));
        claim.clear().unwrap();
        claim.clear().unwrap();
        assert!(claim.load().unwrap().is_none());
        drop(claim);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no lock is left");
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = claim(folder.path()).unwrap();
        let message = claim(folder.path()).unwrap_err().to_string();
        assert!(message.contains("another prunelens") && message.contains("core"), "{message}");
        assert!(Lock::is_held(&first.path.with_extension("lock")));
        drop(first);
        // A lock file that a killed process left does not bind.
        fs::write(folder.path().join("core-1.lock"), b"").unwrap();
        assert!(!Lock::is_held(&folder.path().join("core-1.lock")));
        claim(folder.path()).unwrap();
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let claim = claim(folder.path()).unwrap();
        let known = SavedProgress { share: 0.5, seconds: 1.0, finished: false };
        claim.save(&claim.spec.clone(), known, &[7; 100]).unwrap();
        let whole = fs::read(claim.path()).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let longer = [&whole[..], b"x"].concat();
        for bytes in [&whole[..whole.len() - 1], &flipped, &longer, b"", b"{}\n", b"\xff\n", &whole[..20]] {
            fs::write(claim.path(), bytes).unwrap();
            let message = claim.load().err().unwrap().to_string();
            assert!(message.contains("not a whole checkpoint"), "{message}");
        }
    }
}
