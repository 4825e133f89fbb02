//! Pipelines over their nodes: the worst state, and rates.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use systole_shared::UnixMillis;

use super::palette::Palette;
use super::table::{self, Column, Rows, ago, bad_rate, name, name_width, rate};
use crate::cli::text::clean;
use crate::cli::text::numbers::short;
use crate::cli::top::model::Model;

const COLUMNS: [Column; 10] = [
    Column::growing("pipeline", 14),
    Column::words("state", 12),
    Column::number("nodes", 7),
    Column::number("in/s", 5),
    Column::number("out/s", 5),
    Column::number("err/s", 5),
    Column::number("disc/s", 6),
    Column::number("ms", 5),
    Column::number("since", 5),
    Column::growing("reason", 16).from(110),
];

pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    palette: Palette,
    now: UnixMillis,
) -> Line<'static> {
    let rows = model.pipeline_rows();
    let (selected, first) = model.selection();
    let [width, reason_width] = ["pipeline", "reason"].map(|title| name_width(&COLUMNS, title, area.width));
    let shown = rows.iter().skip(first).take(usize::from(area.height.saturating_sub(1)));
    let cells = shown.map(|row| {
        let (shape, style) = palette.pipeline(row.status);
        let is_known = row.rates.is_known;
        vec![
            name(&row.name, width),
            Span::styled(format!("{shape} {}", row.status), style),
            Span::raw(format!("{}/{}", row.running, row.nodes)),
            rate(row.rates.events_in, is_known),
            rate(row.rates.events_out, is_known),
            bad_rate(palette, row.rates.errors, is_known),
            rate(row.rates.discarded, is_known),
            Span::raw(row.rates.latency_ms().map_or_else(|| "–".to_owned(), short)),
            Span::raw(ago(Some(row.since).filter(|since| *since > 0), now)),
            name(&row.reason, reason_width).style(palette.dim()),
        ]
    });
    let cells = cells.collect();
    let empty = match model.filter() {
        "" => "no pipelines yet; an agent's file names them, or: systole-collector apply -f FILE",
        _ => "no pipeline matches the filter; Esc clears it",
    };
    table::draw(frame, area, palette, Rows { columns: &COLUMNS, cells, selected: selected - first, empty });
    let Some(row) = rows.get(selected) else { return Line::default() };
    let (shape, style) = palette.pipeline(row.status);
    let node = model.data().fleet.node_name(row.worst_node);
    let reason = if row.reason.is_empty() { String::new() } else { format!(": {}", row.reason) };
    Line::from(Span::styled(clean(&format!("{shape} {} {} on {node}{reason}", row.name, row.status)), style))
}
