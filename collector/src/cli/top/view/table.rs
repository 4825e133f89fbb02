//! Tables: columns that a wide terminal has, rows that are on the screen, and the selected one.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};
use systole_shared::UnixMillis;

use super::palette::Palette;
use crate::cli::text::numbers::short;
use crate::cli::text::{clean, shortened};

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub title: &'static str,
    /// At least so many characters.
    pub width: u16,
    /// Whether it takes the room that is left.
    pub grows: bool,
    /// Whether it is a number, which is read from the right.
    pub is_number: bool,
    /// The terminal must have this many columns to show it.
    pub from_columns: u16,
}

impl Column {
    /// A column of words.
    pub(super) const fn words(title: &'static str, width: u16) -> Self {
        Column { title, width, grows: false, is_number: false, from_columns: 0 }
    }

    /// A column that takes the room that is left.
    pub(super) const fn growing(title: &'static str, width: u16) -> Self {
        Column { title, width, grows: true, is_number: false, from_columns: 0 }
    }

    /// A column of numbers.
    pub(super) const fn number(title: &'static str, width: u16) -> Self {
        Column { title, width, grows: false, is_number: true, from_columns: 0 }
    }

    /// The same for terminals that are this wide.
    pub(super) const fn from(self, columns: u16) -> Self {
        Column { from_columns: columns, ..self }
    }
}

/// The rows on the screen.
pub(super) struct Rows<'a> {
    pub columns: &'a [Column],
    /// A cell for each column, shown or not.
    pub cells: Vec<Vec<Span<'a>>>,
    /// Of these rows.
    pub selected: usize,
    /// Shown instead when there is no row.
    pub empty: &'a str,
}

/// Draws a table.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, palette: Palette, rows: Rows<'_>) {
    let is_shown = |column: &Column| column.from_columns <= area.width;
    let shown: Vec<Column> = rows.columns.iter().copied().filter(is_shown).collect();
    let title = |column: &Column| {
        let line = Line::from(Span::styled(column.title, palette.dim()));
        Cell::from(if column.is_number { line.right_aligned() } else { line })
    };
    let header = Row::new(shown.iter().map(title));
    if rows.cells.is_empty() {
        let [top, below] = [Rect { height: 1.min(area.height), ..area }, below_title(area)];
        frame.render_widget(Table::new([header], widths(&shown, area.width)), top);
        frame.render_widget(Line::from(Span::styled(format!("  {}", rows.empty), palette.dim())), below);
        return;
    }
    let lines = rows.cells.into_iter().enumerate().map(|(index, cells)| {
        let cells = cells.into_iter().zip(rows.columns).filter(|(_, column)| is_shown(column));
        let cells = cells.map(|(span, column)| {
            let line = Line::from(span);
            Cell::from(if column.is_number { line.right_aligned() } else { line })
        });
        let row = Row::new(cells.collect::<Vec<_>>());
        if index == rows.selected { row.style(palette.selected()) } else { row }
    });
    let lines: Vec<_> = lines.collect();
    frame.render_widget(Table::new(lines, widths(&shown, area.width)).header(header).column_spacing(1), area);
}

fn below_title(area: Rect) -> Rect {
    Rect { y: area.y + 1.min(area.height), height: area.height.saturating_sub(1).min(1), ..area }
}

fn widths(columns: &[Column], width: u16) -> Vec<Constraint> {
    columns.iter().map(|column| Constraint::Length(width_of(column, columns, width))).collect()
}

fn width_of(column: &Column, columns: &[Column], width: u16) -> u16 {
    if !column.grows {
        return column.width;
    }
    let needed: u16 = columns.iter().map(|column| column.width + 1).sum();
    let growing = u16::try_from(columns.iter().filter(|column| column.grows).count()).unwrap_or(1).max(1);
    column.width + (width + 1).saturating_sub(needed) / growing
}

/// The width that a column has, to shorten a name to it.
pub(super) fn name_width(columns: &[Column], title: &str, width: u16) -> usize {
    let shown: Vec<Column> = columns.iter().copied().filter(|column| column.from_columns <= width).collect();
    let column = shown.iter().find(|column| column.title == title);
    column.map_or(0, |column| usize::from(width_of(column, &shown, width)))
}

/// A name of others in a cell.
pub(super) fn name(text: &str, width: usize) -> Span<'static> {
    Span::raw(shortened(&clean(text), width))
}

/// A rate; a dash when nothing is known.
pub(super) fn rate(value: f64, is_known: bool) -> Span<'static> {
    Span::raw(if is_known { short(value) } else { "–".to_owned() })
}

/// A rate of what should not be: red unless it is zero.
pub(super) fn bad_rate(palette: Palette, value: f64, is_known: bool) -> Span<'static> {
    let span = rate(value, is_known);
    if is_known && value > 0.0 { span.style(palette.bad()) } else { span }
}

/// A share in percent.
pub(super) fn percent(share: Option<f64>) -> Span<'static> {
    Span::raw(share.map_or_else(|| "–".to_owned(), |share| format!("{:.0}%", share * 100.0)))
}

/// Time since a moment, in the largest unit.
pub(super) fn ago(at: Option<UnixMillis>, now: UnixMillis) -> String {
    let Some(at) = at else { return "never".to_owned() };
    let seconds = now.saturating_sub(at).max(0) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_since_has_one_unit() {
        for (ms, text) in [(-5, "0s"), (59_999, "59s"), (60_000, "1m"), (7_200_000, "2h"), (200_000_000, "2d")] {
            assert_eq!(ago(Some(0), ms), text);
        }
        assert_eq!(ago(None, 0), "never");
    }

    #[test]
    fn growing_column_takes_what_is_left() {
        let columns = [Column::growing("name", 10), Column::number("in", 6), Column::growing("labels", 10).from(100)];
        assert_eq!(name_width(&columns, "name", 80), 73);
        assert_eq!(name_width(&columns, "name", 100), 10 + (101 - 29) / 2);
        assert_eq!(name_width(&columns, "labels", 80), 0);
    }
}
