//! The numbers that a simulated node reports. Pure: the moment and the noise are arguments.

use std::collections::HashMap;
use std::f64::consts::TAU;

use systole_shared::topology::{Topology, TopologyComponent, TopologyEdge};
use systole_shared::{ComponentKind, ComponentReport, Counter, HostMetrics, PipelineSample};

use super::scenario::{NodeSpec, PipelineSpec};

/// Share of a sink's buffer above which it logs, and some of its requests fail.
pub(super) const ALMOST_FULL: f64 = 0.8;

/// Share of the traffic over time: a slow wave and a quick one.
fn wave(second: f64, phase: f64) -> f64 {
    1.0 + 0.35 * (TAU * second / 2_400.0 + phase).sin() + 0.12 * (TAU * second / 300.0 + 2.0 * phase).sin()
}

/// Share of a sink's buffer in use: mostly little, and for a while almost all of it.
pub(super) fn buffer_fill(second: f64, phase: f64) -> f64 {
    0.03 + 0.92 * (TAU * second / 900.0 + phase).sin().max(0.0).powi(6)
}

/// What a pipeline counted in an interval that ended at `second`; `noise` is about 1.
pub(super) fn sample(
    spec: &PipelineSpec,
    second: f64,
    seconds: f64,
    noise: f64,
    phase: f64,
) -> (PipelineSample, Vec<ComponentReport<'static>>) {
    let rate = spec.events_per_second * wave(second, phase) * noise;
    let fill = buffer_fill(second, phase);
    let mut sent: HashMap<&str, u64> = HashMap::new();
    let mut total = PipelineSample::default();
    let (mut events_in, mut events_out, mut errors, mut discarded) = (0, 0, 0, 0);
    let mut components = Vec::new();
    for component in spec.components {
        let received: u64 = match component.kind {
            ComponentKind::Source => whole(rate * seconds),
            _ => component.inputs.iter().filter_map(|input| sent.get(input)).sum(),
        };
        let is_sink = component.kind == ComponentKind::Sink;
        let failed = if is_sink && fill > ALMOST_FULL { whole(seconds / 5.0) } else { 0 };
        let out = whole(received as f64 * component.keeps);
        let dropped = if component.discards { received.saturating_sub(out) } else { 0 };
        sent.insert(component.id, out);
        match component.kind {
            ComponentKind::Source => events_in += received,
            ComponentKind::Sink => events_out += out,
            ComponentKind::Transform | ComponentKind::Unknown => {}
        }
        (errors, discarded) = (errors + failed, discarded + dropped);
        let own_fill = if is_sink { fill } else { 0.02 };
        components.push(ComponentReport {
            id: component.id.into(),
            kind: component.kind,
            received_events: Counter::new(received),
            sent_events: Counter::new(out),
            received_bytes: Some(Counter::new(received * spec.bytes_per_event)),
            sent_bytes: Some(Counter::new(out * spec.bytes_per_event)),
            errors: Counter::new(failed),
            discarded: Counter::new(dropped),
            latency_ms: Some(if is_sink { 4.0 + 40.0 * fill } else { 0.2 * noise }),
            utilization: Some((0.15 + 0.5 * own_fill).min(1.0)),
            buffer_events: (component.buffer > 0).then(|| Counter::new(whole(component.buffer as f64 * own_fill))),
            buffer_max_events: (component.buffer > 0).then(|| Counter::new(component.buffer)),
            buffer_bytes: None,
            buffer_max_bytes: None,
        });
    }
    total.events_in = Counter::new(events_in);
    total.events_out = Counter::new(events_out);
    total.errors = Counter::new(errors);
    total.discarded = Counter::new(discarded);
    total.bytes_in = Counter::new(events_in * spec.bytes_per_event);
    total.bytes_out = Counter::new(events_out * spec.bytes_per_event);
    total.utilization = Some(0.15 + 0.5 * fill);
    total.latency_ms = Some(2.0 + 20.0 * fill);
    (total, components)
}

