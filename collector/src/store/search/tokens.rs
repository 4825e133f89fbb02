//! The index entries of a block: numbers for every three bytes of its lines, for their nodes, pipelines and levels.
//!
//! A block that lacks one of a query's tokens has no line that the query asks for. One that has them
//! all may still have none.

use systole_shared::{LogLevel, UnixMillis};

use crate::store::LogQuery;

/// The columns that tokens are made of: time, node, pipeline, level, line.
pub(super) type LogColumns = (UnixMillis, i64, i64, Option<String>, String);

/// Distinct tokens that a block keeps. Some thousands are usual; more are bytes without any sense, and
/// such a block is always read.
const MAX_TOKENS: usize = 32_768;

/// Tokens that are looked for at once: more of them hardly narrow a search.
const MAX_WANTED: usize = 64;

/// Three bytes.
const TRIGRAMS: usize = 1 << 24;

/// Other kinds of tokens. Only the last bits of keys are compared: enough for an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// A block that is always read.
    Any = 1,
    Node = 2,
    Pipeline = 3,
    /// Lines of this level or above.
    Level = 4,
}

impl About {
    fn token(self, key: i64) -> i32 {
        let bits = (key as u64 & 0x00FF_FFFF) as i32;
        (self as i32) << 24 | bits
    }
}

/// The token of blocks that are always read.
pub(in crate::store) fn always_read() -> i32 {
    About::Any.token(0)
}

/// A block of lines as the index has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Block {
    pub number: i64,
    pub first_at: UnixMillis,
    pub last_at: UnixMillis,
    /// In order, each once.
    pub tokens: Vec<i32>,
}

impl Block {
    /// From all lines of a block; `None` without any.
    pub(in crate::store) fn of(number: i64, lines: &[LogColumns]) -> Option<Self> {
        let first_at = lines.iter().map(|(at, ..)| *at).min()?;
        let last_at = lines.iter().map(|(at, ..)| *at).max()?;
        let mut seen = vec![0_u64; TRIGRAMS / 64];
        let mut others = Vec::new();
        for (_, node, pipeline, level, line) in lines {
            for trigram in trigrams(line) {
                seen[trigram / 64] |= 1 << (trigram % 64);
            }
            others.extend([About::Node.token(*node), About::Pipeline.token(*pipeline)]);
            if let Some(level) = level.as_deref().and_then(LogLevel::parse) {
                others.extend((0..=level as i64).map(|least| About::Level.token(least)));
            }
        }
        others.sort_unstable();
        others.dedup();
        let count: usize = seen.iter().map(|bits| bits.count_ones() as usize).sum();
        let tokens = if count + others.len() > MAX_TOKENS {
            vec![always_read()]
        } else {
            let trigrams = seen.iter().enumerate().filter(|(_, bits)| **bits != 0).flat_map(|(word, bits)| {
                (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| (word * 64 + bit) as i32)
            });
            trigrams.chain(others).collect()
        };
        Some(Block { number, first_at, last_at, tokens })
    }
}

/// Every three bytes of a text, letters of ASCII in one case.
fn trigrams(text: &str) -> impl Iterator<Item = usize> {
    text.as_bytes().windows(3).map(|bytes| {
        let [a, b, c] = [0, 1, 2].map(|index| usize::from(bytes[index].to_ascii_lowercase()));
        a << 16 | b << 8 | c
    })
}

/// The tokens that a block must have for a query; none if the query cannot be narrowed.
pub(in crate::store) fn wanted(query: &LogQuery) -> Vec<i32> {
    let node = query.node.map(|node| About::Node.token(node.0));
    let pipeline = match query.pipelines.as_deref() {
        Some([pipeline]) => Some(About::Pipeline.token(pipeline.0)),
        _ => None,
    };
    let level = query.min_level.map(|level| About::Level.token(level as i64));
    let text = trigrams(query.text.as_deref().unwrap_or_default()).map(|trigram| trigram as i32);
    let mut tokens: Vec<_> = node.into_iter().chain(pipeline).chain(level).chain(text).collect();
    tokens.truncate(MAX_WANTED);
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{NodeKey, PipelineKey};

    fn line(at: i64, node: i64, level: Option<&str>, text: &str) -> LogColumns {
        (at, node, node + 1, level.map(str::to_owned), text.to_owned())
    }

    fn has(block: &Block, query: &LogQuery) -> bool {
        wanted(query).iter().all(|token| block.tokens.binary_search(token).is_ok())
    }

    fn text(text: &str) -> LogQuery {
        LogQuery { text: Some(text.into()), ..LogQuery::default() }
    }

    #[test]
    fn block_tokens_cover_its_lines() {
        let lines =
            [line(7, 1, Some("WARN"), "Größe: 100%"), line(3, 2, None, "order taken"), line(5, 2, Some("odd"), "")];
        let block = Block::of(9, &lines).unwrap();
        assert_eq!((block.number, block.first_at, block.last_at), (9, 3, 7));
        for found in ["GRö", "öße", "order t", "100%", "en", ""] {
            assert!(has(&block, &text(found)), "{found}");
        }
        for other in ["orders", "taken order", "101%", "%order"] {
            assert!(!has(&block, &text(other)), "{other}");
        }
        let level = |level| LogQuery { min_level: Some(level), ..LogQuery::default() };
        assert!(has(&block, &level(LogLevel::Warn)) && has(&block, &level(LogLevel::Trace)));
        assert!(!has(&block, &level(LogLevel::Error)));
        let node = |node| LogQuery { node: Some(NodeKey(node)), ..LogQuery::default() };
        assert!(has(&block, &node(2)) && !has(&block, &node(3)));
        let pipelines = |keys: &[i64]| LogQuery {
            pipelines: Some(keys.iter().copied().map(PipelineKey).collect()),
            ..LogQuery::default()
        };
        assert!(has(&block, &pipelines(&[3])) && !has(&block, &pipelines(&[1])));
        assert!(has(&block, &pipelines(&[1, 3])), "either is enough, which tokens cannot express");
        assert_eq!(Block::of(9, &[]), None);
    }

    #[test]
    fn block_with_too_many_tokens_is_always_read() {
        let nonsense: String = (0..60_000_u32).filter_map(|number| char::from_u32(number * 17)).collect();
        assert_eq!(Block::of(0, &[line(1, 1, None, &nonsense)]).unwrap().tokens, [always_read()]);
        assert!(wanted(&text(&nonsense)).len() <= MAX_WANTED);
    }

    proptest! {
        #[test]
        fn line_has_the_tokens_of_its_substrings(line_text in "\\PC{0,40}", from in 0_usize..40, len in 0_usize..40) {
            let part: String = line_text.chars().skip(from).take(len).collect();
            let block = Block::of(0, &[line(1, 1, None, &line_text)]).unwrap();
            prop_assert!(has(&block, &text(&part)));
            prop_assert!(has(&block, &text(&part.to_ascii_uppercase())));
        }
    }
}
