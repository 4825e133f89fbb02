//! Patterns with `*`, `?` and `[…]`, as Vector has them in `inputs` and in paths of configurations.

/// Whether the text is a pattern at all.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether the whole text matches; `*` stands for any characters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut from) = (0, 0);
    // Where the last `*` was, and the first character that it does not stand for.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match one(&pattern[at..], text[from]) {
            Some(_) if pattern[at] == '*' => {
                star = Some((at, from));
                at += 1;
            }
            Some(length) => {
                at += length;
                from += 1;
            }
            None => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                from = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

/// How many characters of the pattern stand for this one; none if they do not.
fn one(pattern: &[char], letter: char) -> Option<usize> {
    match pattern.first()? {
        '*' | '?' => Some(1),
        '[' => {
            let end = 2 + pattern.iter().skip(2).position(|letter| *letter == ']')?;
            let (is_not, class) = match pattern[1] {
                '!' => (true, &pattern[2..end]),
                _ => (false, &pattern[1..end]),
            };
            (in_class(class, letter) != is_not).then_some(end + 1)
        }
        own => (*own == letter).then_some(1),
    }
}

fn in_class(class: &[char], letter: char) -> bool {
    let in_range = class.windows(3).any(|part| part[1] == '-' && (part[0]..=part[2]).contains(&letter));
    in_range || class.contains(&letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "any.thing"),
            ("in_*", "in_1"),
            ("*.ok", "route.ok"),
            ("a*b*c", "axxbyyc"),
            ("in-[0-9]", "in-7"),
            ("in-[!0-9]", "in-x"),
            ("??", "ab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("in_*", "xin_1"), ("*.ok", "route.okay"), ("a*b*c", "acb"), ("in-[0-9]", "in-x"), ("?", "")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        let long = "a".repeat(10_000);
        assert!(!matches(&"*a".repeat(50).replace("aa", "a"), &format!("{long}b")), "in time");
    }
}
