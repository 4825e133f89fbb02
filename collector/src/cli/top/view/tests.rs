//! Screens as text. `UPDATE_SCREENS=1 cargo test` writes them again.

use std::path::Path;

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};
use systole_shared::LogLevel;

use super::palette::Palette;
use super::*;
use crate::cli::top::model::tests::{NOW, change, fleet, graph, lines, node, pipeline, press};
use crate::cli::top::model::{Message, Wanted};

fn drawn(model: &mut Model, columns: u16, rows: u16, in_colour: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    model.resize(rows);
    terminal.draw(|frame| draw(frame, model, Palette { in_colour }, NOW)).unwrap();
    terminal
}

fn text(terminal: &Terminal<TestBackend>) -> String {
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width).map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    rows.map(|row| format!("{}\n", row.trim_end())).collect()
}

/// Compares the screen at both sizes with the stored ones.
fn assert_screens(name: &str, model: &mut Model) {
    for (columns, rows) in [(80, 24), (120, 40)] {
        let screen = text(&drawn(model, columns, rows, false));
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/view/screens");
        let file = directory.join(format!("{name}-{columns}x{rows}.txt"));
        if std::env::var_os("UPDATE_SCREENS").is_some() {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(&file, &screen).unwrap();
        }
        let stored = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(screen == stored, "{} differs:\n{screen}\nstored:\n{stored}", file.display());
    }
}

#[test]
fn nodes_with_a_crash() {
    let mut model = fleet();
    model.take(change(node(2), Some("orders"), "RUNNING", "CRASHED", "exit code 78"));
    model.take(change(node(2), None, "HEALTHY", "DEGRADED", "Orders is CRASHED"));
    assert_screens("nodes", &mut model);
}

#[test]
fn pipelines_of_all_nodes() {
    let mut model = fleet();
    model.take(change(node(2), Some("orders"), "RUNNING", "CRASHED", "exit code 78"));
    press(&mut model, &[KeyCode::Char('2')]);
    assert_screens("pipelines", &mut model);
}

#[test]
fn components_of_a_pipeline_on_a_node() {
    let mut model = fleet();
    press(&mut model, &[KeyCode::Enter, KeyCode::Enter]);
    model.take(Message::Graph(pipeline("clickstream"), graph()));
    press(&mut model, &[KeyCode::End]);
    assert_screens("components", &mut model);
}

#[test]
fn logs_show_the_newest_last_and_scroll_back() {
    let mut model = fleet();
    press(&mut model, &[KeyCode::Char('2'), KeyCode::Down, KeyCode::Char('4')]);
    let Wanted::Logs { number, .. } = model.wanted() else { panic!() };
    for count in 0..50 {
        model.take(lines(number, node(1), &[(LogLevel::Info, &format!("line {count} \u{1b}[31mred"))]));
    }
    model.take(lines(number, node(3), &[(LogLevel::Error, "the last one")]));
    let screen = text(&drawn(&mut model, 80, 24, false));
    let rows: Vec<&str> = screen.lines().collect();
    assert!(rows[21].ends_with("ERROR cloud-fran…-ingest-1 the last one"), "{screen}");
    assert!(rows[20].ends_with("INFO  edge-oslo-1 line 49 red"), "{screen}");
    press(&mut model, &[KeyCode::PageUp]);
    let screen = text(&drawn(&mut model, 80, 24, false));
    assert!(!screen.contains("the last one") && screen.contains("newer lines below"), "{screen}");
    press(&mut model, &[KeyCode::End, KeyCode::Right]);
    let screen = text(&drawn(&mut model, 80, 24, false));
    assert!(screen.contains(" cloud-fran…-ingest-1  one"), "{screen}");
}

#[test]
fn help_and_an_empty_fleet() {
    let mut model = Model::new("http://127.0.0.1:8080".into());
    let screen = text(&drawn(&mut model, 80, 24, false));
    assert!(screen.contains("no nodes yet") && screen.contains("connecting"), "{screen}");
    press(&mut model, &[KeyCode::Char('?')]);
    assert_screens("help", &mut model);
}

#[test]
fn lost_connection_says_how_old_the_screen_is() {
    let mut model = fleet();
    let why = "the collector does not run".to_owned();
    model.take(Message::Lost { why: why.clone(), at: NOW - 34_000, retry_at: NOW - 30_000 });
    model.take(Message::Lost { why, at: NOW - 2_000, retry_at: NOW + 2_500 });
    let screen = text(&drawn(&mut model, 120, 24, false));
    assert!(screen.contains("✖ stale for 34s, reconnecting in 3 s: the collector does not run"), "{screen}");
    model.take(Message::Opened { address: "http://127.0.0.1:9".into() });
    let screen = text(&drawn(&mut model, 120, 24, false));
    assert!(screen.contains("http://127.0.0.1:9  ● live"), "{screen}");
}

#[test]
fn states_are_coloured_unless_colours_are_off() {
    let colours = |in_colour| {
        let terminal = drawn(&mut fleet_with_crash(), 80, 24, in_colour);
        let cells = &terminal.backend().buffer().content;
        let cross = cells.iter().find(|cell| cell.symbol() == "✖").unwrap().clone();
        (cross.fg, cross.modifier)
    };
    assert_eq!(colours(true), (Color::Red, Modifier::BOLD));
    assert_eq!(colours(false), (Color::Reset, Modifier::BOLD));
}

fn fleet_with_crash() -> Model {
    let mut model = fleet();
    model.take(change(node(2), None, "HEALTHY", "UNREACHABLE", "no report"));
    model
}

#[test]
fn every_size_can_be_drawn() {
    let mut model = fleet();
    for keys in [KeyCode::Char('1'), KeyCode::Char('2'), KeyCode::Char('3'), KeyCode::Char('4'), KeyCode::Char('?')] {
        press(&mut model, &[keys]);
        for (columns, rows) in [(1, 1), (3, 2), (20, 5), (79, 6), (300, 100)] {
            drawn(&mut model, columns, rows, true);
        }
    }
}
