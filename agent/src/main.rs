//! `systole-agent`: keeps the data pipelines of a node running and reports how they do.

#![forbid(unsafe_code)]

fn main() {}
