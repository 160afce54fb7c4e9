//! `prunelens prune`: a pruned checkpoint or SAE as files.

mod folder;
mod report;
mod tensors;
