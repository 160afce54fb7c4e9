//! A session: the models, the SAE in its variants and the tokenizer that one screen or one command works on.

pub mod spec;

pub use spec::{Compress, DeviceSpec, Processing, SessionSpec, Source};
