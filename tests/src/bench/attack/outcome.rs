//! What an attack came to.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

/// One attack.
#[derive(Clone, Debug, Serialize)]
pub struct AttackOutcome {
    /// The kind of attack.
    pub kind: String,
    /// For how long.
    pub seconds: u64,
    /// With how many connections.
    pub connections: usize,
    /// The good node's latency before the attack.
    pub calm_p99_ms: f64,
    /// Its reports that were acknowledged during the attack.
    pub good_reports: u64,
    /// Its requests without an acknowledgement, by status.
    pub good_failures: BTreeMap<String, u64>,
    /// Its items that were refused.
    pub good_refused: u64,
    /// Its latency, from the moment at which a report was due.
    pub good_p50_ms: f64,
    /// The same.
    pub good_p99_ms: f64,
    /// The same.
    pub good_max_ms: f64,
    /// The collector's resident memory.
    pub rss_before_bytes: u64,
    /// The same.
    pub rss_after_bytes: u64,
    /// The same, at its highest.
    pub rss_peak_bytes: u64,
    /// The collector's processor time during the attack.
    pub collector_cpu_seconds: f64,
    /// The attacker's requests by answer.
    pub attacker_answers: BTreeMap<String, u64>,
    /// Its items that were refused.
    pub attacker_refused_items: u64,
    /// Growth of the collector's counters without labels.
    pub metrics: BTreeMap<String, f64>,
}

impl AttackOutcome {
    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut text = String::new();
        let rows = [
            ("attack", self.kind.clone()),
            ("good node's reports", format!("{}, failures {:?}", self.good_reports, self.good_failures)),
            ("its p99 before, ms", format!("{:.1}", self.calm_p99_ms)),
            (
                "its p50, p99, max, ms",
                format!("{:.1}, {:.1}, {:.1}", self.good_p50_ms, self.good_p99_ms, self.good_max_ms),
            ),
            (
                "collector's RSS before, after, peak, MiB",
                format!(
                    "{:.0}, {:.0}, {:.0}",
                    mib(self.rss_before_bytes),
                    mib(self.rss_after_bytes),
                    mib(self.rss_peak_bytes)
                ),
            ),
            ("collector's CPU, s", format!("{:.1}", self.collector_cpu_seconds)),
            (
                "attacker's answers",
                format!("{:?}, {} items refused", self.attacker_answers, self.attacker_refused_items),
            ),
        ];
        for (name, value) in rows {
            // A String takes everything.
            let _ = writeln!(text, "{name}: {value}");
        }
        text
    }
}
