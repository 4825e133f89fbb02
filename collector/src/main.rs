//! `systole-collector`: takes the agents' reports exactly once and streams what happens.

#![forbid(unsafe_code)]

fn main() {}
