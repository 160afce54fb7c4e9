//! Documents packed into token rows of one length.

use candle_core::Tensor;

use crate::{
    error::{Error, Result},
    model::{Model, Tokenizer},
};

/// Bytes tokenised first for each token wanted. Text needs fewer; where it does not, more is taken.
const BYTES_PER_TOKEN: usize = 16;

/// Most bytes tokenised first, to see how many a token of this text has.
const SAMPLE: usize = 1 << 16;

/// All rows of `length` tokens that the documents fill: documents joined with BOS between them, cut, each row starting
/// with BOS. What does not fill the last row is left out. Without `bos` (or without a BOS) documents follow each other
/// directly.
pub fn rows<'a>(
    tokenizer: &Tokenizer,
    texts: impl Iterator<Item = &'a str>,
    length: usize,
    bos: bool,
) -> Result<Vec<Vec<u32>>> {
    first_rows(tokenizer, texts, length, bos, usize::MAX)
}

/// The first `limit` of [`rows`], without tokenising much more text than they need.
pub fn first_rows<'a>(
    tokenizer: &Tokenizer,
    texts: impl Iterator<Item = &'a str>,
    length: usize,
    bos: bool,
    limit: usize,
) -> Result<Vec<Vec<u32>>> {
    let mut packer = Packer::new(length, tokenizer.bos.filter(|_| bos), limit)?;
    for text in texts {
        if packer.full() {
            break;
        }
        packer.push(&encode_start(text, packer.missing(), |t| tokenizer.encode(t, false))?);
    }
    Ok(packer.rows)
}

/// Tokens of the start of `text`, at least `wanted` if it has as many. A prefix of a text has the same tokens as the
/// text but for a few at its end, so a book is not tokenised for its first page.
fn encode_start(text: &str, wanted: usize, encode: impl Fn(&str) -> Result<Vec<u32>>) -> Result<Vec<u32>> {
    const EDGE: usize = 64;
    let enough = wanted.saturating_add(EDGE);
    let mut size = enough.saturating_mul(BYTES_PER_TOKEN).min(SAMPLE);
    while size < text.len() {
        let end = (0..=size).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let mut ids = encode(&text[..end])?;
        if ids.len() >= enough {
            ids.truncate(wanted);
            return Ok(ids);
        }
        // As much as the same text takes for all of them, and a tenth more: it is not the same everywhere.
        let all = size as f64 / ids.len().max(1) as f64 * enough as f64 * 1.1;
        size = size.saturating_mul(2).max(all as usize);
    }
    encode(text)
}

/// Every id must be in the vocabulary, or the model would read beyond its embedding.
pub fn check_rows(rows: &[Vec<u32>], d_vocab: usize) -> Result<()> {
    match rows.iter().flatten().find(|&&id| id as usize >= d_vocab) {
        Some(id) => Err(Error::invalid(format!(
            "token id {id} does not exist in this model's vocabulary of {d_vocab}; the tokens were made for another model"
        ))),
        None => Ok(()),
    }
}

/// Ids of rows laid end to end, for a `[rows, length]` tensor; also their common length.
pub fn encode_ids(rows: &[Vec<u32>]) -> Result<(Vec<u32>, usize)> {
    let length = rows.first().map_or(0, Vec::len);
    if length == 0 || rows.iter().any(|r| r.len() != length) {
        return Err(Error::invalid("token rows must be of one length, at least 1"));
    }
    Ok((rows.concat(), length))
}

/// Rows of equal length as `[rows, length]` on the model's device.
pub fn token_tensor(rows: &[Vec<u32>], model: &Model) -> Result<Tensor> {
    let (ids, length) = encode_ids(rows)?;
    Ok(Tensor::from_vec(ids, (rows.len(), length), &model.device)?)
}

struct Packer {
    length: usize,
    bos: Option<u32>,
    limit: usize,
    rows: Vec<Vec<u32>>,
    row: Vec<u32>,
}

