//! Reads the `[metrics.NAME]` tables: mappings of the user's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use systole_shared::{ComponentId, ComponentKind};
use toml::{Table, Value};

use super::mistakes::Mistakes;
use super::section::Section;
use crate::scrape::mapping::{Field, Mapping, MappingParts, Rule};

/// Every mapping that a pipeline may name.
pub(crate) struct UserMappings {
    by_name: BTreeMap<String, Option<Arc<Mapping>>>,
    vector: Arc<Mapping>,
}

/// The name of the built-in mapping.
const VECTOR: &str = "vector";

impl UserMappings {
    /// The mapping of that name. One with mistakes reads as the built-in, for its mistakes are
    /// noted already and need no second note at each pipeline that names it.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Mapping>> {
        match self.by_name.get(name) {
            Some(mapping) => Some(mapping.clone().unwrap_or_else(|| self.vector())),
            None => (name == VECTOR).then(|| self.vector()),
        }
    }

    /// The built-in one.
    pub(crate) fn vector(&self) -> Arc<Mapping> {
        self.vector.clone()
    }

    /// Every name, for mistakes.
    pub(crate) fn names(&self) -> Vec<&str> {
        std::iter::once(VECTOR).chain(self.by_name.keys().map(String::as_str)).collect()
    }
}

/// Reads the tables of `metrics`.
pub(crate) fn read(root: &mut Section<'_>) -> UserMappings {
    let mut by_name = BTreeMap::new();
    for (name, value) in root.table("metrics").unwrap_or_default() {
        if name == VECTOR {
            root.mistake("metrics.vector", "is built in; give your own mapping another name");
            continue;
        }
        let Value::Table(table) = value else {
            root.mistake(&format!("metrics.{name}"), "must be a table, written as [metrics.NAME]");
            continue;
        };
        let mapping = read_one(&name, table, root.mistakes());
        by_name.insert(name, mapping.map(Arc::new));
    }
    UserMappings { by_name, vector: Arc::new(Mapping::vector()) }
}

/// Reads one mapping; `None` if it has mistakes, which are noted.
pub(crate) fn read_one(name: &str, table: Table, mistakes: &mut Mistakes) -> Option<Mapping> {
    let mut own = Mistakes::default();
    let path = format!("metrics.{name}");
    let mut section = Section::new(path.clone(), table, &mut own);
    let mut parts = MappingParts {
        name: name.to_owned(),
        prefix: section.text("prefix").unwrap_or_default(),
        component_label: section.text("component_label"),
        kind_label: section.text("kind_label"),
        ignore: section.texts("ignore").unwrap_or_default(),
        uptime: section.text("uptime"),
        start_time: section.text("start_time"),
        labelled: read_fields(&mut section),
        fixed: Vec::new(),
    };
    match (&parts.component_label, parts.labelled.is_empty()) {
        (None, false) => section.mistake(
            "component_label",
            "is missing; fields of the table itself need the label that names the component (or put them under [[metrics.NAME.component]])",
        ),
        (Some(_), true) => section.mistake("component_label", "is of no use without fields such as received_events"),
        _ => {}
    }
    let components = section.tables("component");
    if components.is_empty() && parts.labelled.is_empty() {
        section
            .mistake("component", format!("is missing; a mapping needs fields, or one or more [[{path}.component]]"));
    }
    for (index, table) in components.into_iter().enumerate() {
        let section = Section::new(format!("{path}.component {}", index + 1), table, section.mistakes());
        parts.fixed.extend(read_component(&path, section));
    }
    let mut seen = std::collections::BTreeSet::new();
    for rule in &parts.fixed {
        if !seen.insert(&rule.component) {
            section.mistake("component", format!("id \"{}\" stands twice", rule.component));
        }
    }
    section.finish();
    let good = own.is_empty();
    mistakes.append(own);
    good.then(|| Mapping::new(parts))
}

fn read_component(path: &str, mut section: Section<'_>) -> Option<Rule> {
    let has_id = section.has("id");
    let id = section.text("id");
    if let Some(id) = &id {
        section.rename(format!("{path}.component \"{id}\""));
        if let Err(fault) = ComponentId::parse(id) {
            section.mistake("id", fault.to_string());
        }
    } else if !has_id {
        section.mistake("id", "is missing; every component needs one");
    }
    let kind = match section.text("kind").as_deref() {
        Some("source") => ComponentKind::Source,
        Some("sink") => ComponentKind::Sink,
        Some("transform") | None => ComponentKind::Transform,
        Some(other) => {
            section.mistake("kind", format!("`{other}` is no kind; source, transform or sink"));
            ComponentKind::Transform
        }
    };
    let labels = section.text_table("labels").into_iter().collect();
    let fields = read_fields(&mut section);
    if fields.is_empty() {
        let names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
        section.mistake(
            "received_events",
            format!("none of the fields is there; give at least one of {}", names.join(", ")),
        );
    }
    section.finish();
    Some(Rule { component: id?, kind, labels, fields })
}

fn read_fields(section: &mut Section<'_>) -> Vec<(Field, Vec<String>)> {
    let mut fields = Vec::new();
    for field in Field::ALL {
        if let Some(names) = section.text_or_texts(field.name()) {
            if names.is_empty() || names.iter().any(|name| name.trim().is_empty()) {
                section.mistake(field.name(), "needs the name of a metric, or a list of names");
            }
            fields.push((field, names));
        }
    }
    fields
}
