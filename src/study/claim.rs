//! Who works on a group: a file on the shared folder that one process makes, renews, and loses if it dies.
//!
//! A worker that died on the machine that looks is known at once, any other by its silence.
//!
//! No locks: file systems of clusters lack them or lose them. A claim is made by creating its file, which only one process can;
//! renewed by writing a probe, whose time the file server sets; and counts as left behind once a probe of somebody else's is
//! newer by the lease. Times of one server are compared, never clocks of two machines. Two workers on one group would do the
//! same work twice, and write the same bytes.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use prunelens_core::{
    error::{Error, Result},
    files::{PREFIX, SUFFIX, create_folder, temporary_in},
    text::shorten,
};
use serde::{Deserialize, Serialize};

/// Who has a claim, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub host: String,
    pub process: u32,
    /// Slurm's, where there is one.
    pub job: Option<String>,
    /// Of the group's cells the one that is being measured.
    #[serde(default)]
    pub cell: Option<String>,
    /// Different for every claim.
    token: String,
    /// Where `process` is a number: a boot of a machine, and its space of numbers.
    machine: String,
    /// After how long without a sign the claim is lost, in seconds.
    pub lease: u64,
}

impl Owner {
    /// It was a process of this machine, and is none now. A number that was given again only makes it live longer.
    fn is_dead(&self) -> bool {
        let proc = Path::new("/proc");
        self.machine == machine() && proc.join("self").exists() && !proc.join(self.process.to_string()).exists()
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}", self.host, self.process)?;
        self.job.iter().try_for_each(|job| write!(f, ", job {job}"))?;
        f.write_str(")")
    }
}

/// Claims of one study.
#[derive(Clone, Debug)]
pub struct Claims {
    folder: PathBuf,
    lease: Duration,
}

/// A group that is this process's until this goes away.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    owner: Arc<Mutex<Owner>>,
    /// Somebody else has it now.
    lost: Arc<AtomicBool>,
    renewing: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

/// No claim is longer.
const LONGEST: u64 = 1 << 16;
/// All are so long at least: one that is written over another leaves nothing of it.
const SHORTEST: usize = 1024;
/// Claims that are looked at.
const MOST: usize = 1_000_000;

impl Claims {
    /// Of the study in `study`; a claim without a sign for `lease` is lost.
    pub fn new(study: &Path, lease: Duration) -> Self {
        Self { folder: study.join("claims"), lease }
    }

    /// To be looked at: the claims themselves say how long they hold.
    pub fn to_look_at(study: &Path) -> Self {
        Self::new(study, Duration::from_secs(120))
    }

    fn path(&self, group: &str) -> PathBuf {
        self.folder.join(format!("{group}.json"))
    }

