//! Every reader of files that come from strangers, fed with bytes. A reader may refuse; it must not panic, hang, or
//! allocate more than twice its input and 64 MB.
//!
//! `cargo +nightly fuzz run TARGET` in the folder above; what is found goes, reduced, into `tests/cli/hostile/corpus`.

mod bounded;
mod readers;

use bounded::bounded;
pub use readers::*;
