//! Reads the `[metrics.NAME]` tables: mappings of the user's own, and the built-in ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use systole_shared::{ComponentId, ComponentKind};
use toml::{Table, Value};

use super::errors::ConfigErrors;
use super::section::Section;
use crate::model::mapping::{Alternatives, Field, InternalTypes, Kind, Mapping, MappingParts, Naming, Rule};

/// Name and table of each engine that is built in; the first is the default.
const BUILT_IN: [(&str, &str); 3] = [
    ("vector", include_str!("mappings/vector.toml")),
    ("otelcol", include_str!("mappings/otelcol.toml")),
    ("fluentbit", include_str!("mappings/fluentbit.toml")),
];

/// Every mapping that a pipeline may name.
pub(crate) struct Mappings {
    /// The default first.
    built_in: Vec<Arc<Mapping>>,
    own: BTreeMap<String, Option<Arc<Mapping>>>,
}

impl Mappings {
    /// The mapping of that name. One with mistakes reads as the default, for its mistakes are
    /// noted already and need no second note at each pipeline that names it.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Mapping>> {
        match self.own.get(name) {
            Some(mapping) => Some(mapping.clone().unwrap_or_else(|| self.default())),
            None => self.built_in.iter().find(|mapping| mapping.name() == name).cloned(),
        }
    }

    /// The one for pipelines that name none.
    pub(crate) fn default(&self) -> Arc<Mapping> {
        self.built_in[0].clone()
    }

    /// Every name, for mistakes.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.built_in.iter().map(|mapping| mapping.name()).chain(self.own.keys().map(String::as_str)).collect()
    }
}

/// Every table that is built in, the default first.
pub(crate) fn built_in() -> impl Iterator<Item = Mapping> {
    BUILT_IN.into_iter().map(|(name, table)| {
        let table = table.parse().expect("the built-in tables are TOML");
        let mut errors = ConfigErrors::default();
        read_one(name, table, &mut errors).expect("the built-in tables have no mistakes")
    })
}

/// Vector's table.
#[cfg(test)]
pub(crate) fn vector() -> Mapping {
    built_in().next().expect("there is a default")
}

/// Reads the tables of `metrics`.
pub(crate) fn read(root: &mut Section<'_>) -> Mappings {
    let built_in: Vec<_> = built_in().map(Arc::new).collect();
    let mut own = BTreeMap::new();
    for (name, value) in root.table("metrics").unwrap_or_default() {
        if built_in.iter().any(|mapping| mapping.name() == name) {
            root.error(&format!("metrics.{name}"), "is built in; give your own mapping another name");
            continue;
        }
        let Value::Table(table) = value else {
            root.error(&format!("metrics.{name}"), "must be a table, written as [metrics.NAME]");
            continue;
        };
        let mapping = read_one(&name, table, root.errors());
        own.insert(name, mapping.map(Arc::new));
    }
    Mappings { built_in, own }
}

/// Reads one mapping; `None` if it has mistakes, which are noted.
pub(crate) fn read_one(name: &str, table: Table, errors: &mut ConfigErrors) -> Option<Mapping> {
    let mut own = ConfigErrors::default();
    let path = format!("metrics.{name}");
    let mut section = Section::new(path.clone(), table, &mut own);
    let mut parts = MappingParts {
        name: name.to_owned(),
        prefix: section.text("prefix").unwrap_or_default(),
        suffixes: section.texts("suffixes").unwrap_or_default(),
        ignore: section.texts("ignore").unwrap_or_default(),
        uptime: section.text("uptime"),
        start_time: section.text("start_time"),
        timestamps_show_expiry: section.flag("timestamps_show_expiry").unwrap_or(false),
        internal: read_internal(&mut section),
        rules: read_labelled(&mut section).into_iter().collect(),
    };
    let components = section.tables("component");
    if components.is_empty() && parts.rules.is_empty() {
        section.error("component", format!("is missing; a mapping needs fields, or one or more [[{path}.component]]"));
    }
    for (index, table) in components.into_iter().enumerate() {
        let section = Section::new(format!("{path}.component {}", index + 1), table, section.errors());
        parts.rules.extend(read_component(&path, section));
    }
    let mut seen = BTreeSet::new();
    for rule in &parts.rules {
        if let Naming::Fixed(id) = &rule.component
            && !seen.insert(id)
        {
            section.error("component", format!("id \"{id}\" stands twice"));
        }
    }
    section.finish();
    let good = own.is_empty();
    errors.append(own);
    good.then(|| Mapping::new(parts))
}

/// The types of the components that are the engine's own monitoring.
fn read_internal(section: &mut Section<'_>) -> InternalTypes {
    let Some(table) = section.table("internal") else { return InternalTypes::default() };
    let mut inner = Section::new(section.name("internal"), table, section.errors());
    let types = InternalTypes {
        type_label: inner.text("type_label"),
        sources: inner.texts("sources").unwrap_or_default(),
        exporters: inner.texts("exporters").unwrap_or_default(),
        makers: inner.texts("makers").unwrap_or_default(),
    };
    inner.finish();
    types
}