    /// Claim a group; `None` if somebody works on it.
    pub fn take(&self, group: &str) -> Result<Option<Claim>> {
        create_folder(&self.folder)?;
        let path = self.path(group);
        let owner = Owner {
            host: hostname(),
            process: std::process::id(),
            job: job(),
            cell: None,
            token: uuid::Uuid::new_v4().simple().to_string(),
            machine: machine(),
            lease: self.lease.as_secs(),
        };
        // Once for a claim that is free, once for one that was left behind.
        for _ in 0..2 {
            match create(&path, &owner) {
                Ok(()) => return Claim::renewed(path, owner).map(Some),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(&path, error)),
            }
            if !self.set_aside(&path)? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Who works on a group, and how long ago they gave a sign; `None` if nobody does.
    pub fn holder(&self, group: &str, now: SystemTime) -> Option<(Owner, Duration)> {
        let path = self.path(group);
        let owner = read(&path).filter(|owner| !owner.is_dead())?;
        let silent = now.duration_since(self.sign(group)?).unwrap_or_default();
        (silent <= Duration::from_secs(owner.lease)).then_some((owner, silent))
    }

    /// Groups with a claim, whether somebody lives who has it or not.
    pub fn groups(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().take(MOST);
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect()
    }

    /// When the claim on a group was last renewed.
    pub fn sign(&self, group: &str) -> Option<SystemTime> {
        fs::metadata(self.path(group)).and_then(|found| found.modified()).ok()
    }

    /// Without a sign for so long a claim is lost.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// The time of the file server.
    pub fn now(&self) -> Result<SystemTime> {
        let probe = || -> io::Result<SystemTime> {
            let mut file = temporary_in(&self.folder)?;
            file.write_all(b"now")?;
            // Closed: over a network it is written by then.
            let path = file.into_temp_path();
            fs::metadata(&path)?.modified()
        };
        probe().map_err(|e| Error::io(&self.folder, e))
    }

    /// Take a claim away that was left behind. It goes under a name of its own, so that of several who try one succeeds.
    fn set_aside(&self, path: &Path) -> Result<bool> {
        let now = self.now()?;
        let Ok(sign) = fs::metadata(path).and_then(|found| found.modified()) else { return Ok(true) };
        // One that cannot be read was broken off while it was made.
        let owner = read(path);
        let lease = owner.as_ref().map_or(self.lease, |owner| Duration::from_secs(owner.lease));
        let dead = owner.is_some_and(|owner| owner.is_dead());
        if !dead && now.duration_since(sign).unwrap_or_default() <= lease {
            return Ok(false);
        }
        let aside = self.folder.join(format!("{PREFIX}{}{SUFFIX}", uuid::Uuid::new_v4().simple()));
        if fs::rename(path, &aside).is_err() {
            // Somebody else was quicker.
            return Ok(true);
        }
        let again = fs::metadata(&aside).and_then(|found| found.modified()).ok();
        if again.is_some_and(|again| again != sign) {
            // It was renewed, or made anew, in between: it goes back unless there is a new one.
            let _ = fs::hard_link(&aside, path);
            let _ = fs::remove_file(&aside);
            return Ok(false);
        }
        let _ = fs::remove_file(&aside);
        Ok(true)
    }
}

impl Claim {
    fn renewed(path: PathBuf, owner: Owner) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let lost: Arc<AtomicBool> = Arc::default();
        let every = Duration::from_secs(owner.lease).div_f64(3.0).max(Duration::from_millis(50));
        let owner = Arc::new(Mutex::new(owner));
        let (thread_path, thread_owner, thread_lost) = (path.clone(), owner.clone(), lost.clone());
        let renew = move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                if sign(&thread_path, &locked(&thread_owner)) == Signed::BySomebodyElse {
                    thread_lost.store(true, Ordering::Relaxed);
                }
            }
        };
        let thread = std::thread::Builder::new().name("claim".into()).spawn(renew);
        let thread = thread.map_err(|e| Error::invalid(format!("cannot start a thread: {e}")))?;
        Ok(Self { path, owner, lost, renewing: Some((stop, thread)) })
    }

    /// As if the process had ended in the midst of its work.
    #[cfg(test)]
    pub fn die(mut self) {
        if let Some((stop, thread)) = self.renewing.take() {
            drop(stop);
            thread.join().unwrap();
        }
        locked(&self.owner).token.clear();
    }

    /// Say which of the group's cells is being measured, to whoever looks.
    pub fn works_on(&self, cell: &str) {
        let mut owner = locked(&self.owner);
        owner.cell = Some(cell.to_owned());
        sign(&self.path, &owner);
    }

    /// Nobody took it away.
    pub fn is_held(&self) -> bool {
        !self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.renewing.take() {
            drop(stop);
            let _ = thread.join();
        }
        if read(&self.path).is_some_and(|owner| owner.token == locked(&self.owner).token) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn create(path: &Path, owner: &Owner) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(&text(owner)?)?;
    file.sync_all()
}

/// What became of a sign of life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signed {
    Here,
    /// The claim is theirs now.
    BySomebodyElse,
    /// It is gone, or not to be seen or written: whoever takes it makes a new one.
    Nowhere,
}

/// Write a claim again, if it is still this owner's. A folder that cannot be written for a while costs at most the claim.
fn sign(path: &Path, owner: &Owner) -> Signed {
    match read(path) {
        Some(there) if there.token == owner.token => {}
        Some(_) => return Signed::BySomebodyElse,
        None => return Signed::Nowhere,
    }
    let write = || -> io::Result<()> {
        let text = text(owner)?;
        let mut file = File::options().write(true).open(path)?;
        file.write_all(&text)?;
        file.set_len(text.len() as u64)?;
        file.sync_all()
    };
    if write().is_ok() { Signed::Here } else { Signed::Nowhere }
}

fn text(owner: &Owner) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(owner)?;
    text.resize(text.len().max(SHORTEST), b' ');
    Ok(text)
}

