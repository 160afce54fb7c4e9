//! Named columns of tables: `.csv`, `.jsonl`, both also as `.zst`, and `.parquet`.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde_json::Value;

use super::{
    parquet,
    record::{Record, Records, columns},
};
use crate::{
    error::{Error, Result},
    text::shorten,
};

/// Most bytes of a table, unpacked, that are read: a small packed file can hold any amount.
const MAX_BYTES: u64 = 2 << 30;
/// Longest single line or record of a table.
const MAX_RECORD: usize = 64 << 20;

/// The layouts that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Csv,
    Jsonl,
    Parquet,
}

/// Whether the name's ending is one of a table.
pub fn is_table(path: &Path) -> bool {
    kind(path).is_some()
}

/// The wanted columns of every row. A column that the file does not have is an error that lists those it has; numbers and
/// truth values come as the text they are written as.
pub fn read_records(path: &Path, wanted: &[&str]) -> Result<Vec<Record>> {
    match kind(path) {
        Some((Kind::Parquet, _)) => parquet::read(path, wanted),
        Some((kind, packed)) => {
            let file = File::open(path).map_err(|e| Error::io(path, e))?;
            let reader: Box<dyn Read> = if packed {
                Box::new(zstd::Decoder::new(file).map_err(|e| Error::io(path, e))?)
            } else {
                Box::new(file)
            };
            let reader = Limited { inner: reader, left: MAX_BYTES };
            if kind == Kind::Csv { read_csv(path, reader, wanted) } else { read_jsonl(path, reader, wanted) }
        }
        None => {
            Err(Error::file(path, "kind of table not known; expected .csv, .jsonl, .csv.zst, .jsonl.zst or .parquet"))
        }
    }
}

/// By the file name's ending, with whether it is packed.
fn kind(path: &Path) -> Option<(Kind, bool)> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let (name, packed) = match name.strip_suffix(".zst") {
        Some(name) => (name, true),
        None => (&name[..], false),
    };
    match name.rsplit('.').next()? {
        "csv" => Some((Kind::Csv, packed)),
        "jsonl" => Some((Kind::Jsonl, packed)),
        "parquet" if !packed => Some((Kind::Parquet, false)),
        _ => None,
    }
}

/// Gives an error, not an end, where more would follow.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(out)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            std::io::Error::other(format!("more than the {MAX_BYTES} bytes that are read; use a part of it"))
        })?;
        Ok(read)
    }
}

/// The same of a CSV table, wherever it is read from; errors name `path`.
pub(crate) fn read_csv(path: &Path, reader: impl Read, wanted: &[&str]) -> Result<Vec<Record>> {
    // That all rows have the header's length is checked here, to name the row.
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let failed = |error: csv::Error| {
        let row =
            error.position().filter(|p| p.record() > 0).map_or("header: ".into(), |p| format!("row {}: ", p.record()));
        let what = match error.kind() {
            csv::ErrorKind::Utf8 { err, .. } => format!("field {} is not UTF-8 text", err.field() + 1),
            csv::ErrorKind::Io(error) => error.to_string(),
            _ => error.to_string(),
        };
        Error::file(path, format!("{row}{}", shorten(&what, 200)))
    };
    let header: Vec<String> = reader.headers().map_err(failed)?.iter().map(clean_name).collect();
    let columns = columns(path, wanted, &header)?;
    let mut records = Records::default();
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(failed)? {
        let place = format!("row {}", records.len() + 1);
        if row.len() != header.len() {
            return Err(Error::file(path, format!("{place}: {} fields, the header has {}", row.len(), header.len())));
        }
        let values = columns.iter().map(|&at| row.get(at).map(str::to_owned).filter(|v| !v.is_empty())).collect();
        records.push(Record { place, values }).map_err(|what| Error::file(path, what))?;
    }
    Ok(records.into_rows())
}

/// Without the mark that some programs put before the first column's name.
fn clean_name(name: &str) -> String {
    name.trim_start_matches('\u{feff}').trim().to_owned()
}

