//! Components of a pipeline in the order of the flow.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use systole_shared::ComponentKind;

use super::palette::Palette;
use super::table::{self, Column, Rows, bad_rate, name, name_width, percent, rate};
use crate::cli::text::clean;
use crate::cli::text::numbers::short;
use crate::cli::top::model::Model;
use crate::cli::top::model::rows::ComponentRow;

/// Share of a buffer from which it is about to be full.
const ALMOST_FULL: f64 = 0.8;

const COLUMNS: [Column; 10] = [
    Column::growing("component", 16),
    Column::words("kind", 9),
    Column::number("recv/s", 6),
    Column::number("sent/s", 6),
    Column::number("err/s", 5),
    Column::number("disc/s", 6),
    Column::number("buffer", 6),
    Column::number("ms", 6),
    Column::words("type", 18).from(100),
    Column::growing("sends to", 12).from(110),
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) -> Line<'static> {
    let rows = model.component_rows();
    let (selected, first) = model.selection();
    let [width, to_width] = ["component", "sends to"].map(|title| name_width(&COLUMNS, title, area.width));
    let shown = rows.iter().skip(first).take(usize::from(area.height.saturating_sub(1)));
    let cells = shown.map(|row| {
        vec![
            name(row.id.as_str(), width),
            Span::raw(row.kind.as_str()),
            // A source receives from outside, and a sink sends there.
            rate(row.received, row.kind != ComponentKind::Source || row.received > 0.0),
            rate(row.sent, true),
            bad_rate(palette, row.errors, true),
            rate(row.discarded, true),
            buffer(row, palette),
            Span::raw(row.latency_ms.map_or_else(|| "–".to_owned(), short)),
            name(row.component_type.as_deref().unwrap_or_default(), 18).style(palette.dim()),
            name(&row.sends_to.join(" "), to_width).style(palette.dim()),
        ]
    });
    let cells = cells.collect();
    let empty = match (&model.scope().pipeline, model.filter()) {
        (None, _) => "no pipeline is selected; 2 lists them",
        (Some(_), "") => "no rates yet: the pipeline does not run, or its metrics are not scraped",
        (Some(_), _) => "no component matches the filter; Esc clears it",
    };
    table::draw(frame, area, palette, Rows { columns: &COLUMNS, cells, selected: selected - first, empty });
    rows.get(selected).map(detail).unwrap_or_default()
}

fn buffer(row: &ComponentRow, palette: Palette) -> Span<'static> {
    let span = percent(row.buffer_fill);
    if row.buffer_fill.is_some_and(|fill| fill >= ALMOST_FULL) { span.style(palette.bad()) } else { span }
}

fn detail(row: &ComponentRow) -> Line<'static> {
    let kind = match &row.component_type {
        Some(name) => format!("{name} {}", row.kind.as_str()),
        None => row.kind.as_str().to_owned(),
    };
    let to = if row.sends_to.is_empty() { String::new() } else { format!(" → {}", row.sends_to.join(", ")) };
    Line::from(clean(&format!("{}, {kind}{to}", row.id.as_str())))
}
