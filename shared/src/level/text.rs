//! The level of a line that is a text: behind time and names, as the format of the system has it.

use crate::LogLevel;

use super::words::{is_ambiguous, of_letter, of_name, of_syslog};

/// Words at the beginning that may stand before the level: date, time, zone, process, thread, names in
/// brackets.
const WORDS_BEFORE_LEVEL: usize = 14;

/// The pairs that hold a level.
const LEVEL_KEYS: [&str; 5] = ["level", "lvl", "severity", "loglevel", "at"];

/// The pairs that may stand before that one.
const LEADING_KEYS: [&str; 21] = [
    "time",
    "ts",
    "t",
    "timestamp",
    "date",
    "datetime",
    "caller",
    "logger",
    "component",
    "source",
    "service",
    "app",
    "host",
    "hostname",
    "pid",
    "thread",
    "module",
    "file",
    "line",
    "name",
    "node",
];

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

const ZONES: [&str; 15] =
    ["UTC", "GMT", "Z", "AM", "PM", "CET", "CEST", "EET", "EEST", "EST", "EDT", "CST", "PST", "PDT", "MSK"];

/// Finds the level.
pub(super) fn find(line: &str) -> Option<LogLevel> {
    let Some((priority, rest)) = strip_priority(line) else { return of_line(line) };
    let text = skip_words(rest.strip_prefix("1 ").unwrap_or(""), 6).unwrap_or(rest);
    // What the text says is more exact: many programs send everything as one priority.
    of_line(text).or_else(|| of_syslog(priority % 8))
}

fn of_line(line: &str) -> Option<LogLevel> {
    let line = line.trim_start();
    if line.starts_with('{') {
        return super::json::find(line);
    }
    of_compact(line).or_else(|| of_words(line)).or_else(|| of_line(strip_syslog_header(line)?))
}

/// `<11>` before the line of a syslog.
fn strip_priority(line: &str) -> Option<(u64, &str)> {
    let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
    let is_short = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let priority = number.parse().ok().filter(|priority| is_short && *priority < 192)?;
    Some((priority, rest))
}

/// `Nov 29 10:00:00 host program[1]: ` and `2026-11-29T10:00:00Z host program[1]: `.
fn strip_syslog_header(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    let before_host = if is_month(first) {
        let is_day = words.next()?.parse().is_ok_and(|day: u32| (1..=31).contains(&day));
        (is_day && is_time(words.next()?)).then_some(3)?
    } else {
        (is_time(first) && first.contains(':') && first.contains('T')).then_some(1)?
    };
    let (_host, tag) = (words.next()?, words.next()?);
    if tag.ends_with(':') && tag.len() > 1 { skip_words(line, before_host + 2) } else { None }
}

fn skip_words(line: &str, number: usize) -> Option<&str> {
    let mut rest = line.trim_start();
    for _ in 0..number {
        rest = rest.get(rest.find([' ', '\t'])?..)?.trim_start();
    }
    Some(rest)
}

/// Formats that say it with one letter or sign at a place of their own.
fn of_compact(line: &str) -> Option<LogLevel> {
    let mut words = line.split_ascii_whitespace();
    let (first, second) = (words.next()?, words.next()?);
    let letter = first.chars().next()?;
    // klog, glog: `E1129 10:00:00.000000       1 file.go:12] …`
    let digits = first.get(letter.len_utf8()..)?;
    let is_date = matches!(digits.len(), 4 | 6 | 8) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_date && matches!(letter, 'I' | 'W' | 'E' | 'F') && is_time(second) && second.contains(':') {
        return of_letter(letter);
    }
    // Ruby: `E, [2026-11-29T10:00:00.123456 #1] ERROR -- : …`
    if first.len() == 2 && first.ends_with(',') && second.starts_with('[') {
        return of_letter(letter);
    }
    // Redis: `1:M 29 Nov 2026 10:00:00.000 # …`, before version 3 `[1] 29 Nov 10:00:00.000 # …`
    let is_redis = first.split_once(':').is_some_and(|(pid, role)| {
        pid.parse::<u32>().is_ok() && role.len() == 1 && role.bytes().all(|byte| byte.is_ascii_uppercase())
    }) || (first.starts_with('[') && first.ends_with(']'));
    if is_redis && second.parse::<u32>().is_ok() && words.next().is_some_and(is_month) {
        return match words.find(|word| word.len() == 1)? {
            "." => Some(LogLevel::Debug),
            "-" | "*" => Some(LogLevel::Info),
            "#" => Some(LogLevel::Warn),
            _ => None,
        };
    }
    line.starts_with("fatal error: ").then_some(LogLevel::Error)
}

/// Splits at white space, and between two brackets.
fn words_of(line: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|letter: char| letter.is_ascii_whitespace()).unwrap_or(rest.len());
        let end = rest.get(..end)?.find("][").map_or(end, |bracket| bracket + 1);
        let (word, behind) = rest.split_at_checked(end)?;
        rest = behind;
        Some((word, behind.starts_with('\t')))
    })
}

