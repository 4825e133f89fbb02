//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use systole_shared::{NodeId, PipelineId};

use super::logs::Logs;
use super::{Command, MAX_PLACES, Model, Place, RowKey, Scope, View};

/// Characters of a filter; a longer one would not be on the screen.
const MAX_FILTER: usize = 60;

/// Columns that an arrow moves lines of logs.
const SHIFT: usize = 8;

impl Model {
    /// Handles a key.
    pub(in crate::cli::top) fn press(&mut self, key: KeyEvent) -> Command {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Command::Quit } else { Command::Continue };
        }
        if self.is_typing_filter {
            self.type_filter(key.code);
            return Command::Continue;
        }
        if self.shows_help {
            self.shows_help = false;
            return Command::Continue;
        }
        match key.code {
            KeyCode::Char('q') => return Command::Quit,
            KeyCode::Char('?') => self.shows_help = true,
            KeyCode::Char('/') => self.is_typing_filter = true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('p') => {
                self.frozen = if self.is_paused() { None } else { Some(Box::new(self.live.clone())) };
            }
            KeyCode::Char(digit @ '1'..='4') => {
                let index = digit.to_digit(10).map_or(0, |digit| digit as usize - 1);
                self.open(View::ALL[index]);
            }
            KeyCode::Tab | KeyCode::BackTab => {
                let step = if key.code == KeyCode::Tab { 1 } else { View::ALL.len() - 1 };
                let now = View::ALL.iter().position(|view| *view == self.place.view).unwrap_or(0);
                self.open(View::ALL[(now + step) % View::ALL.len()]);
            }
            KeyCode::Enter => self.enter(),
            KeyCode::Esc => self.go_back(),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.step(self.page()),
            KeyCode::PageUp => self.step(-self.page()),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN + 1),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Left | KeyCode::Char('h') => self.shift_logs(|shift| shift.saturating_sub(SHIFT)),
            KeyCode::Right | KeyCode::Char('l') => self.shift_logs(|shift| shift + SHIFT),
            _ => {}
        }
        Command::Continue
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing_filter = false,
            KeyCode::Esc => {
                self.is_typing_filter = false;
                self.place.filter.clear();
            }
            KeyCode::Backspace => {
                self.place.filter.pop();
            }
            KeyCode::Char(c) if self.place.filter.chars().count() < MAX_FILTER => self.place.filter.push(c),
            _ => {}
        }
    }

    fn page(&self) -> isize {
        isize::try_from(self.height).unwrap_or(isize::MAX)
    }

    /// Moves the selection down, or up when negative.
    fn step(&mut self, rows: isize) {
        if self.place.view == View::Logs {
            self.live.logs.scroll(rows.saturating_neg());
            if let Some(frozen) = &mut self.frozen {
                frozen.logs.scroll(rows.saturating_neg());
            }
            return;
        }
        let mut keys = self.row_keys();
        if keys.is_empty() {
            return;
        }
        let index = self.index_in(&keys).saturating_add_signed(rows).min(keys.len() - 1);
        self.place.selected = Some(keys.swap_remove(index));
    }

    fn shift_logs(&mut self, by: impl Fn(usize) -> usize) {
        self.live.logs.shift = by(self.live.logs.shift);
        if let Some(frozen) = &mut self.frozen {
            frozen.logs.shift = self.live.logs.shift;
        }
    }

    fn selected_node(&self) -> Option<NodeId> {
        let mut keys = self.row_keys();
        let index = self.index_in(&keys);
        let RowKey::Node(node) = (index < keys.len()).then(|| keys.swap_remove(index))? else { return None };
        Some(node)
    }

    fn selected_pipeline(&self) -> Option<PipelineId> {
        let mut keys = self.row_keys();
        let index = self.index_in(&keys);
        let RowKey::Pipeline(pipeline) = (index < keys.len()).then(|| keys.swap_remove(index))? else { return None };
        Some(pipeline)
    }

    /// Goes from a row into what it consists of.
    fn enter(&mut self) {
        match self.place.view {
            View::Nodes => {
                if let Some(node) = self.selected_node() {
                    self.go_to(View::Pipelines, Scope { node: Some(node), pipeline: None });
                }
            }
            View::Pipelines => self.open(View::Components),
            View::Components => self.open(View::Logs),
            View::Logs => {}
        }
    }

    /// Opens a view for what is selected.
    fn open(&mut self, view: View) {
        let scope = self.place.scope.clone();
        let scope = match (view, self.place.view) {
            (View::Nodes, _) | (View::Pipelines, View::Nodes) => Scope::default(),
            (View::Pipelines, _) => Scope { pipeline: None, ..scope },
            (View::Components | View::Logs, View::Pipelines) => Scope { pipeline: self.selected_pipeline(), ..scope },
            (View::Components, View::Nodes) => Scope { node: self.selected_node(), pipeline: None },
            (View::Logs, View::Nodes) => Scope { node: self.selected_node(), pipeline: None },
            (View::Components | View::Logs, _) => scope,
        };
        let scope = if view == View::Components && scope.pipeline.is_none() {
            Scope { pipeline: self.first_pipeline(scope.node), ..scope }
        } else {
            scope
        };
        self.go_to(view, scope);
    }

    fn first_pipeline(&self, node: Option<NodeId>) -> Option<PipelineId> {
        let instances = &self.data().fleet.instances;
        instances.keys().find(|(_, on)| node.is_none_or(|node| node == *on)).map(|(pipeline, _)| pipeline.clone())
    }

    fn go_to(&mut self, view: View, scope: Scope) {
        if self.place.view == view && self.place.scope == scope {
            return;
        }
        let before = std::mem::replace(&mut self.place, Place { view, scope, ..Place::default() });
        if self.back.len() >= MAX_PLACES {
            self.back.remove(0);
        }
        self.back.push(before);
        self.arrive();
    }

    fn go_back(&mut self) {
        if !self.place.filter.is_empty() {
            self.place.filter.clear();
        } else if let Some(place) = self.back.pop() {
            self.place = place;
            self.arrive();
        }
    }

    /// Forgets what belongs to another place.
    fn arrive(&mut self) {
        self.notice = None;
        self.live.graph = super::Graph::default();
        self.live.logs = Logs::default();
        self.log_selection += 1;
        // What was frozen has no lines of the new selection.
        if self.place.view == View::Logs {
            self.frozen = None;
        }
    }
}
