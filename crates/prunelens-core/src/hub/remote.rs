//! What is asked of the hub's server, and what its answers mean.

use std::io::{self, Read};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::{
    Agent, Body, Timeout,
    http::{Response, Uri, header},
};

use super::{HubId, HubSettings, id::is_inside};
use crate::error::Error;

/// Why something did not arrive.
pub enum Problem {
    /// May pass: worth another attempt.
    Passing(String),
    Final(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// A revision of a repository.
pub struct Info {
    pub commit: String,
    pub files: Vec<Listed>,
}

/// What the listing says of a file.
#[derive(Clone, Debug)]
pub struct Listed {
    pub name: String,
    pub size: Option<u64>,
    pub etag: Option<String>,
}

/// A file that begins to arrive.
pub struct Arriving {
    pub etag: Option<String>,
    /// Of the whole file, as far as the server says.
    pub size: Option<u64>,
    /// The position of the first byte.
    pub start: u64,
    pub body: Box<dyn Read>,
}

/// The listing of a repository with a hundred thousand files is shorter.
const LONGEST_ANSWER: u64 = 64 << 20;
const REDIRECTS: usize = 6;
/// What may stand in a path of a URL as it is.
const SEGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: AsciiSet = SEGMENT.remove(b'/');

pub struct Remote<'a> {
    agent: Agent,
    settings: &'a HubSettings,
    endpoint: Uri,
}

impl<'a> Remote<'a> {
    pub fn new(settings: &'a HubSettings) -> Result<Self, Error> {
        let endpoint: Option<Uri> = settings.endpoint.parse().ok();
        let web = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        let endpoint = endpoint.filter(web).ok_or_else(|| {
            Error::invalid("HF_ENDPOINT is not a web address; expected one such as https://huggingface.co")
        })?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Followed here: the token goes to the endpoint and to nobody else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("prunelens/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(settings.patience))
            .timeout_connect(Some(settings.patience))
            .timeout_per_read(Some(settings.patience))
            .timeout_per_write(Some(settings.patience))
            .build()
            .into();
        Ok(Self { agent, settings, endpoint })
    }

    /// The server's name, as in messages.
    pub fn host(&self) -> &str {
        self.endpoint.host().unwrap_or_default()
    }

    /// What the revision is and which files it has.
    pub fn info(&self, id: &HubId) -> Result<Info, Problem> {
        // A branch may have a slash in its name.
        let revision = utf8_percent_encode(id.revision(), &SEGMENT);
        let url = format!("{}/api/models/{}/revision/{revision}?blobs=true", self.settings.endpoint, id.repo);
        let answer = self.get(id, &url, 0)?.response;
        if !answer.status().is_success() {
            return Err(self.refused(id, None, &answer));
        }
        let mut bytes = Vec::new();
        let mut body = answer.into_body().into_reader().take(LONGEST_ANSWER + 1);
        body.read_to_end(&mut bytes).map_err(|e| self.broken(&e))?;
        let strange = |why: &str| {
            let host = self.host();
            Problem::Final(Error::invalid(format!("{id}: {host} gave an answer that is not the hub's: {why}")))
        };
        if bytes.len() as u64 > LONGEST_ANSWER {
            return Err(strange("it is longer than 64 MiB"));
        }
        let json: Value = serde_json::from_slice(&bytes).map_err(|_| strange("it is not JSON"))?;
        let commit = json.get("sha").and_then(Value::as_str).ok_or_else(|| strange("it names no commit"))?;
        let files = json.get("siblings").and_then(Value::as_array).ok_or_else(|| strange("it lists no files"))?;
        Ok(Info { commit: commit.to_owned(), files: files.iter().filter_map(listed).collect() })
    }

    /// A file from the byte `from` on; all of it where the server cannot do that.
    pub fn open(&self, id: &HubId, commit: &str, name: &str, from: u64) -> Result<Arriving, Problem> {
        let path = utf8_percent_encode(name, &PATH);
        let commit = utf8_percent_encode(commit, &PATH);
        let url = format!("{}/{}/resolve/{commit}/{path}", self.settings.endpoint, id.repo);
        let Got { response, linked_etag, linked_size } = self.get(id, &url, from)?;
        let header = |name: header::HeaderName| response.headers().get(name)?.to_str().ok();
        let length = header(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let (start, size) = match response.status().as_u16() {
            200 => (0, length),
            206 => match header(header::CONTENT_RANGE).and_then(content_range) {
                Some((start, size)) if start == from => (start, size),
                _ => return Err(Problem::Passing("the server sent another part than asked for".into())),
            },
            _ => return Err(self.refused(id, Some(name), &response)),
        };
        let etag = linked_etag.or_else(|| header(header::ETAG).map(plain_etag));
        Ok(Arriving { etag, size: linked_size.or(size), start, body: Box::new(response.into_body().into_reader()) })
    }

    /// GET, along redirects.
    fn get(&self, id: &HubId, url: &str, from: u64) -> Result<Got, Problem> {
        let astray = |why: &str| Problem::Final(Error::invalid(format!("{id}: {} {why}", self.host())));
        let mut uri: Uri = url.parse().map_err(|_| astray("cannot be asked for this name"))?;
        let (mut linked_etag, mut linked_size) = (None, None);
        for _ in 0..REDIRECTS {
            let mut request = self.agent.get(&uri);
            if let Some(token) = self.settings.token.as_ref().filter(|_| same_server(&uri, &self.endpoint)) {
                request = request.header(header::AUTHORIZATION, token.header());
            }
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let response = request.call().map_err(|e| self.unreachable(id, &uri, &e))?;
            let header = |name: &str| response.headers().get(name)?.to_str().ok();
            linked_etag = linked_etag.or_else(|| header("x-linked-etag").map(plain_etag));
            linked_size = linked_size.or_else(|| header("x-linked-size")?.parse().ok());
            if !response.status().is_redirection() {
                return Ok(Got { response, linked_etag, linked_size });
            }
            let next = header("location").and_then(|location| resolve(&uri, location));
            uri = next.ok_or_else(|| astray("sends to an address that is none"))?;
        }
        Err(astray("sends from one address to the next without end"))
    }

    /// The server has answered, and not with what was asked for.
    fn refused(&self, id: &HubId, name: Option<&str>, response: &Response<Body>) -> Problem {
        let HubSettings { endpoint, token, .. } = self.settings;
        let host = self.host();
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let repo = &id.repo;
        let give = format!("set HF_TOKEN to a token of your account ({endpoint}/settings/tokens)");
        let absent = || {
            let private =
                if token.is_some() { "it is private and the token does not reach it" } else { "it is private" };
            let more = if token.is_some() { String::new() } else { format!("; for a private one {give}") };
            format!("{repo}: there is no such repository at {host}, or {private}; check its name{more}")
        };
        let text = match (response.status().as_u16(), code) {
            (_, "RepoNotFound") => absent(),
            (_, "GatedRepo") | (403, _) if token.is_some() => format!(
                "{repo}: access is restricted, and the account of the token that is set has none; ask for it, or accept \
                 the terms, at {endpoint}/{repo}"
            ),
            (_, "GatedRepo") | (403, _) => {
                format!("{repo}: access is restricted; accept its terms at {endpoint}/{repo}, then {give}")
            }
            (401, _) if token.is_some() => {
                format!("{repo}: {host} does not accept the token that is set; {give}, one that is still valid")
            }
            (401, _) => format!(
                "{repo}: {host} wants to know who asks: it is gated, private or does not exist; check its name, accept \
                 its terms at {endpoint}/{repo} if it has any, and {give}"
            ),
            (404, "RevisionNotFound") => no_revision(id),
            (404, _) => match name {
                Some(name) => {
                    format!("{repo}: the file {name} is listed, but {host} does not have it; try again later")
                }
                None if id.revision.is_some() => format!("{}, or no such repository", no_revision(id)),
                None => absent(),
            },
            (429, _) => return Problem::Passing(format!("{host} asks to wait (too many requests)")),
            // What is there of the file is longer than the file: begin anew.
            (416, _) => return Problem::Passing("the server has no such part of the file".into()),
            (status @ 500.., _) => return Problem::Passing(format!("{host} is in trouble (status {status})")),
            (status, _) => format!("{repo}: {host} answered with status {status}; check HF_ENDPOINT and the name"),
        };
        Problem::Final(Error::invalid(text))
    }

    /// No answer. Only the server's name is told: addresses of downloads may hold signatures.
    fn unreachable(&self, id: &HubId, uri: &Uri, error: &ureq::Error) -> Problem {
        let host = uri.host().unwrap_or_default();
        match error {
            ureq::Error::Io(e) if is_passing(e) => Problem::Passing(format!("the connection to {host} was lost ({e})")),
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Problem::Final(Error::invalid(format!(
                "{id}: {host} cannot be reached in time; check the network and the proxy, or give a local folder"
            ))),
            ureq::Error::Timeout(_) => Problem::Passing(format!("{host} does not answer")),
            ureq::Error::Protocol(_) => Problem::Passing(format!("{host} sent what is not HTTP")),
            other => Problem::Final(Error::invalid(format!(
                "{id}: {host} cannot be reached ({}); check the network and the proxy, or give a local folder",
                crate::text::shorten(&other.to_string(), 120)
            ))),
        }
    }

    /// An answer that ended too early.
    pub fn broken(&self, error: &io::Error) -> Problem {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
        let why = if matches!(inner, Some(ureq::Error::Timeout(_))) { "stalled" } else { "was cut" };
        Problem::Passing(format!("the connection {why}"))
    }
}

struct Got {
    response: Response<Body>,
    linked_etag: Option<String>,
    linked_size: Option<u64>,
}

fn no_revision(id: &HubId) -> String {
    format!("{}: there is no revision {:?}; check the name after the @", id.repo, id.revision())
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof)
}

/// Scheme, host and port: another port may be another's.
fn same_server(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    a.scheme() == b.scheme()
        && a.host().map(str::to_ascii_lowercase) == b.host().map(str::to_ascii_lowercase)
        && port(a) == port(b)
}

/// Where a redirect leads; never from TLS to plain text.
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let next: Uri = if location.starts_with("//") {
        format!("{}:{location}", from.scheme_str()?).parse().ok()?
    } else if location.starts_with('/') {
        format!("{}://{}{location}", from.scheme_str()?, from.authority()?).parse().ok()?
    } else {
        location.parse().ok()?
    };
    let kept = match next.scheme_str()? {
        "https" => true,
        "http" => from.scheme_str() == Some("http"),
        _ => false,
    };
    (kept && next.host().is_some()).then_some(next)
}

/// `W/"abc"` and `"abc"` are `abc`.
fn plain_etag(etag: &str) -> String {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"').to_owned()
}

/// `bytes 5-9/10`: the first byte and the size of all.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()))
}