fn locked(owner: &Mutex<Owner>) -> MutexGuard<'_, Owner> {
    owner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(path: &Path) -> Option<Owner> {
    let found = fs::metadata(path).ok()?;
    if found.len() > LONGEST {
        return None;
    }
    let mut owner: Owner = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    owner.host = shorten(&owner.host, 100);
    owner.job = owner.job.map(|job| shorten(&job, 100));
    owner.cell = owner.cell.map(|cell| shorten(&cell, 200));
    owner.machine = shorten(&owner.machine, 200);
    Some(owner)
}

/// What Slurm calls this task.
fn job() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) {
        (Some(job), Some(task)) => Some(format!("{job}_{task}")),
        _ => variable("SLURM_JOB_ID"),
    }
}

fn machine() -> String {
    let boot =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| uuid::Uuid::new_v4().to_string());
    let space = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    format!("{} {space}", boot.trim())
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.unwrap_or_else(|| "host".into());
    name.trim().chars().map(|c| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' }).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(folder: &Path, lease: u64) -> Claims {
        Claims::new(folder, Duration::from_secs(lease))
    }

    /// As if the last sign was so long ago.
    fn age(claims: &Claims, group: &str, by: u64) {
        let file = File::options().write(true).open(claims.path(group)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(by)).unwrap();
    }

    #[test]
    fn one_worker_at_a_time_and_a_dead_one_loses() {
        let folder = tempfile::tempdir().unwrap();
        let claims = claims(folder.path(), 60);
        let first = claims.take("a").unwrap().unwrap();
        assert!(claims.take("a").unwrap().is_none(), "it is taken");
        assert!(claims.take("b").unwrap().is_some());
        let (owner, _) = claims.holder("a", claims.now().unwrap()).unwrap();
        assert_eq!(owner, *locked(&first.owner));
        drop(first);
        assert!(claims.holder("a", claims.now().unwrap()).is_none());
        let left = claims.take("a").unwrap().unwrap();
        age(&claims, "a", 61);
        assert!(claims.holder("a", claims.now().unwrap()).is_none(), "silent for too long");
        let second = claims.take("a").unwrap().unwrap();
        // The first one's end does not take the second's claim with it.
        drop(left);
        assert!(claims.take("a").unwrap().is_none());
        drop(second);
        let names: Vec<_> = fs::read_dir(folder.path().join("claims")).unwrap().flatten().collect();
        assert!(names.is_empty(), "{names:?}");
    }

    #[test]
    fn a_process_that_ended_here_has_no_claim() {
        let folder = tempfile::tempdir().unwrap();
        let claims = claims(folder.path(), 3600);
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let mine = claims.take("a").unwrap().unwrap();
        let theirs = |machine: String| {
            let owner = Owner { process: ended.id(), token: "other".into(), machine, ..locked(&mine.owner).clone() };
            fs::write(claims.path("b"), serde_json::to_vec(&owner).unwrap()).unwrap();
        };
        theirs("elsewhere".into());
        assert!(claims.take("b").unwrap().is_none(), "nothing is known of another machine's processes");
        theirs(machine());
        assert!(claims.holder("b", SystemTime::now()).is_none());
        assert!(claims.take("b").unwrap().is_some());
    }

    #[test]
    fn a_claim_is_renewed_and_its_loss_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let claims = claims(folder.path(), 0);
        let claim = claims.take("a").unwrap().unwrap();
        let before = fs::metadata(claims.path("a")).unwrap().modified().unwrap();
        let wait = |done: &dyn Fn() -> bool| {
            while !done() {
                std::thread::yield_now()
            }
        };
        wait(&|| fs::metadata(claims.path("a")).unwrap().modified().unwrap() > before);
        assert!(claim.is_held());
        let long = "core ".repeat(400);
        for cell in [long.as_str(), "sweep"] {
            claim.works_on(cell);
            let (owner, _) = claims.holder("a", SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(owner.cell, Some(shorten(cell, 200)));
        }
        let other = Owner { token: "other".into(), ..locked(&claim.owner).clone() };
        fs::write(claims.path("a"), serde_json::to_vec(&other).unwrap()).unwrap();
        wait(&|| !claim.is_held());
        drop(claim);
        assert!(claims.path("a").exists(), "it is the other's");
    }

    #[test]
    fn of_many_who_want_a_claim_left_behind_one_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let claims = claims(folder.path(), 60);
        fs::create_dir_all(folder.path().join("claims")).unwrap();
        for broken in ["", "{", "{}"] {
            fs::write(claims.path("a"), broken).unwrap();
            age(&claims, "a", 100);
            let take = || claims.take("a").unwrap();
            let taken: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(taken.iter().flatten().count(), 1);
        }
    }
}
