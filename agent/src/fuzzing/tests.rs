//! A short, seeded run of what the fuzzers run for hours: recordings, spoilt at random.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

const METRICS: [&[u8]; 8] = [
    include_bytes!("../../testdata/vector-0.58/metrics.txt"),
    include_bytes!("../../testdata/vector-0.58/metrics-errors-buffers.txt"),
    include_bytes!("../../testdata/otelcol/metrics-0.57.txt"),
    include_bytes!("../../testdata/otelcol/metrics-0.135-first.txt"),
    include_bytes!("../../testdata/otelcol/metrics-0.135-second.txt"),
    include_bytes!("../../testdata/fluentbit/v1.txt"),
    include_bytes!("../../testdata/fluentbit/v2-first.txt"),
    include_bytes!("../../testdata/fluentbit/v2-second.txt"),
];

const LINES: [&[u8]; 2] = [
    include_bytes!("../../testdata/vector-0.58/logs.txt"),
    include_bytes!("../../testdata/vector-0.58/stdout-json.txt"),
];

/// What breaks readers of text.
const PIECES: [&[u8]; 20] = [
    b"NaN",
    b"+Inf",
    b"-Inf",
    b"-1",
    b"1e308",
    b"9.3e18",
    b"18446744073709551616",
    b"\0",
    b"\n",
    b"\r\n",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b" # {",
    b"=",
    b",",
    b"\xff\xfe",
    b"\xf0\x9f",
    b"\x1b[",
];

fn spoil(random: &mut StdRng, recordings: &[&[u8]]) -> Vec<u8> {
    let mut bytes = recordings.choose(random).unwrap().to_vec();
    for _ in 0..random.random_range(1..8) {
        let from = random.random_range(0..=bytes.len());
        let to = (from + random.random_range(0..200)).min(bytes.len());
        match random.random_range(0..6) {
            0 => bytes.truncate(from),
            1 => drop(bytes.drain(from..to)),
            2 => drop(bytes.splice(from..from, PIECES.choose(random).unwrap().iter().copied())),
            3 => drop(bytes.splice(from..to.min(from + 1), PIECES.choose(random).unwrap().iter().copied())),
            4 => {
                let copy = bytes[from..to].to_vec();
                let at = random.random_range(0..=bytes.len());
                drop(bytes.splice(at..at, copy));
            }
            _ => {
                bytes.push(BODY_END);
                bytes.extend_from_slice(recordings.choose(random).unwrap());
            }
        }
    }
    bytes
}

#[test]
fn spoilt_answers_of_metrics_endpoints_break_nothing() {
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..80 {
        metrics(&spoil(&mut random, &METRICS));
    }
}

#[test]
fn spoilt_files_of_the_spool_give_back_whole_reports_and_take_new_ones() {
    let mut random = StdRng::seed_from_u64(2);
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..1_000 {
        let length = random.random_range(0..40);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.random()).take(length).collect();
        segment(&bytes, &dir.path().join("spool"));
    }
}

#[test]
fn spoilt_names_in_directories_break_nothing() {
    const PATTERNS: [&[u8]; 8] = [b"*", b"**", b"**/*.log", b"*/[!a-c]?*", b"a/**/b/*", b"[]", b"*a*a*a*a*b", b"x.log"];
    const NAMES: [&[u8]; 10] = [
        b"x.log",
        b"caf\xe9.log",
        b"r\xe9sum\xe9.txt",
        b"a/b/x",
        b"a/\xff/b/y",
        b".h/z",
        b"\n",
        b">a/l",
        b">b/m",
        b"a*[?",
    ];
    let mut random = StdRng::seed_from_u64(4);
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..300 {
        let mut input = PATTERNS.choose(&mut random).unwrap().to_vec();
        for _ in 0..random.random_range(0..8) {
            input.push(0);
            input.extend_from_slice(NAMES.choose(&mut random).unwrap());
        }
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(0..input.len());
            input[at] = random.random();
        }
        names(&input, &dir.path().join("names"));
    }
}

#[test]
fn spoilt_output_of_processes_breaks_nothing() {
    let mut random = StdRng::seed_from_u64(3);
    for _ in 0..300 {
        lines(&spoil(&mut random, &LINES));
    }
    lines(&[[7, 0, 255, 1].as_slice(), &vec![b'x'; MAX_LOG_LINE_BYTES + 3], b"\n\r\n"].concat());
}
