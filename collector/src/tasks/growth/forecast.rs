//! How fast data grows, and until when the disk has room: a line through the sizes of the last week.

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

use crate::telemetry::MAX_DAYS_UNTIL_FULL;

const DAY_MS: f64 = 86_400_000.0;

/// The time that is looked back: it has a weekend.
pub(super) const SPAN_MS: i64 = 7 * 86_400_000;

/// With less than this a forecast is a guess: retention works in hours.
const LEAST_SPAN_MS: i64 = 6 * 3_600_000;

/// The size of the data at a time.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SizeSample {
    pub at: UnixMillis,
    pub used_bytes: u64,
}

/// What the sizes say of the future.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forecast {
    /// Negative when data shrinks.
    pub bytes_per_day: f64,
    /// Until there is no room; `None` where the room is unknown. At most [`MAX_DAYS_UNTIL_FULL`].
    pub days_until_full: Option<f64>,
}

/// The forecast from samples, oldest first. `None` when they cover too short a time. `room_bytes`: what can still be
/// written.
pub(crate) fn forecast(samples: &[SizeSample], room_bytes: Option<u64>) -> Option<Forecast> {
    let (first, last) = (samples.first()?, samples.last()?);
    if last.at - first.at < LEAST_SPAN_MS {
        return None;
    }
    let points = samples.iter().map(|sample| ((sample.at - first.at) as f64 / DAY_MS, sample.used_bytes as f64));
    let count = samples.len() as f64;
    let (days, bytes) = points.clone().fold((0.0, 0.0), |(days, bytes), point| (days + point.0, bytes + point.1));
    let (mean_day, mean_bytes) = (days / count, bytes / count);
    let (covariance, variance) = points.fold((0.0, 0.0), |(covariance, variance), (day, bytes)| {
        let day = day - mean_day;
        (covariance + day * (bytes - mean_bytes), variance + day * day)
    });
    let bytes_per_day = covariance / variance;
    let days_until_full = room_bytes.map(|room| {
        if bytes_per_day <= 0.0 { MAX_DAYS_UNTIL_FULL } else { (room as f64 / bytes_per_day).min(MAX_DAYS_UNTIL_FULL) }
    });
    Some(Forecast { bytes_per_day, days_until_full })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn samples(bytes_per_hour: i64, hours: i64) -> Vec<SizeSample> {
        let sample = |hour| SizeSample { at: 5 + hour * HOUR, used_bytes: (1_000_000 + hour * bytes_per_hour) as u64 };
        (0..=hours).map(sample).collect()
    }

    #[test]
    fn even_growth_is_continued_until_the_disk_is_full() {
        let forecast = forecast(&samples(1_000, 48), Some(240_000)).unwrap();
        assert!((forecast.bytes_per_day - 24_000.0).abs() < 1.0, "{forecast:?}");
        assert!((forecast.days_until_full.unwrap() - 10.0).abs() < 0.01, "{forecast:?}");
    }

    #[test]
    fn shrinking_data_never_fills_the_disk() {
        let shrinking = forecast(&samples(-1_000, 48), Some(240_000)).unwrap();
        assert!(shrinking.bytes_per_day < 0.0);
        assert_eq!(shrinking.days_until_full, Some(MAX_DAYS_UNTIL_FULL));
        assert_eq!(forecast(&samples(1, 48), Some(u64::MAX)).unwrap().days_until_full, Some(MAX_DAYS_UNTIL_FULL));
        assert_eq!(forecast(&samples(1, 48), None).unwrap().days_until_full, None);
    }

    #[test]
    fn short_time_has_no_forecast() {
        assert_eq!(forecast(&[], Some(1)), None);
        assert_eq!(forecast(&samples(1_000, 5), Some(1)), None);
        assert!(forecast(&samples(1_000, 6), Some(1)).is_some());
    }
}
