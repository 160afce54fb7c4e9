//! Texts and token rows read from files, and files written without ever losing the old ones.

pub mod command;
pub mod corpus;
pub mod entities;
pub mod labelled;
mod parquet;
pub mod records;
pub mod rows;
pub mod write;

pub use corpus::{Corpus, TokenBatch, read_corpus, read_texts, read_tokens};
pub use labelled::{Dataset, LabelledText, read_datasets};
pub use records::{Record, read_records};
pub use rows::{encode_ids, first_rows, rows};
pub use write::{create_folder, write_atomic};
