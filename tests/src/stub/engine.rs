//! What the stub counts, and when.

use tokio::time::Instant;

use systole_shared::{ComponentKind, UnixMillis};

use super::settings::Settings;
use super::topology::{
    Component, DEFAULT_OUTPUT, ERRORS, INTENDED, Metric, PROTOCOLS, ROUTES, SINK_PROTOCOL, Series, UNINTENDED,
    components,
};
use super::totals::{ComponentCounts, Counts};

/// The flow of events through the topology: a clock, a number, and the counters.
#[derive(Debug)]
pub struct Engine {
    /// The topology.
    pub components: Vec<Component>,
    /// Events so far in this life.
    pub events: u64,
    rate: f64,
    errors_every: u64,
    discard_every: u64,
    /// Since when it runs and how many events there were then; none while it is paused.
    running: Option<(Instant, u64)>,
}

impl Engine {
    /// A topology in which nothing has happened yet.
    pub fn new(settings: &Settings, now: Instant) -> Self {
        Engine {
            components: components(settings.components),
            events: 0,
            rate: settings.rate,
            errors_every: settings.errors_every,
            discard_every: settings.discard_every,
            running: (!settings.paused).then_some((now, 0)),
        }
    }

    /// Lets the events pass that are due by now. True when there were any.
    pub fn advance(&mut self, now: Instant) -> bool {
        let Some((since, before)) = self.running else { return false };
        let due = before + (now.duration_since(since).as_secs_f64() * self.rate) as u64;
        let any = due > self.events;
        for number in self.events + 1..=due {
            self.pass(number);
        }
        self.events = due;
        any
    }

    /// Lets so many events pass at once.
    pub fn burst(&mut self, count: u64) {
        for number in self.events + 1..=self.events + count {
            self.pass(number);
        }
        self.events += count;
        if let Some((_, before)) = &mut self.running {
            *before += count;
        }
    }

    /// Stops counting.
    pub fn pause(&mut self, now: Instant) {
        self.advance(now);
        self.running = None;
    }

    /// Counts on.
    pub fn resume(&mut self, now: Instant) {
        self.running.get_or_insert((now, self.events));
    }

    /// One event through all components, as far as it comes.
    fn pass(&mut self, number: u64) {
        let size = 80 + number % 41;
        let pick = |every: u64| every > 0 && number.is_multiple_of(every);
        let (fails, discarded) = (pick(self.errors_every), pick(self.discard_every));
        for component in &mut self.components {
            let received = match component.kind {
                ComponentKind::Source => PROTOCOLS[number as usize % 2],
                _ => "",
            };
            component.add(Metric::ReceivedEvents, received, 1);
            component.add(Metric::ReceivedBytes, received, size);
            component.add(Metric::ReceivedEventBytes, received, size + 40);
            if component.id == "shape" && (fails || discarded) {
                if fails {
                    component.add(Metric::Errors, ERRORS[(number / self.errors_every) as usize % 2], 1);
                }
                component.add(Metric::Discarded, if fails { UNINTENDED } else { INTENDED }, 1);
                return;
            }
            let sent = match component.component_type {
                "blackhole" => "",
                "route" => ROUTES[number as usize % 3],
                _ => DEFAULT_OUTPUT,
            };
            component.add(Metric::SentEvents, sent, 1);
            component.add(Metric::SentEventBytes, sent, size + 40);
            component.add(Metric::SentBytes, SINK_PROTOCOL, size);
        }
    }

    /// Notes that every counter was shown to a scraper.
    pub fn expose(&mut self) {
        self.every_series(Series::expose);
    }

    /// Takes all counters back to zero.
    pub fn reset(&mut self) {
        self.every_series(Series::reset);
    }

    /// Every counter expires that does not count on its own.
    pub fn expire(&mut self, at: UnixMillis) {
        self.every_series(|series| series.expire(at));
    }

    /// Does something to the series of one counter of one component.
    pub fn with_series(&mut self, component: &str, metric: Metric, act: impl FnMut(&mut Series)) {
        let matching = self.components.iter_mut().filter(|one| one.id == component);
        matching.flat_map(|one| &mut one.series).filter(|series| series.metric == metric).for_each(act);
    }

    fn every_series(&mut self, act: impl FnMut(&mut Series)) {
        self.components.iter_mut().flat_map(|component| &mut component.series).for_each(act);
    }

    /// Sums per component, of the totals or of what was exposed.
    pub fn component_counts(&self, value: impl Fn(&Series) -> u64) -> Vec<(ComponentKind, String, ComponentCounts)> {
        let sum = |component: &Component, metric: Metric| {
            component.series.iter().filter(|series| series.metric == metric).map(&value).sum()
        };
        self.components
            .iter()
            .map(|component| {
                let counts = ComponentCounts {
                    received_events: sum(component, Metric::ReceivedEvents),
                    sent_events: sum(component, Metric::SentEvents),
                    received_bytes: sum(component, Metric::ReceivedBytes),
                    sent_bytes: sum(component, Metric::SentBytes),
                    errors: sum(component, Metric::Errors),
                    discarded: sum(component, Metric::Discarded),
                };
                (component.kind, component.id.clone(), counts)
            })
            .collect()
    }

    /// The whole pipeline's sums: in from the sources, out of the sinks, the rest over all.
    pub fn counts(&self, value: impl Fn(&Series) -> u64) -> Counts {
        let mut counts = Counts::default();
        for (kind, _, component) in self.component_counts(value) {
            counts.errors += component.errors;
            counts.discarded += component.discarded;
            match kind {
                ComponentKind::Source => {
                    counts.events_in += component.received_events;
                    counts.bytes_in += component.received_bytes;
                }
                ComponentKind::Sink => {
                    counts.events_out += component.sent_events;
                    counts.bytes_out += component.sent_bytes;
                }
                ComponentKind::Transform | ComponentKind::Unknown => {}
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::args::Cli;
    use super::*;
    use clap::Parser;

    fn engine(flags: &[&str], now: Instant) -> Engine {
        let args = std::iter::once("vector").chain(flags.iter().copied());
        Engine::new(&Settings::load(Cli::try_parse_from(args).unwrap()).unwrap(), now)
    }

    #[test]
    fn events_are_sent_or_discarded() {
        let start = Instant::now();
        let mut engine = engine(&["--rate", "100", "--errors-every", "10", "--discard-every", "7"], start);
        assert!(engine.advance(start + Duration::from_secs(10)));
        let counts = engine.counts(|series| series.total);
        assert_eq!(counts.events_in, 1000);
        assert_eq!(counts.errors, 100);
        // Multiples of 7 up to 1000 are 142, 14 of them also fail.
        assert_eq!(counts.discarded, 100 + 142 - 14);
        assert_eq!(counts.events_out, counts.events_in - counts.discarded);
    }

    #[test]
    fn paused_engine_counts_nothing_then_or_later() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut engine = engine(&["--rate", "100"], start);
        engine.pause(at(1));
        assert!(!engine.advance(at(5)));
        engine.resume(at(5));
        engine.advance(at(6));
        assert_eq!(engine.events, 200);
    }
}
