//! A small hub on the loopback: repositories of fixtures, a second address for large files as the real one has, and faults.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use serde_json::json;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// What the server knows as a good token.
pub const TOKEN: &str = "hf_aSecretThatNobodyMaySee";
/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
pub struct Repo {
    pub files: BTreeMap<String, Vec<u8>>,
    pub gated: bool,
    /// Names that are listed but not there.
    pub listed: Vec<String>,
    /// In place of `COMMIT`.
    pub commit: Option<String>,
    /// In place of the true one, for all files.
    pub etag: Option<String>,
}

impl Repo {
    /// All files of fixture folders, each under the name given with it.
    pub fn of(folders: &[(&Path, &str)]) -> Self {
        let mut repo = Self::default();
        for (folder, name) in folders {
            repo.add(folder, name);
        }
        repo
    }

    fn add(&mut self, path: &Path, name: &str) {
        if path.is_file() {
            self.files.insert(name.to_owned(), fs::read(path).unwrap());
            return;
        }
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let own = entry.file_name().into_string().unwrap();
            self.add(&entry.path(), &if name.is_empty() { own } else { format!("{name}/{own}") });
        }
    }

    pub fn with(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), bytes.into());
        self
    }
}

/// Files that the real hub keeps elsewhere.
fn is_large(name: &str) -> bool {
    !name.ends_with(".json")
}

pub fn etag(name: &str, bytes: &[u8]) -> String {
    let hash: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    // Small files are named by git's hash, which is shorter.
    if is_large(name) { hash } else { hash[..40].to_owned() }
}

/// What goes wrong with files whose name ends in the fault's name.
#[derive(Clone)]
pub enum Fault {
    /// The connection ends after this many bytes of an answer.
    Cut(usize),
    /// The size that is announced beside the answer's own.
    Size(u64),
    Status(u16),
    /// Ranges are not understood.
    Whole,
    Damaged,
    /// Each half is sent when the gate has been opened once more.
    Slow(Gate),
    /// Nothing is sent until the gate opens.
    Silent(Gate),
    /// Sends from one address to the next.
    Astray(String),
}

/// Opened by the test, waited at by the server.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    fn pass(&self, times: usize) {
        let opened = self.0.0.lock().unwrap();
        let _ = self.0.1.wait_timeout_while(opened, DEADLINE, |opened| *opened < times).unwrap();
    }
}

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// At the address of the large files.
    pub elsewhere: bool,
    pub path: String,
    pub token: Option<String>,
    pub from: usize,
}

#[derive(Default)]
struct State {
    repos: Mutex<BTreeMap<String, Repo>>,
    /// Name, fault, and how often it will happen yet.
    faults: Mutex<Vec<(String, Fault, usize)>>,
    asked: Mutex<Vec<Asked>>,
}

pub struct Server {
    state: Arc<State>,
    port: u16,
}

impl Server {
    pub fn start() -> Self {
        let state = Arc::new(State::default());
        let elsewhere = listen(state.clone(), None);
        let port = listen(state.clone(), Some(elsewhere));
        Self { state, port }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn put(&self, name: &str, repo: Repo) {
        self.state.repos.lock().unwrap().insert(name.to_owned(), repo);
    }

    pub fn fault(&self, name: &str, fault: Fault, times: usize) {
        self.state.faults.lock().unwrap().push((name.to_owned(), fault, times));
    }

    pub fn heal(&self) {
        self.state.faults.lock().unwrap().clear();
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.asked.lock().unwrap())
    }
}

/// Threads end with the test's process.
fn listen(state: Arc<State>, elsewhere: Option<u16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            thread::spawn(move || serve(&state, stream, elsewhere));
        }
    });
    port
}

fn serve(state: &State, stream: TcpStream, elsewhere: Option<u16>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (mut token, mut from) = (None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        let (name, value) = line.trim().split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "authorization" => token = Some(value.strip_prefix("Bearer ")?.to_owned()),
            "range" => from = value.strip_prefix("bytes=")?.split('-').next()?.parse().ok()?,
            _ => {}
        }
    }
    let asked = Asked { elsewhere: elsewhere.is_none(), path: decoded(&path), token, from };
    state.asked.lock().unwrap().push(asked.clone());
    answer(state, stream, &asked, elsewhere)
}

/// `%41` is `A`.
fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match (bytes[at], path.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap()
}

