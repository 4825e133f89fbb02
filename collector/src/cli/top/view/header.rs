//! The first lines: totals, and the state of the connection.

use std::collections::BTreeMap;

use ratatui::text::{Line, Span};
use systole_shared::UnixMillis;
use systole_shared::events::FleetTotals;

use super::palette::Palette;
use super::table::ago;
use crate::cli::text::numbers::short;
use crate::cli::text::{clean, shortened};
use crate::cli::top::model::rows::{node_rank, pipeline_rank};
use crate::cli::top::model::{Link, Model, View};

/// Characters of what the view is limited to that stay on a narrow screen.
const MIN_SCOPE: usize = 12;

/// The address, and how fresh the screen is.
pub(super) fn connection(model: &Model, palette: Palette, now: UnixMillis) -> Line<'static> {
    let mut spans = vec![Span::styled("Systole ", palette.title()), Span::raw(model.address.clone()), Span::raw("  ")];
    match &model.link {
        Link::Connecting => spans.push(Span::styled("◌ connecting", palette.odd())),
        Link::Live => spans.push(Span::styled("● live", palette.good())),
        Link::Lost { why, since, retry_at } => {
            let wait = (retry_at.saturating_sub(now).max(0) + 999) / 1_000;
            let next = if wait > 0 { format!("reconnecting in {wait} s") } else { "reconnecting".to_owned() };
            let text = format!("✖ stale for {}, {next}: {}", ago(Some(*since), now), clean(why));
            spans.push(Span::styled(text, palette.bad()));
        }
    }
    if model.is_paused() {
        spans.push(Span::styled("  ‖ paused", palette.odd()));
    }
    Line::from(spans)
}

/// Nodes and pipelines by state, those that are well without a word; and the rates of all of them.
pub(super) fn totals(model: &Model, palette: Palette) -> Line<'static> {
    let fleet = &model.data().fleet;
    let mut nodes = BTreeMap::new();
    for node in fleet.nodes.values() {
        nodes.entry(node_rank(node.status)).or_insert((node.status, 0)).1 += 1;
    }
    let mut pipelines = BTreeMap::new();
    for instance in fleet.instances.values() {
        pipelines.entry(pipeline_rank(instance.status)).or_insert((instance.status, 0)).1 += 1;
    }
    let node_states = nodes.into_values().map(|(status, count): (_, usize)| {
        let (shape, style) = palette.node(status);
        Span::styled(format!(" {shape}{count}"), style)
    });
    let pipeline_states = pipelines.into_values().map(|(status, count): (_, usize)| {
        let (shape, style) = palette.pipeline(status);
        Span::styled(format!(" {shape}{count}"), style)
    });
    let mut spans = vec![Span::raw(format!("{} nodes", fleet.nodes.len()))];
    spans.extend(node_states);
    spans.push(Span::raw(format!("   {} pipelines", fleet.instances.len())));
    spans.extend(pipeline_states);
    // The collector sums them: the rates that are known here are those of the rows on the screen.
    if !fleet.totals.is_empty() {
        let sum = |rate: fn(&FleetTotals) -> f64| fleet.totals.values().map(rate).sum::<f64>();
        let (events_in, events_out) = (sum(|totals| totals.events_in_rate), sum(|totals| totals.events_out_rate));
        let errors = sum(|totals| totals.errors_rate);
        let (events_in, events_out) = (short(events_in), short(events_out));
        spans.push(Span::raw(format!("   in {events_in}/s  out {events_out}/s  errors ")));
        let errors_style = if errors > 0.0 { palette.bad() } else { palette.dim() };
        spans.push(Span::styled(format!("{}/s", short(errors)), errors_style));
    }
    Line::from(spans)
}

/// The views, what the view is limited to, and its order.
pub(super) fn views(model: &Model, palette: Palette, width: usize) -> Line<'static> {
    let mut spans = Vec::new();
    for (index, view) in View::ALL.into_iter().enumerate() {
        let style = if view == model.view() { palette.selected() } else { palette.dim() };
        spans.push(Span::styled(format!(" {} {} ", index + 1, view.name()), style));
    }
    let (scope, fleet) = (model.scope(), &model.data().fleet);
    let node = scope.node.map(|node| fleet.node_name(node));
    let pipeline = scope.pipeline.as_ref().map(|pipeline| fleet.pipeline_name(pipeline));
    let names: Vec<String> = node.into_iter().chain(pipeline).map(|name| clean(&name)).collect();
    let order = match model.view() {
        View::Logs => String::new(),
        _ => format!("  by {} {}", model.sort.name(), if model.is_reversed { "▲" } else { "▼" }),
    };
    if !names.is_empty() {
        let used = Line::from(spans.clone()).width() + order.chars().count() + 2;
        let names = shortened(&names.join("/"), width.saturating_sub(used).max(MIN_SCOPE));
        spans.push(Span::styled(format!("  {names}"), palette.title()));
    }
    spans.push(Span::styled(order, palette.dim()));
    if !model.filter().is_empty() && !model.is_typing_filter {
        spans.push(Span::styled(format!("  /{}", model.filter()), palette.odd()));
    }
    Line::from(spans)
}
