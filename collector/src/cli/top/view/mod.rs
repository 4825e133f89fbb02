//! Draws the model.

mod components;
mod header;
mod help;
mod logs;
mod nodes;
pub(super) mod palette;
mod pipelines;
mod table;
#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use systole_shared::UnixMillis;

use self::palette::Palette;
use super::model::{Model, View};

/// Draws the whole screen. `now` is our clock.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, palette: Palette, now: UnixMillis) {
    let lines = [Constraint::Length(3), Constraint::Min(0), Constraint::Length(2)];
    let [top, body, bottom] = Layout::vertical(lines).areas(frame.area());
    let header = [
        header::connection(model, palette, now),
        header::totals(model, palette),
        header::views(model, palette, usize::from(top.width)),
    ];
    draw_lines(frame, top, header);
    let detail = if model.shows_help {
        help::draw(frame, body);
        Line::default()
    } else {
        let now = model.collector_time(now);
        match model.view() {
            View::Nodes => nodes::draw(frame, body, model, palette, now),
            View::Pipelines => pipelines::draw(frame, body, model, palette, now),
            View::Components => components::draw(frame, body, model, palette),
            View::Logs => logs::draw(frame, body, model, palette),
        }
    };
    let detail = match &model.notice {
        Some(notice) => Line::from(Span::styled(notice.clone(), palette.odd())),
        None => detail,
    };
    draw_lines(frame, bottom, [detail, footer(model, palette)]);
}

fn draw_lines<const N: usize>(frame: &mut Frame<'_>, area: Rect, lines: [Line<'_>; N]) {
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

fn footer(model: &Model, palette: Palette) -> Line<'static> {
    if model.is_typing_filter {
        return Line::from(format!("/{}█", model.filter()));
    }
    let keys = if model.shows_help {
        "any key: back"
    } else if model.view() == View::Logs {
        "Esc back  ↑↓ scroll  ←→ shift  / filter  p pause  1-4 views  ? help  q quit"
    } else {
        "Enter in  Esc back  / filter  s r sort  p pause  1-4 views  ? help  q quit"
    };
    Line::from(Span::styled(keys, palette.dim()))
}