/// How the components are connected.
pub(super) fn topology(spec: &PipelineSpec) -> Topology {
    let components = spec.components.iter().map(|component| TopologyComponent {
        id: component.id.to_owned(),
        kind: component.kind,
        component_type: component.of_type.to_owned(),
    });
    let edges = spec.components.iter().flat_map(|component| {
        let edge = |from: &&str| TopologyEdge { from: (*from).to_owned(), output: None, to: component.id.to_owned() };
        component.inputs.iter().map(edge)
    });
    Topology { components: components.collect(), edges: edges.collect() }
}

/// The counters of a host since its boot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostCounters {
    total_seconds: f64,
    idle_seconds: f64,
    received_bytes: f64,
    sent_bytes: f64,
    written_bytes: f64,
}

impl HostCounters {
    /// Counts an interval that ended at `second`, and returns the host as it is then.
    pub(super) fn advance(
        &mut self,
        spec: &NodeSpec,
        second: f64,
        seconds: f64,
        noise: f64,
        phase: f64,
    ) -> HostMetrics {
        let busy = (0.28 * wave(second, phase) * noise).clamp(0.0, 0.98);
        let bytes: f64 = spec.pipelines.iter().map(|own| own.events_per_second * own.bytes_per_event as f64).sum();
        self.total_seconds += spec.cores * seconds;
        self.idle_seconds += spec.cores * seconds * (1.0 - busy);
        self.received_bytes += bytes * wave(second, phase) * seconds;
        self.sent_bytes += 0.9 * bytes * wave(second, phase) * seconds;
        self.written_bytes += 0.3 * bytes * seconds;
        let used = spec.memory_bytes as f64 * (0.42 + 0.06 * wave(second / 2.0, phase));
        let load = spec.cores * busy;
        let disk: u64 = 64 << 30;
        let disk_used = disk / 3 + whole(self.written_bytes / 4.0);
        HostMetrics {
            memory_total_bytes: Some(spec.memory_bytes),
            memory_used_bytes: Some(whole(used)),
            memory_free_bytes: Some(spec.memory_bytes - whole(used).min(spec.memory_bytes)),
            cpu_seconds_total: Some(self.total_seconds),
            cpu_seconds_idle: Some(self.idle_seconds),
            load_avg_1: Some(load),
            load_avg_5: Some(load * 0.9),
            load_avg_15: Some(load * 0.85),
            fs_total_bytes: Some(disk),
            fs_used_bytes: Some(disk_used),
            fs_free_bytes: Some(disk - disk_used.min(disk)),
            disk_read_bytes: Some(whole(self.written_bytes / 9.0)),
            disk_written_bytes: Some(whole(self.written_bytes)),
            net_rx_bytes: Some(whole(self.received_bytes)),
            net_tx_bytes: Some(whole(self.sent_bytes)),
        }
    }
}

/// A number of things.
fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::super::scenario::NODES;
    use super::*;

    #[test]
    fn what_sinks_send_and_filters_discard_is_what_came_in() {
        let (total, components) = sample(&NODES[0].pipelines[0], 100.0, 5.0, 1.0, 0.0);
        let of = |id: &str| components.iter().find(|component| component.id.as_str() == id).unwrap();
        assert_eq!(of("only_valid").received_events, total.events_in);
        assert_eq!(of("orders_topic").sent_events, total.events_out);
        let sum = |counters: [Counter; 2]| counters.iter().map(|counter| counter.get().unwrap()).sum::<i64>();
        assert_eq!(sum([total.events_out, total.discarded]), total.events_in.get().unwrap());
        assert!(total.discarded.get().unwrap() > 0);
    }

    #[test]
    fn counters_of_a_host_only_grow() {
        let mut counters = HostCounters::default();
        let mut last = HostMetrics::default();
        for step in 1..200 {
            let host = counters.advance(&NODES[0], f64::from(step) * 30.0, 30.0, 1.05, 0.0);
            assert!(host.cpu_seconds_idle > last.cpu_seconds_idle && host.cpu_seconds_total > host.cpu_seconds_idle);
            assert!(host.net_rx_bytes > last.net_rx_bytes && host.memory_used_bytes < host.memory_total_bytes);
            last = host;
        }
    }

    #[test]
    fn buffer_is_almost_full_for_a_part_of_the_time() {
        let full = (0..900).filter(|second| buffer_fill(f64::from(*second), 0.0) > ALMOST_FULL).count();
        assert!((50..300).contains(&full), "{full}");
    }
}