fn listed(file: &Value) -> Option<Listed> {
    let lfs = file.get("lfs");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    Some(Listed {
        // A name that leads elsewhere is none.
        name: text(file.get("rfilename")).filter(|name| is_inside(name))?,
        size: file.get("size").or_else(|| lfs?.get("size")).and_then(Value::as_u64),
        etag: text(lfs.and_then(|lfs| lfs.get("sha256"))).or_else(|| text(file.get("blobId"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_web() {
        let from: Uri = "https://hub.test/a/b?c".parse().unwrap();
        let to = |location: &str| resolve(&from, location).map(|uri| uri.to_string());
        assert_eq!(to("/x/y?z").unwrap(), "https://hub.test/x/y?z");
        assert_eq!(to("https://cdn.test/x").unwrap(), "https://cdn.test/x");
        assert_eq!(to("//cdn.test/x").unwrap(), "https://cdn.test/x");
        for bad in ["http://hub.test/x", "file:///etc/passwd", "x/y", "", "ftp://hub.test/"] {
            assert_eq!(to(bad), None, "{bad}");
        }
    }

    #[test]
    fn another_port_is_another_server() {
        let same = |a: &str, b: &str| same_server(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://Hub.test/a", "https://hub.test:443/b"));
        assert!(!same("https://hub.test/a", "http://hub.test/a"));
        assert!(!same("http://hub.test:1/a", "http://hub.test:2/a"));
        assert!(!same("https://hub.test.evil/a", "https://hub.test/a"));
    }

    #[test]
    fn headers() {
        assert_eq!(plain_etag("W/\"abc\""), "abc");
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("lines 1-2/3"), None);
    }
}
