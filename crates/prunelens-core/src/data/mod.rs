//! Texts and token rows read from files.

pub mod corpus;
pub mod entities;
pub mod frame;
pub mod labelled;
mod parquet;
mod record;
pub mod records;
pub mod rows;

pub use corpus::{Corpus, TokenBatch, read_corpus, read_texts, read_tokens};
pub use labelled::{Dataset, LabelledText, read_datasets};
pub use record::Record;
pub use records::read_records;
pub use rows::{encode_ids, first_rows, rows, token_tensor};