impl Packer {
    fn new(length: usize, bos: Option<u32>, limit: usize) -> Result<Self> {
        if length < 2 {
            return Err(Error::invalid(format!("rows of {length} tokens are too short; at least 2 are needed")));
        }
        Ok(Self { length, bos, limit, rows: Vec::new(), row: Vec::new() })
    }

    fn full(&self) -> bool {
        self.rows.len() >= self.limit
    }

    /// Tokens that the rows wanted still need at most.
    fn missing(&self) -> usize {
        (self.limit - self.rows.len()).saturating_mul(self.length)
    }

    fn push(&mut self, document: &[u32]) {
        let mut document = document;
        // A document that brings its own BOS needs none from us.
        if let (Some(bos), false) = (self.bos, self.row.is_empty()) {
            document = document.strip_prefix(&[bos]).unwrap_or(document);
            self.append(bos);
        }
        for &id in document {
            if self.row.is_empty()
                && let Some(bos) = self.bos
                && id != bos
            {
                self.append(bos);
            }
            self.append(id);
        }
    }

    fn append(&mut self, id: u32) {
        if self.full() {
            return;
        }
        self.row.push(id);
        if self.row.len() == self.length {
            self.rows.push(std::mem::take(&mut self.row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOS: u32 = 0;

    fn pack(documents: &[&[u32]], length: usize, bos: Option<u32>, limit: usize) -> Vec<Vec<u32>> {
        let mut packer = Packer::new(length, bos, limit).unwrap();
        documents.iter().for_each(|d| packer.push(d));
        packer.rows
    }

    #[test]
    fn rows_start_with_bos_and_documents_are_separated_by_it() {
        assert_eq!(pack(&[&[1, 2], &[3, 4, 5, 6]], 4, Some(BOS), 9), [[0, 1, 2, 0], [0, 3, 4, 5]]);
        // A separator due at the start of a row is that row's BOS.
        assert_eq!(pack(&[&[1, 2], &[3, 4], &[5]], 3, Some(BOS), 9), [[0, 1, 2], [0, 3, 4]]);
        // BOS in the text is not doubled.
        assert_eq!(pack(&[&[0, 1], &[0, 2, 3]], 4, Some(BOS), 9), [[0, 1, 0, 2]]);
        assert_eq!(pack(&[&[1, 2], &[3, 4, 5]], 2, None, 9), [[1, 2], [3, 4]]);
        assert_eq!(pack(&[&[1, 2, 3, 4, 5]], 3, Some(BOS), 1), [[0, 1, 2]]);
        assert!(pack(&[&[1]], 3, Some(BOS), 9).is_empty());
        assert!(Packer::new(1, None, 1).is_err());
    }

    #[test]
    fn a_prefix_is_enough_for_the_first_tokens() {
        let seen = std::cell::RefCell::new(Vec::new());
        // One token for 40 bytes: more than the first guess has to be taken.
        let encode = |t: &str| {
            seen.borrow_mut().push(t.len());
            Ok((0..(t.len() / 40) as u32).collect::<Vec<_>>())
        };
        let text = "ä".repeat(500_000);
        for (wanted, most) in [(100, 30_000), (5_000, 230_000)] {
            let ids = encode_start(&text, wanted, encode).unwrap();
            assert_eq!(ids, (0..wanted as u32).collect::<Vec<_>>());
            assert!(seen.borrow().iter().all(|&n| n < most), "{:?}", seen.borrow());
        }
        assert_eq!(seen.borrow().len(), 4, "what was seen of the text says how much more it takes");
        assert_eq!(encode_start("abc", usize::MAX, |t| Ok(vec![t.len() as u32])).unwrap(), [3]);
    }

    #[test]
    fn ids_are_checked() {
        assert!(check_rows(&[vec![0, 4]], 5).is_ok());
        assert!(check_rows(&[vec![0, 5]], 5).unwrap_err().to_string().contains("token id 5"));
        assert_eq!(encode_ids(&[vec![1, 2], vec![3, 4]]).unwrap(), (vec![1, 2, 3, 4], 2));
        assert!(encode_ids(&[vec![1, 2], vec![3]]).is_err() && encode_ids(&[]).is_err());
    }
}