fn answer(state: &State, mut stream: TcpStream, asked: &Asked, elsewhere: Option<u16>) -> Option<()> {
    let mut refuse = |status: u16, code: &str| {
        // The message holds what a careless server might hold.
        let body = format!("{{\"error\": \"no: {}\"}}", asked.token.as_deref().unwrap_or_default());
        write!(
            stream,
            "HTTP/1.1 {status} No\r\nX-Error-Code: {code}\r\nX-Error-Message: {body}\r\nContent-Length: {}\r\nConnection: \
             close\r\n\r\n{body}",
            body.len()
        )
        .ok()
    };
    let api = asked.path.strip_prefix("/api/models/");
    let rest = api.or_else(|| asked.path.strip_prefix("/large/")).unwrap_or(asked.path.trim_start_matches('/'));
    let rest = rest.split('?').next()?;
    let (name, rest) = rest.match_indices('/').nth(1).map(|(at, _)| (&rest[..at], &rest[at + 1..]))?;
    let known = asked.token.as_deref() == Some(TOKEN);
    if asked.token.is_some() && !known {
        return refuse(401, "");
    }
    let Some(repo) = state.repos.lock().unwrap().get(name).cloned() else {
        return refuse(if known { 404 } else { 401 }, "RepoNotFound");
    };
    let commit = repo.commit.clone().unwrap_or(COMMIT.into());
    if api.is_some() {
        let revision = rest.strip_prefix("revision/")?;
        if ![&commit, "main", "refs/pr/1"].contains(&revision) {
            return refuse(404, "RevisionNotFound");
        }
        let listed = repo.files.iter().map(|(name, bytes)| {
            let tag = repo.etag.clone().unwrap_or(etag(name, bytes));
            let lfs = is_large(name).then(|| json!({"sha256": tag, "size": bytes.len()}));
            json!({"rfilename": name, "size": bytes.len(), "blobId": tag, "lfs": lfs})
        });
        let names = repo.listed.iter().map(|name| json!({"rfilename": name}));
        let body = json!({"sha": commit, "siblings": listed.chain(names).collect::<Vec<_>>()}).to_string();
        return write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
            .ok();
    }
    if repo.gated && !known && !asked.elsewhere {
        return refuse(401, "GatedRepo");
    }
    let file = match asked.elsewhere {
        true => rest,
        false => rest.strip_prefix("resolve/")?.strip_prefix(&format!("{commit}/"))?,
    };
    let Some(bytes) = repo.files.get(file) else { return refuse(404, "EntryNotFound") };
    let tag = repo.etag.clone().unwrap_or(etag(file, bytes));
    let redirects = is_large(file) && elsewhere.is_some();
    let fault = if redirects { announced(state, file) } else { fault(state, file) };
    if let (Some(port), true) = (elsewhere, redirects) {
        let size = if let Some(Fault::Size(size)) = fault { size } else { bytes.len() as u64 };
        let to = match fault {
            Some(Fault::Astray(to)) => to,
            _ => format!("http://127.0.0.1:{port}/large/{name}/{file}"),
        };
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nX-Linked-Etag: \"{tag}\"\r\nX-Linked-Size: {size}\r\n\
             X-Repo-Commit: {commit}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .ok();
    }
    let mut from = asked.from;
    let mut bytes = bytes.clone();
    match &fault {
        Some(Fault::Status(status)) => return refuse(*status, ""),
        Some(Fault::Whole) => from = 0,
        Some(Fault::Damaged) => bytes[0] ^= 1,
        Some(Fault::Silent(gate)) => gate.pass(1),
        _ => {}
    }
    let body = bytes.get(from..)?;
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: W/\"{tag}\"\r\nX-Repo-Commit: {commit}\r\nContent-Length: {}\r\n",
        body.len()
    )
    .ok()?;
    if from > 0 {
        write!(stream, "Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()).ok()?;
    }
    write!(stream, "Connection: close\r\n\r\n").ok()?;
    match fault {
        Some(Fault::Cut(after)) => stream.write_all(&body[..after.min(body.len())]).ok(),
        Some(Fault::Slow(gate)) => {
            let (one, two) = body.split_at(body.len() / 2);
            gate.pass(1);
            stream.write_all(one).ok()?;
            gate.pass(2);
            stream.write_all(two).ok()
        }
        _ => stream.write_all(body).ok(),
    }
}

/// The fault that strikes this answer, if one does.
fn fault(state: &State, name: &str) -> Option<Fault> {
    strike(state, name, |fault| !is_announced(fault))
}

fn announced(state: &State, name: &str) -> Option<Fault> {
    strike(state, name, is_announced)
}

/// Faults of the first of the two answers for a large file.
fn is_announced(fault: &Fault) -> bool {
    matches!(fault, Fault::Size(_) | Fault::Astray(_))
}

fn strike(state: &State, name: &str, fits: impl Fn(&Fault) -> bool) -> Option<Fault> {
    let mut faults = state.faults.lock().unwrap();
    let found =
        faults.iter_mut().find(|(of, fault, times)| name.ends_with(of.as_str()) && *times > 0 && fits(fault))?;
    found.2 -= 1;
    Some(found.1.clone())
}
