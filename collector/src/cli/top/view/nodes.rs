//! Nodes: state, pipelines, rates, host, last report, labels.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use systole_shared::{PipelineStatus, UnixMillis};

use super::palette::Palette;
use super::table::{self, Column, Rows, ago, bad_rate, name, name_width, percent, rate};
use crate::cli::text::clean;
use crate::cli::top::model::Model;
use crate::cli::top::model::rows::NodeRow;

const COLUMNS: [Column; 11] = [
    Column::growing("node", 16),
    Column::words("state", 13),
    Column::words("pipelines", 11),
    Column::number("in/s", 5),
    Column::number("out/s", 5),
    Column::number("err/s", 5),
    Column::number("cpu", 4),
    Column::number("mem", 4),
    Column::number("last", 5),
    Column::words("version", 8).from(110),
    Column::growing("labels", 10).from(100),
];

pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    palette: Palette,
    now: UnixMillis,
) -> Line<'static> {
    let rows = model.node_rows();
    let (selected, first) = model.selection();
    let detail = rows.get(selected).map(|row| detail(row, palette)).unwrap_or_default();
    let [node_width, labels_width] = ["node", "labels"].map(|title| name_width(&COLUMNS, title, area.width));
    let shown = rows.iter().skip(first).take(usize::from(area.height.saturating_sub(1)));
    let cells = shown.map(|row| {
        let (shape, style) = palette.node(row.node.status);
        let title = if row.node.name.is_empty() { row.id.to_string() } else { row.node.name.clone() };
        vec![
            name(&title, node_width),
            Span::styled(format!("{shape} {}", row.node.status), style),
            pipelines(row, palette),
            rate(row.rates.events_in, row.rates.is_known),
            rate(row.rates.events_out, row.rates.is_known),
            bad_rate(palette, row.rates.errors, row.rates.is_known),
            percent(row.node.cpu),
            percent(row.node.memory),
            Span::raw(ago(row.node.last_report_at, now)),
            name(&row.node.version, 8),
            name(&row.node.labels.join(" "), labels_width).style(palette.dim()),
        ]
    });
    let cells = cells.collect();
    let empty = match model.filter() {
        "" => "no nodes yet; on a host: systole-agent with an enrolment token (token create --kind enroll)",
        _ => "no node matches the filter; Esc clears it",
    };
    table::draw(frame, area, palette, Rows { columns: &COLUMNS, cells, selected: selected - first, empty });
    detail
}

/// Pipelines by state: `●3 ✖1`.
fn pipelines(row: &NodeRow<'_>, palette: Palette) -> Span<'static> {
    let states = row.pipelines.iter().map(|(status, count)| format!("{}{count}", palette.pipeline(*status).0));
    let text = states.collect::<Vec<_>>().join(" ");
    let worst = row.pipelines.first().map_or(PipelineStatus::Running, |(status, _)| *status);
    Span::styled(text, palette.pipeline(worst).1)
}

fn detail(row: &NodeRow<'_>, palette: Palette) -> Line<'static> {
    let (shape, style) = palette.node(row.node.status);
    let mut text = format!("{shape} {} {}", row.node.name, row.node.status);
    if !row.node.reason.is_empty() {
        text = format!("{text}: {}", row.node.reason);
    }
    if !row.node.labels.is_empty() {
        text = format!("{text}  {}", row.node.labels.join(" "));
    }
    Line::from(Span::styled(clean(&text), style))
}
