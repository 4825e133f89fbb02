//! The keys.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

const KEYS: [(&str, &str); 13] = [
    ("↑ ↓  j k", "select a row; in logs: scroll"),
    ("PgUp PgDn Home End", "by a screen, to the first or last row"),
    ("Enter", "go in: node → pipelines → components → logs"),
    ("Esc", "clear the filter, or go back"),
    ("1 2 3 4  Tab", "nodes, pipelines, components, logs of the selection"),
    ("← →", "shift long log lines"),
    ("/", "filter by name, state or label; in logs: by text"),
    ("s", "sort: state (worst first), name, events in, errors, cpu"),
    ("r", "reverse the order"),
    ("p", "pause the screen; events are still received"),
    ("q  Ctrl-C", "quit"),
    ("● ◌ ○", "runs, starts, is stopped or offline"),
    ("▲ ✖ ?", "degraded, crashed or unreachable, unknown"),
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect) {
    for ((keys, what), row) in KEYS.into_iter().zip(area.rows().skip(1)) {
        frame.render_widget(Line::from(format!("  {keys:20} {what}")), row);
    }
}
