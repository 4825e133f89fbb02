//! Numbers as people read them.

const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];

/// Three digits and a prefix: `0`, `0.42`, `12.3`, `999`, `1.2k`, `3.4M`.
pub(in crate::cli) fn short(value: f64) -> String {
    let (scaled, prefix) = STEPS
        .iter()
        .find(|(step, _)| value.abs() >= *step * 0.9995)
        .map_or((value, ""), |(step, name)| (value / step, *name));
    let text = match scaled.abs() {
        size if size >= 99.95 => format!("{scaled:.0}"),
        size if size >= 9.995 => format!("{scaled:.1}"),
        _ => format!("{scaled:.2}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{prefix}")
}

/// Bytes in a second: `3.4 MB/s`.
pub(in crate::cli) fn bytes_rate(value: f64) -> String {
    let text = short(value);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    format!("{digits} {}B/s", &text[digits.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_prefix() {
        for (value, text) in [
            (0.0, "0"),
            (0.004, "0"),
            (0.416, "0.42"),
            (9.996, "10"),
            (12.34, "12.3"),
            (99.96, "100"),
            (999.4, "999"),
            (999.9, "1k"),
            (1_234.0, "1.23k"),
            (3_400_000.0, "3.4M"),
            (5e15, "5000T"),
        ] {
            assert_eq!(short(value), text, "{value}");
        }
        assert_eq!(bytes_rate(51_200.0), "51.2 kB/s");
        assert_eq!(bytes_rate(0.0), "0 B/s");
    }
}