fn read_jsonl(path: &Path, reader: impl Read, wanted: &[&str]) -> Result<Vec<Record>> {
    let mut reader = BufReader::new(reader);
    let (mut records, mut line, mut number) = (Records::default(), Vec::new(), 0);
    loop {
        line.clear();
        let read = (&mut reader).take(MAX_RECORD as u64 + 1).read_until(b'\n', &mut line);
        if read.map_err(|e| Error::io(path, e))? == 0 {
            return Ok(records.into_rows());
        }
        number += 1;
        let place = format!("line {number}");
        let failed = |what: &str| Error::file(path, format!("{place}: {}", shorten(what, 200)));
        if line.len() > MAX_RECORD {
            return Err(failed(&format!("longer than {MAX_RECORD} bytes")));
        }
        let text = std::str::from_utf8(&line).map_err(|_| failed("not UTF-8 text"))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let Value::Object(object) = serde_json::from_str(text).map_err(|e| failed(&e.to_string()))? else {
            return Err(failed("expected an object"));
        };
        let value = |name: &&str| match object.get(*name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(_) => Err(failed(&format!("{name:?} is neither text nor a number"))),
        };
        let values = wanted.iter().map(value).collect::<Result<_>>()?;
        records.push(Record { place, values }).map_err(|what| Error::file(path, what))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8], wanted: &[&str]) -> Result<Vec<Record>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_records(&path, wanted)
    }

    fn values(records: Vec<Record>) -> Vec<Vec<Option<String>>> {
        records.into_iter().map(|r| r.values).collect()
    }

    fn texts(rows: &[[Option<&str>; 2]]) -> Vec<Vec<Option<String>>> {
        rows.iter().map(|row| row.iter().map(|v| v.map(str::to_owned)).collect()).collect()
    }

    #[test]
    fn the_same_table_in_every_layout() {
        let csv = "\u{feff}label,prompt,n\r\n1,\"a \"\"b\"\"\nc\",0\r\nx,ä,\r\n";
        let jsonl =
            "{\"prompt\": \"a \\\"b\\\"\\nc\", \"label\": 1}\n\n{\"label\": \"x\", \"prompt\": \"ä\", \"z\": [1]}";
        let expected = texts(&[[Some("a \"b\"\nc"), Some("1")], [Some("ä"), Some("x")]]);
        let wanted = ["prompt", "label"];
        assert_eq!(values(read("a.csv", csv.as_bytes(), &wanted).unwrap()), expected);
        assert_eq!(values(read("a.JSONL", jsonl.as_bytes(), &wanted).unwrap()), expected);
        for (name, text) in [("a.csv.zst", csv), ("a.jsonl.zst", jsonl)] {
            let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
            assert_eq!(values(read(name, &packed, &wanted).unwrap()), expected, "{name}");
        }
        let places: Vec<_> = read("a.csv", csv.as_bytes(), &["n"]).unwrap();
        assert_eq!((&places[0].place[..], &places[1].place[..]), ("row 1", "row 2"));
        assert_eq!((places[0].values[0].as_deref(), places[1].values[0].as_deref()), (Some("0"), None));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (name, bytes, expected) in [
            ("a.csv", &b"text,label\na,1\nb\n"[..], "row 2: 1 fields, the header has 2"),
            ("a.csv", b"text,label\na,1,2\n", "row 1: 3 fields"),
            ("a.csv", b"text,label\na,1\n\xff\xfe,2\n", "row 2: field 1 is not UTF-8"),
            ("a.csv", b"txt,label\na,1\n", "no column \"text\"; found txt, label"),
            ("a.csv", b"", "no column \"text\""),
            ("a.csv", b"\xff,label\n", "header: field 1 is not UTF-8"),
            ("a.jsonl", b"{\"text\": \"a\", \"label\": 1}\n[1]\n", "line 2: expected an object"),
            ("a.jsonl", b"{\"text\": {}, \"label\": 1}\n", "line 1: \"text\" is neither"),
            ("a.jsonl", b"{\"text\": \"a\"", "line 1"),
            ("a.jsonl", b"\n\xff\n", "line 2: not UTF-8"),
            ("a.csv.zst", b"text,label\n", ""),
            ("a.parquet", b"PAR1PAR1", ""),
            ("a.parquet", b"", ""),
            ("a.parquet.zst", b"", "kind of table"),
            ("a.tsv", b"x", "expected .csv"),
        ] {
            let message = read(name, bytes, &["text", "label"]).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains(name), "{message:?} should say {expected:?}");
        }
        // A value that is missing is not an error here: whoever needs it knows what to say.
        let read = read("a.jsonl", b"{\"text\": null}\n", &["text", "label"]).unwrap();
        assert_eq!(values(read), texts(&[[None, None]]));
    }

    #[test]
    fn more_than_is_read_is_refused() {
        let mut limited = Limited { inner: &[0u8; 100][..], left: 60 };
        let mut out = [0; 50];
        assert_eq!(limited.read(&mut out).unwrap(), 50);
        assert!(limited.read(&mut out).unwrap_err().to_string().contains("bytes that are read"));
    }

    #[test]
    fn names_are_escaped() {
        let message = read("a.csv", b"\x1b[31mred,label\n", &["text"]).unwrap_err().to_string();
        assert!(!message.contains('\x1b'), "{message:?}");
    }
}
