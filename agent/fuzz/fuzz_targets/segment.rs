//! Files that a crash, or a disk, left in the spool.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let dir = std::env::temp_dir().join(format!("systole-fuzz-segment-{}", std::process::id()));
    systole_agent::fuzzing::segment(data, &dir);
});
