//! Reads what a `[[pipeline]]` says of the most that its command may use.

use toml::Value;

use super::section::Section;
use crate::model::pipeline::LimitsConfig;

/// As the system has it, from the greediest to the most modest.
const NICE: std::ops::RangeInclusive<i64> = -20..=19;

/// Less is not enough for a program to start.
const MIN_MEMORY_BYTES: u64 = 1024 * 1024;

/// In thousandths of a core: a share of one that still moves, and more cores than hosts have.
const CPU_MILLIS: std::ops::RangeInclusive<f64> = 10.0..=1_024_000.0;

/// Units of bytes.
const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Reads `nice`, `memory_max` and `cpu_max`.
pub(super) fn read(section: &mut Section<'_>, has_command: bool) -> LimitsConfig {
    let mut limits = LimitsConfig::default();
    for key in ["nice", "memory_max", "cpu_max"] {
        let Some(value) = section.take(key) else { continue };
        if !has_command {
            section.error(key, "is of no use without command; the agent limits what it runs itself");
            continue;
        }
        let is_good = match key {
            "nice" => set(&mut limits.nice, nice(&value)),
            "memory_max" => set(&mut limits.memory_max, bytes(&value)),
            _ => set(&mut limits.cpu_max_millis, cpu_millis(&value)),
        };
        if !is_good {
            let wanted = match key {
                "nice" => "must be a whole number from -20 to 19",
                "memory_max" => "must be a number of bytes from 1 MiB, or a text like \"512MiB\"",
                _ => "must be a number of cores, like 1.5 or 0.2, at least 0.01",
            };
            section.error(key, wanted);
        }
    }
    limits
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    *slot = value;
    slot.is_some()
}

fn nice(value: &Value) -> Option<i32> {
    i32::try_from(value.as_integer().filter(|nice| NICE.contains(nice))?).ok()
}

fn bytes(value: &Value) -> Option<u64> {
    let bytes = match value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok()?,
        Value::String(text) => {
            let text = text.trim();
            let with_unit = UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
            let (number, size) = with_unit.unwrap_or((text, 1));
            number.trim().parse::<u64>().ok()?.checked_mul(size)?
        }
        _ => return None,
    };
    (bytes >= MIN_MEMORY_BYTES).then_some(bytes)
}

fn cpu_millis(value: &Value) -> Option<u64> {
    let cores = match value {
        Value::Float(cores) => *cores,
        #[expect(clippy::cast_precision_loss, reason = "beyond the range when that matters")]
        Value::Integer(cores) => *cores as f64,
        _ => return None,
    };
    let millis = (cores * 1_000.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    CPU_MILLIS.contains(&millis).then_some(millis as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::errors::ConfigErrors;

    fn read_from(text: &str) -> (LimitsConfig, Vec<String>) {
        let mut errors = ConfigErrors::default();
        let mut section = Section::new("", text.parse().unwrap(), &mut errors);
        let limits = read(&mut section, true);
        (limits, errors.keys().into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn limits_are_numbers_or_bytes_with_a_unit() {
        let (limits, errors) = read_from("nice = 10\nmemory_max = \"512MiB\"\ncpu_max = 1.5");
        assert_eq!(errors, [""; 0]);
        let expected =
            LimitsConfig { nice: Some(10), memory_max: Some(512 * 1024 * 1024), cpu_max_millis: Some(1_500) };
        assert_eq!(limits, expected);
        assert_eq!(read_from("memory_max = 2000000\ncpu_max = 2").0.cpu_max_millis, Some(2_000));
        let wrong = "nice = 20\nmemory_max = \"12\"\ncpu_max = 0";
        assert_eq!(
            read_from(wrong),
            (LimitsConfig::default(), ["nice", "memory_max", "cpu_max"].map(String::from).into())
        );
    }
}
