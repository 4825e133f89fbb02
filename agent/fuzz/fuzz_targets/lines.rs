//! What processes write.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| systole_agent::fuzzing::lines(data));
