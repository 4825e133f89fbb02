//! What can be asked of a running stub: `POST /control/<what>`.

use std::collections::HashMap;

use super::topology::Metric;

/// A request. The name on the wire is the variant's in lower case with hyphens; parameters follow as
/// a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `pause`: stop counting.
    Pause,
    /// `resume`: count again.
    Resume,
    /// `burst?events=1000`: so many events at once.
    Burst(u64),
    /// `crash?code=1&lines=0`: numbered lines and last words on standard error, then exit with the code.
    Crash(u8, u64),
    /// `exit0`: exit 0 without a word.
    Exit0,
    /// `abort?signal=6`: end by a signal.
    Abort(i32),
    /// `hang`: take connections to /metrics and do not answer them.
    Hang,
    /// `unhang`: answer again.
    Unhang,
    /// `ignore-sigterm`: live on at SIGTERM.
    IgnoreSigterm,
    /// `heed-sigterm`: end at SIGTERM again.
    HeedSigterm,
    /// `flood?lines=10000`: so many numbered log lines at once.
    Flood(u64),
    /// `torn-utf8`: log text that is not UTF-8, and a character written in two halves.
    TornUtf8,
    /// `long-line?bytes=2000000`: one log line of this length.
    LongLine(usize),
    /// `freeze`: /metrics answers the last page again and again.
    Freeze,
    /// `unfreeze`: /metrics is live again.
    Unfreeze,
    /// `drop-series?component=out&metric=sent_events`: the counter's series vanish.
    DropSeries(String, Metric),
    /// `miss-series?component=out&metric=sent_events`: the next page does not have the counter's series,
    /// which count on.
    MissSeries(String, Metric),
    /// `restore-series?component=out&metric=sent_events`: they come back at zero.
    RestoreSeries(String, Metric),
    /// `expire`: all counters expire; each is shown with a timestamp that stands still until it counts
    /// again, from zero.
    Expire,
    /// `reset`: all counters go back to zero.
    Reset,
    /// `tap?on=1`: `_tap` appears or goes.
    Tap(bool),
}

impl Command {
    /// Reads `<what>?<query>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (what, query) = text.split_once('?').unwrap_or((text, ""));
        let query: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let number = |name: &str, default: u64| query.get(name).map_or(Some(default), |text| text.parse().ok());
        let series = || {
            let metric = query.get("metric").copied().unwrap_or("sent_events");
            let name = format!("component_{metric}_total");
            let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name)?;
            Some((query.get("component").copied().unwrap_or("out").to_owned(), metric))
        };
        Some(match what {
            "pause" => Command::Pause,
            "resume" => Command::Resume,
            "burst" => Command::Burst(number("events", 1_000)?),
            "crash" => Command::Crash(number("code", 1)?.try_into().ok()?, number("lines", 0)?),
            "exit0" => Command::Exit0,
            "abort" => Command::Abort(number("signal", 6)?.try_into().ok()?),
            "hang" => Command::Hang,
            "unhang" => Command::Unhang,
            "ignore-sigterm" => Command::IgnoreSigterm,
            "heed-sigterm" => Command::HeedSigterm,
            "flood" => Command::Flood(number("lines", 10_000)?),
            "torn-utf8" => Command::TornUtf8,
            "long-line" => Command::LongLine(number("bytes", 2_000_000)?.try_into().ok()?),
            "freeze" => Command::Freeze,
            "unfreeze" => Command::Unfreeze,
            "drop-series" => series().map(|(component, metric)| Command::DropSeries(component, metric))?,
            "miss-series" => series().map(|(component, metric)| Command::MissSeries(component, metric))?,
            "restore-series" => series().map(|(component, metric)| Command::RestoreSeries(component, metric))?,
            "expire" => Command::Expire,
            "reset" => Command::Reset,
            "tap" => Command::Tap(number("on", 1)? != 0),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_request_has_defaults_and_refuses_unknown_keys() {
        assert_eq!(Command::parse("flood?lines=7"), Some(Command::Flood(7)));
        assert_eq!(Command::parse("crash"), Some(Command::Crash(1, 0)));
        assert_eq!(
            Command::parse("drop-series?component=router&metric=received_events"),
            Some(Command::DropSeries("router".to_owned(), Metric::ReceivedEvents))
        );
        assert_eq!(Command::parse("crash?code=256"), None);
        assert_eq!(Command::parse("explode"), None);
    }
}
