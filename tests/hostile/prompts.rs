//! Prompts that cannot be read.