/// The fields of the table itself.
fn read_labelled(section: &mut Section<'_>) -> Option<Rule> {
    let label = section.text("component_label");
    let kind = section.text("kind_label").map_or(Kind::Fixed(ComponentKind::Transform), Kind::Label);
    let fields = read_fields(section);
    match (&label, fields.is_empty()) {
        (None, false) => section.error(
            "component_label",
            "is missing; fields of the table itself need the label that names the component (or put them under [[metrics.NAME.component]])",
        ),
        (Some(_), true) => section.error("component_label", "is of no use without fields such as received_events"),
        _ => {}
    }
    let is_there = label.is_some() || !fields.is_empty();
    let component = Naming::Label { label: label.unwrap_or_default(), prefix: String::new() };
    is_there.then_some(Rule { component, kind, labels: Vec::new(), fields })
}

fn read_component(path: &str, mut section: Section<'_>) -> Option<Rule> {
    let component = read_naming(path, &mut section);
    let kind = read_kind(&mut section);
    let labels = section.text_table("labels").into_iter().collect();
    let fields = read_fields(&mut section);
    if fields.is_empty() {
        let names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
        section.error(
            "received_events",
            format!("none of the fields is there; give at least one of {}", names.join(", ")),
        );
    }
    section.finish();
    Some(Rule { component: component?, kind, labels, fields })
}

fn read_naming(path: &str, section: &mut Section<'_>) -> Option<Naming> {
    let (has_id, has_label) = (section.has("id"), section.has("component_label"));
    let (id, label) = (section.text("id"), section.text("component_label"));
    let prefix = section.text("id_prefix");
    if let Some(id) = &id {
        section.rename(format!("{path}.component \"{id}\""));
        if let Err(fault) = ComponentId::parse(id) {
            section.error("id", fault.to_string());
        }
        if prefix.is_some() {
            section.error("id_prefix", "stands beside id; it goes before ids that a component_label gives");
        }
    } else if let Some(label) = &label {
        section.rename(format!("{path}.component by \"{label}\""));
    }
    if has_id == has_label {
        section.error(
            "id",
            if has_id {
                "stands beside component_label; keep one of them"
            } else {
                "is missing; every component needs one, or a component_label that names it"
            },
        );
    }
    match (id, label) {
        (Some(id), None) => Some(Naming::Fixed(id)),
        (None, Some(label)) => Some(Naming::Label { label, prefix: prefix.unwrap_or_default() }),
        _ => None,
    }
}

fn read_kind(section: &mut Section<'_>) -> Kind {
    let kind = section.text("kind");
    let label = section.text("kind_label");
    if kind.is_some() && label.is_some() {
        section.error("kind_label", "stands beside kind; keep one of them");
    }
    match (kind.as_deref(), label) {
        (_, Some(label)) => Kind::Label(label),
        (Some("source"), _) => Kind::Fixed(ComponentKind::Source),
        (Some("sink"), _) => Kind::Fixed(ComponentKind::Sink),
        (Some("transform") | None, _) => Kind::Fixed(ComponentKind::Transform),
        (Some(other), _) => {
            section.error("kind", format!("`{other}` is no kind; source, transform or sink"));
            Kind::Fixed(ComponentKind::Transform)
        }
    }
}

fn read_fields(section: &mut Section<'_>) -> Vec<(Field, Alternatives)> {
    let mut fields = Vec::new();
    for field in Field::ALL {
        if let Some(alternatives) = read_alternatives(section, field) {
            let is_blank = |names: &Vec<String>| names.is_empty() || names.iter().any(|name| name.trim().is_empty());
            if alternatives.is_empty() || alternatives.len() > MAX_ALTERNATIVES || alternatives.iter().any(is_blank) {
                section.error(
                    field.name(),
                    "needs the name of a metric, a list of names, or { first_of = [ … ] } with some of these",
                );
            }
            fields.push((field, alternatives));
        }
    }
    fields
}

/// More than an engine ever renames a metric.
const MAX_ALTERNATIVES: usize = 16;

/// A name, a list of names that are summed, or `{ first_of = [ … ] }` of such.
fn read_alternatives(section: &mut Section<'_>, field: Field) -> Option<Alternatives> {
    let key = field.name();
    if !section.has_table(key) {
        return section.text_or_texts(key).map(|names| vec![names]);
    }
    let table = section.table(key)?;
    if matches!(field, Field::Gauge(_)) {
        section.error(key, "is a gauge; first_of is for counters");
    }
    let mut inner = Section::new(section.name(key), table, section.errors());
    let alternatives = inner.texts_or_lists("first_of");
    if alternatives.is_none() {
        inner.error("first_of", "is missing; a list of names, or of lists of names");
    }
    inner.finish();
    alternatives
}
