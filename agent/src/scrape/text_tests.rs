use proptest::prelude::*;

use super::*;

type Owned = (String, Vec<(String, String)>, f64);

fn all(body: &[u8]) -> (Vec<Owned>, u64) {
    in_chunks(body.chunks(body.len().max(1)))
}

fn in_chunks<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> (Vec<Owned>, u64) {
    let mut samples = Vec::new();
    let mut take = |sample: Sample<'_>| {
        let labels = sample.labels.iter().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
        samples.push((sample.name.to_owned(), labels, sample.value));
    };
    let mut reader = TextReader::default();
    for chunk in chunks {
        reader.push(chunk, &mut take);
        assert!(reader.begun.len() <= MAX_LINE_BYTES + 1);
    }
    let garbage = reader.finish(&mut take);
    (samples, garbage)
}

fn one(line: &str) -> Owned {
    let (mut samples, garbage) = all(line.as_bytes());
    assert_eq!((samples.len(), garbage), (1, 0), "{line}");
    samples.remove(0)
}

fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn sample_parses_with_and_without_labels_and_time() {
    assert_eq!(one("up 1"), ("up".into(), vec![], 1.0));
    assert_eq!(one("up{} 1 1795198968000"), ("up".into(), vec![], 1.0));
    assert_eq!(one("a_total{x=\"1\",y=\"\"} 2.5e3 -5"), ("a_total".into(), labels(&[("x", "1"), ("y", "")]), 2500.0));
    assert_eq!(one("  a { x = \"1\" , } 7  "), ("a".into(), labels(&[("x", "1")]), 7.0));
    assert_eq!(one("a_bucket{le=\"+Inf\"} 3 # {trace=\"x\"} 0.5").2, 3.0);
}

#[test]
fn label_escapes_are_resolved_and_braces_kept() {
    let (_, found, _) = one(r#"a{path="C:\\x",say="\"hi\"",two="a\nb",odd="\d",brace="}{,="} 1"#);
    let expected = [("path", "C:\\x"), ("say", "\"hi\""), ("two", "a\nb"), ("odd", "\\d"), ("brace", "}{,=")];
    assert_eq!(found, labels(&expected));
}

#[test]
fn infinities_and_nan_are_values() {
    assert_eq!(one("a +Inf").2, f64::INFINITY);
    assert_eq!(one("a -Inf").2, f64::NEG_INFINITY);
    assert!(one("a NaN").2.is_nan());
}

#[test]
fn garbage_lines_are_counted_and_skipped() {
    let body = b"# HELP a b\r\n# TYPE a counter\r\na 1\r\n<html>\nb\nc{x=\"1\" 2\nd{x=1} 2\ne 1 2 3\nf x\n{a=\"b\"} 1\n1g 4\n\nh 5\n";
    let (samples, garbage) = all(body);
    assert_eq!(samples.iter().map(|sample| sample.0.as_str()).collect::<Vec<_>>(), ["a", "h"]);
    assert_eq!(garbage, 8);
}

#[test]
fn line_beyond_64_kib_is_garbage() {
    let line = |bytes: usize| format!("a{{x=\"{}\"}} 1", "y".repeat(bytes - 9));
    assert_eq!(line(100).len(), 100);
    assert_eq!(all(line(MAX_LINE_BYTES).as_bytes()).1, 0);
    assert_eq!(all(line(MAX_LINE_BYTES + 1).as_bytes()), (vec![], 1));
}

#[test]
fn torn_utf8_does_not_lose_the_sample() {
    let (samples, garbage) = all(b"a{x=\"\xc3\"} 4");
    assert_eq!(samples, [("a".to_owned(), labels(&[("x", "\u{fffd}")]), 4.0)]);
    assert_eq!(garbage, 0);
}

fn write(samples: &[Owned]) -> String {
    let mut text = String::new();
    for (name, labels, value) in samples {
        let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        text.push_str(&format!("{name}{{{}}} {value:?}\n", labels.join(",")));
    }
    text
}

proptest! {
    #[test]
    fn parser_never_panics_on_bytes(body in prop::collection::vec(any::<u8>(), 0..400)) {
        all(&body);
    }

    #[test]
    fn parser_never_panics_on_format_characters(line in "[a{}=\",\\\\ \\n0-9#é]{0,60}") {
        all(line.as_bytes());
    }

    #[test]
    fn result_is_independent_of_chunk_borders(
        body in "([a-z]{1,4}(\\{x=\"[a-z]{0,3}\"\\})? ?[0-9]{0,3}\n|#? ?[a-z]{0,6}\n|é|\n){0,30}", size in 1_usize..12) {
        prop_assert_eq!(in_chunks(body.as_bytes().chunks(size)), all(body.as_bytes()));
    }

    #[test]
    fn written_samples_parse_back(samples in prop::collection::vec(
        ("[a-zA-Z_:][a-zA-Z0-9_:]{0,20}", prop::collection::vec(("[a-z_]{1,8}", "[^\\r]{0,20}"), 0..4),
         any::<f64>().prop_filter("NaN equals nothing", |value| !value.is_nan())), 0..8)) {
        prop_assert_eq!(all(write(&samples).as_bytes()), (samples, 0));
    }
}