fn of_words(line: &str) -> Option<LogLevel> {
    let words: Vec<(&str, bool)> = words_of(line).take(WORDS_BEFORE_LEVEL).collect();
    let (mut after_time, mut in_bracket, mut in_quotes) = (false, false, false);
    for (index, (word, is_before_tab)) in words.iter().copied().enumerate() {
        let next = words.get(index + 1).map_or("", |(word, _)| word);
        if in_quotes {
            in_quotes = !word.ends_with('"');
            continue;
        }
        if let Some((key, value)) = word.split_once('=') {
            if LEVEL_KEYS.contains(&key) {
                return of_name(value.trim_matches('"'));
            }
            if !LEADING_KEYS.contains(&key) {
                return None;
            }
            in_quotes = value.starts_with('"') && (value.len() == 1 || !value.ends_with('"'));
            after_time = true;
            continue;
        }
        let bare = word.trim_matches(['[', ']', '(', ')', '<', '>', ':', '|', ',', '-']);
        let opens = word.starts_with('[') && !word.ends_with(']');
        if let Some((level, name)) = of_word(word, bare, after_time) {
            let is_upper = name.bytes().all(|byte| !byte.is_ascii_lowercase());
            let is_closed = !opens || next.starts_with(']') || bare.is_empty();
            let is_marked = word.len() > name.len() && is_closed;
            // "error while …" is prose; "error: …", "[error]" and "ERROR" are levels.
            let is_level = match (is_marked, is_upper) {
                (true, _) => true,
                (false, true) => !is_ambiguous(name),
                // Behind a time, `debug` and `info` are no words of a sentence.
                (false, false) => {
                    after_time && !opens && (is_before_tab || matches!(name, "trace" | "debug" | "info" | "warn"))
                }
            };
            if is_level {
                return Some(level);
            }
            if !opens {
                return None;
            }
        }
        if let Some(level) = of_sign(word, next, after_time) {
            return Some(level);
        }
        let is_time = is_time(bare);
        let is_bracketed = in_bracket || word.starts_with('[') || word.ends_with(']');
        in_bracket = (in_bracket || opens) && !word.ends_with(']');
        let is_between_dashes = index > 0 && words[index - 1].0 == "-" && next == "-";
        let is_part = bare.is_empty() || is_between_dashes || (after_time && is_part_of_head(word, bare));
        if !(is_time || is_bracketed || is_part) {
            return None;
        }
        after_time |= is_time || is_bracketed && bare.bytes().any(|byte| byte.is_ascii_digit());
    }
    None
}

/// The level that a word is, or has: `ERROR:root:…`, `[core:error]`, `ERROR/MainProcess]`, `app.ERROR:`.
/// Returns the part that is the name, too.
fn of_word<'w>(word: &str, bare: &'w str, after_time: bool) -> Option<(LogLevel, &'w str)> {
    if bare == "LOG" && word.ends_with(':') {
        return Some((LogLevel::Info, bare));
    }
    let of = |name: &'w str| of_name(name).map(|level| (level, name));
    let is_upper = |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase());
    let first =
        |sign: char| bare.split(sign).next().filter(|name| name.len() < bare.len() && is_upper(name)).and_then(of);
    let last = |sign: char| bare.rsplit(sign).next().filter(|name| name.len() < bare.len()).and_then(of);
    of(bare)
        .or_else(|| first(':'))
        .or_else(|| first('/').filter(|_| after_time))
        .or_else(|| last(':').filter(|_| word.starts_with('[') && word.ends_with(']')))
        .or_else(|| last('.').filter(|(_, name)| after_time && word.ends_with(':') && is_upper(name)))
}

/// Signs that stand for a level behind a time: Telegraf's `E!`, MongoDB's `E NETWORK`; and PHP's words.
fn of_sign(word: &str, next: &str, after_time: bool) -> Option<LogLevel> {
    if word == "PHP" {
        return match next {
            "Fatal" | "Parse" | "Core" => Some(LogLevel::Error),
            "Warning:" => Some(LogLevel::Warn),
            "Notice:" | "Deprecated:" => Some(LogLevel::Info),
            _ => None,
        };
    }
    let mut letters = word.chars();
    let letter = letters.next().filter(|_| after_time)?;
    let is_component = next.len() > 1 && next.bytes().all(|byte| byte.is_ascii_uppercase());
    match letters.as_str() {
        "!" => of_letter(letter),
        "" if is_component && letter.is_ascii_uppercase() => of_letter(letter),
        _ => None,
    }
}

/// What may stand between time and level: zone, number of a process, `user@database`, `kid1|`.
fn is_part_of_head(word: &str, bare: &str) -> bool {
    let is_number = bare.bytes().all(|byte| byte.is_ascii_digit());
    let is_offset = word.starts_with('+') && word.bytes().skip(1).all(|byte| byte.is_ascii_digit() || byte == b':');
    is_number || is_offset || ZONES.contains(&bare) || word.contains('@') || word.ends_with('|')
}

fn is_month(word: &str) -> bool {
    MONTHS.iter().any(|month| month.eq_ignore_ascii_case(word))
}

/// Whether a word is a date, a time, both, or a number of seconds since 1970.
fn is_time(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters: String = word.chars().filter(char::is_ascii_alphabetic).collect();
    let is_joined = word.contains([':', '-', '/', '.']);
    let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-/.,+".contains(&byte));
    let is_known = matches!(letters.as_str(), "" | "T" | "Z" | "TZ" | "UTC" | "AM" | "PM") || is_month(&letters);
    let begins = word.starts_with(|letter: char| letter.is_ascii_digit());
    begins && is_plain && is_known && ((is_joined && digits >= 4) || digits >= 10)
}
