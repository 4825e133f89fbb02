//! Texts for terminals: numbers as people read them, and texts of others.

pub(in crate::cli) mod numbers;

/// A text of others on one line and without power over the terminal: colours go, what else steers is shown as �.
pub(in crate::cli) fn clean(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // Parameters and intermediates, up to the letter that ends the sequence.
                while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
                chars.next_if(|c| ('@'..='~').contains(c));
            }
            '\t' => told.push(c),
            c if c.is_control() => told.push('\u{fffd}'),
            c => told.push(c),
        }
    }
    told
}

/// A text in at most `width` characters; a longer one loses its middle, because names differ at both ends.
pub(in crate::cli) fn shortened(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(length - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_control_the_terminal() {
        assert_eq!(clean("\u{1b}[1;31mred\u{1b}[0m\ttab"), "red\ttab");
        assert_eq!(clean("\u{1b}]0;title\u{7}a\rb\nc\u{9b}d\u{1b}[31"), "�]0;title�a�b�c�d");
    }

    #[test]
    fn shortened_text_keeps_both_ends() {
        assert_eq!(shortened("edge-oslo-1", 11), "edge-oslo-1");
        assert_eq!(shortened("edge-oslo-12/clickstream", 11), "edge-…tream");
        assert_eq!(shortened("äöüß", 3), "ä…ß");
        assert_eq!(shortened("abc", 0), "…");
    }
}
