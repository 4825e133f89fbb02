//! Lines of the selection, the newest last.

use chrono::{DateTime, Local};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use systole_shared::LogLevel;

use super::palette::Palette;
use crate::cli::text::{clean, shortened};
use crate::cli::top::model::Model;
use crate::cli::top::model::logs::LogLine;

/// Characters of a node and a pipeline, at most a quarter of the screen.
const MAX_SUBJECT: usize = 32;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) -> Line<'static> {
    let logs = &model.data().logs;
    let height = usize::from(area.height);
    let found: Vec<&LogLine> = logs.newest_first(model.filter()).collect();
    // The oldest lines stay on a full screen.
    let back = logs.back.min(found.len().saturating_sub(height));
    let width = usize::from(area.width);
    let lines: Vec<_> =
        found.iter().skip(back).take(height).rev().map(|line| row(model, palette, line, width)).collect();
    if lines.is_empty() {
        frame.render_widget(Line::from(Span::styled("  no lines yet", palette.dim())), area);
    }
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
    match back {
        0 => Line::default(),
        back => Line::from(Span::styled(format!("{back} newer lines below; End follows again"), palette.odd())),
    }
}

fn row(model: &Model, palette: Palette, line: &LogLine, width: usize) -> Line<'static> {
    let (scope, fleet) = (model.scope(), &model.data().fleet);
    let time = DateTime::from_timestamp_millis(line.entry.at)
        .map(|at| at.with_timezone(&Local).format("%H:%M:%S").to_string())
        .unwrap_or_default();
    let level = line.entry.level.map_or("LOG", LogLevel::as_str);
    // What the selection names already is not repeated.
    let node = scope.node.is_none().then(|| fleet.node_name(line.node));
    let pipeline = scope.pipeline.is_none().then(|| line.pipeline.as_str().to_owned());
    let subject = node.into_iter().chain(pipeline).collect::<Vec<_>>().join("/");
    let subject = shortened(&clean(&subject), MAX_SUBJECT.min(width / 4));
    let text: String = clean(&line.entry.line).replace('\t', "    ").chars().skip(model.data().logs.shift).collect();
    let mut spans = vec![
        Span::styled(format!("{time} "), palette.dim()),
        Span::styled(format!("{level:5} "), palette.level(line.entry.level)),
    ];
    if !subject.is_empty() {
        spans.push(Span::styled(format!("{subject} "), palette.title()));
    }
    spans.push(Span::raw(text));
    Line::from(spans)
}
