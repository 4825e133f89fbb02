//! Reads the text of an `EnvironmentFile` of systemd, which has the settings of a service.

use std::collections::BTreeMap;

/// The lines `NAME=value`, without comments and quotes.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()).to_owned())).collect()
}

fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_quotes_are_not_values() {
        let variables = parse("# A=1\nSYSTOLE_URL = \"http://c:1\"\n;x=2\nSYSTOLE_TOKEN='t=t'\nSYSTOLE_NAME=web 1\n");
        let pairs: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("SYSTOLE_NAME", "web 1"), ("SYSTOLE_TOKEN", "t=t"), ("SYSTOLE_URL", "http://c:1")]);
    }
}
