//! Explanations of latents as Neuronpedia exports them: a line of JSON each, with `layer`, `index` and `description`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;
use prunelens_core::error::{Error, Result};
use serde::Deserialize;

use crate::{safe, tui::state::Explained};

/// What gzip begins with.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// A line may carry an embedding of its text beside it.
const LONGEST_LINE: u64 = 4 << 20;
/// Bytes of a packed file that are read.
const UNPACKED: u64 = 4 << 30;
/// Lines read; no dictionary is larger.
const LINES: usize = 2_000_000;
/// Cells of a text that are kept.
const KEPT: usize = 160;

/// What is used of a line. Numbers may stand there as text.
#[derive(Deserialize)]
struct Line {
    layer: serde_json::Value,
    index: serde_json::Value,
    description: Option<String>,
    #[serde(rename = "modelId")]
    model: Option<String>,
}

/// Explanations of latents of a dictionary of `d_sae` that reads in `layer`.
pub fn read(path: &Path, layer: usize, d_sae: usize) -> Result<Explained> {
    let mut file = BufReader::new(File::open(path).map_err(|e| Error::io(path, e))?);
    // As they are downloaded.
    let packed = file.fill_buf().map_err(|e| Error::io(path, e))?.starts_with(GZIP);
    let mut reader: Box<dyn BufRead> =
        if packed { Box::new(BufReader::new(MultiGzDecoder::new(file).take(UNPACKED))) } else { Box::new(file) };
    let mut texts = BTreeMap::new();
    let (mut from, mut bare, mut elsewhere) = (None::<(String, String)>, None, None);
    let mut line = Vec::new();
    for n in 1..=LINES {
        line.clear();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(|e| Error::io(path, e))?;
        if read == 0 {
            break;
        }
        let wrong = |what: &str| Error::file(path, format!("line {n}: {what}"));
        if read as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            return Err(wrong("longer than 4 MiB; expected a JSON object a line, with layer, index and description"));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_slice(&line)
            .map_err(|e| wrong(&format!("{e}; expected a JSON object with layer, index and description")))?;
        let of = layer_of(&line.layer).ok_or_else(|| wrong("layer is neither a number nor begins with one"))?;
        let index = number(&line.index).ok_or_else(|| wrong("index is not the number of a latent"))?;
        let name = line.layer.as_str().map_or_else(|| of.to_string(), str::to_owned);
        if of != layer {
            elsewhere.get_or_insert(name);
            continue;
        }
        let source = line.model.map(|model| format!("{model}/")).unwrap_or_default() + &name;
        // Sources of one layer are dictionaries of their own: residual stream, MLP, attention, widths.
        let is_bare = line.layer.is_u64();
        match &from {
            Some((first, _)) if *first != name && !is_bare => {
                return Err(wrong(&format!(
                    "explains latents of {}, those before it are of {}: give the lines of one source",
                    safe::line(&name),
                    safe::line(first)
                )));
            }
            None if !is_bare => from = Some((name, source)),
            _ if is_bare => drop(bare.get_or_insert(source)),
            _ => {}
        }
        let Some(text) = line.description.filter(|text| !text.trim().is_empty()) else { continue };
        if let Some(latent) = u32::try_from(index).ok().filter(|latent| (*latent as usize) < d_sae) {
            let text = safe::cut(safe::line(text.trim()).as_str(), KEPT, false);
            // The first is the one that Neuronpedia shows.
            texts.entry(latent).or_insert(text);
        }
    }
    match (from, elsewhere) {
        (from, _) if !texts.is_empty() => {
            let source = from.map(|(_, source)| source).or(bare).unwrap_or_else(|| layer.to_string());
            let from = format!("Neuronpedia {}", safe::cut(&safe::line(&source), 40, false));
            Ok(Explained { from, texts })
        }
        (None, Some(other)) => Err(Error::file(
            path,
            format!("explains layer {}; the SAE reads layer {layer}: take the file of that layer", safe::line(&other)),
        )),
        _ => Err(Error::file(path, format!("explains no latent of this SAE, which has {d_sae}"))),
    }
}

fn number(value: &serde_json::Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// `6`, `"6"` or `"6-res-jb"`.
fn layer_of(value: &serde_json::Value) -> Option<usize> {
    let number = |text: &str| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..digits].parse().ok()
    };
    value.as_u64().map(|layer| layer as usize).or_else(|| number(value.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(text: impl AsRef<[u8]>) -> std::result::Result<Explained, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("batch-0.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path, 6, 100).map_err(|e| e.to_string())
    }

    #[test]
    fn neuronpedias_lines_are_read() {
        let found = explained(concat!(
            r#"{"modelId":"gpt2-small","layer":"6-res-jb","index":"7","description":" references to \u001b[31mnavies","embedding":[1,2]}"#,
            "\n\n",
            r#"{"modelId":"gpt2-small","layer":"6-res-jb","index":"7","description":"another"}"#,
            "\n",
            r#"{"layer":6,"index":8,"description":"ships"}"#,
            "\n",
            r#"{"layer":"6-res-jb","index":"9","description":null}"#,
            "\n",
            r#"{"layer":"6-res-jb","index":"100","description":"beyond the dictionary"}"#,
            "\n",
            r#"{"layer":"7-res-jb","index":"10","description":"another layer"}"#,
        ))
        .unwrap();
        assert_eq!(found.from, "Neuronpedia gpt2-small/6-res-jb");
        let texts: Vec<_> = found.texts.iter().map(|(latent, text)| (*latent, text.as_str())).collect();
        assert_eq!(texts, [(7, "references to \\x1b[31mnavies"), (8, "ships")]);
    }

    #[test]
    fn one_source_is_read_as_it_is_downloaded() {
        let line = |source: &str, index: usize| {
            format!(
                "{{\"modelId\":\"gpt2-small\",\"layer\":\"{source}\",\"index\":\"{index}\",\"description\":\"x\"}}\n"
            )
        };
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, (line("6-res-jb", 1) + &line("6-res-jb", 2)).as_bytes()).unwrap();
        let found = explained(packed.finish().unwrap()).unwrap();
        assert_eq!((found.texts.len(), found.from.as_str()), (2, "Neuronpedia gpt2-small/6-res-jb"));
        let why = explained(line("6-res-jb", 1) + &line("6-mlp-oai", 1)).unwrap_err();
        assert!(why.contains("6-mlp-oai") && why.contains("6-res-jb") && why.contains("line 2"), "{why}");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("[1, 2]", "line 1"),
            (r#"{"layer":"res","index":"7","description":"x"}"#, "neither a number"),
            (r#"{"layer":"6","index":"-7","description":"x"}"#, "not the number of a latent"),
            (r#"{"layer":"8-res-jb","index":"7","description":"x"}"#, "explains layer 8-res-jb; the SAE reads layer 6"),
            (r#"{"layer":"6","index":"700","description":"x"}"#, "no latent of this SAE"),
            ("", "no latent of this SAE"),
        ] {
            let error = explained(text).unwrap_err();
            assert!(error.contains(expected) && error.contains("batch-0.jsonl"), "{error}");
        }
    }

    #[test]
    fn long_texts_are_cut_and_lines_are_bounded() {
        let long = format!(r#"{{"layer":6,"index":1,"description":"{}"}}"#, "navy ".repeat(1000));
        let text = &explained(&long).unwrap().texts[&1];
        assert_eq!(safe::width(text), KEPT);
        let endless = "x".repeat(LONGEST_LINE as usize + 1);
        assert!(explained(&endless).unwrap_err().contains("longer than 4 MiB"));
    }
}
