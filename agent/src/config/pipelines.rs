//! Reads the `[[pipeline]]` tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use systole_shared::limits::{MAX_PIPELINES_PER_REPORT, MAX_SHORT_TEXT_BYTES};
use systole_shared::{PipelineId, Token};

use super::mappings::Mappings;
use super::section::Section;
use super::{command, file, lines, process, settings};
use crate::model::mapping::Mapping;
use crate::model::pipeline::{MetricsConfig, PipelineConfig, ProcessConfig};

/// Reads every pipeline; those with errors are left out, their errors noted.
pub(crate) fn read(root: &mut Section<'_>, mappings: &Mappings) -> Vec<PipelineConfig> {
    let tables = root.tables("pipeline");
    if tables.len() > MAX_PIPELINES_PER_REPORT {
        root.error("pipeline", format!("there are {}, at most {MAX_PIPELINES_PER_REPORT} are allowed", tables.len()));
    }
    let mut seen = BTreeSet::new();
    let mut served = BTreeMap::new();
    let mut pipelines = Vec::with_capacity(tables.len());
    for (index, table) in tables.into_iter().enumerate() {
        let section = Section::new(format!("pipeline {}", index + 1), table, root.errors());
        let Some(pipeline) = read_one(section, mappings) else { continue };
        if !seen.insert(pipeline.id.clone()) {
            root.error(
                &format!("pipeline \"{}\": id", pipeline.id),
                format!("duplicate id `{}`: ids must be unique in this file", pipeline.id),
            );
            continue;
        }
        if let (Some(_), Some(metrics)) = (&pipeline.command, &pipeline.metrics)
            && let Some(other) = served.insert(metrics.url.clone(), pipeline.id.clone())
        {
            root.error(
                &format!("pipeline \"{}\": metrics_url", pipeline.id),
                format!("is also the address of pipeline \"{other}\"; two commands cannot serve the same address"),
            );
        }
        pipelines.push(pipeline);
    }
    pipelines
}

fn read_one(mut section: Section<'_>, mappings: &Mappings) -> Option<PipelineConfig> {
    let id = read_id(&mut section);
    if let Some(id) = &id {
        section.rename(format!("pipeline \"{id}\""));
    }
    let name = section.text("name");
    if name.as_ref().is_some_and(|name| name.len() > MAX_SHORT_TEXT_BYTES) {
        section.error("name", format!("is longer than {MAX_SHORT_TEXT_BYTES} bytes"));
    }
    let labels = section.text_table("labels");
    let labels_key = section.name("labels");
    settings::check_labels(&labels_key, &labels, section.errors());
    let mut log_files = lines::read_log_files(&mut section);
    let multiline = lines::read_multiline(&mut section);
    let has_command = section.has("command");
    let command = command::read(&mut section);
    let has_metrics = section.has("metrics_url");
    let metrics = read_metrics(&mut section, mappings);
    let api_url = section.text("api_url").and_then(|text| match settings::http_url(&text) {
        Ok(url) => Some(url.to_string()),
        Err(what) => {
            section.error("api_url", what);
            None
        }
    });
    let has_process = section.has("pid_file") || section.has("systemd_unit");
    let process = process::read(&mut section, has_command);
    if section.flag("journal") == Some(true) {
        match &process {
            Some(ProcessConfig::SystemdUnit(unit)) => log_files.journal_unit = Some(unit.clone()),
            _ => section.error("journal", "needs systemd_unit: the journal of that unit is read"),
        }
    }
    if !has_command && !has_metrics && !has_process {
        section.error(
            "command",
            "is missing, and so are metrics_url, pid_file and systemd_unit; set command to run the pipeline, or one or more of the others to watch it",
        );
    }
    section.finish();
    Some(PipelineConfig {
        id: id?,
        name,
        labels,
        command,
        metrics,
        process,
        log_files,
        multiline,
        api_url,
        centre: None,
    })
}

fn read_id(section: &mut Section<'_>) -> Option<PipelineId> {
    if !section.has("id") {
        section.take("id");
        section.error("id", "is missing; every pipeline needs one, like id = \"orders\"");
        return None;
    }
    let text = section.text("id")?;
    match PipelineId::parse(&text) {
        Ok(id) => Some(id),
        Err(fault) => {
            section.error("id", fault.to_string());
            None
        }
    }
}

fn read_metrics(section: &mut Section<'_>, mappings: &Mappings) -> Option<MetricsConfig> {
    let has_url = section.has("metrics_url");
    let url = section.text("metrics_url").and_then(|text| match settings::http_url(&text) {
        Ok(url) => Some(url),
        Err(what) => {
            section.error("metrics_url", what);
            None
        }
    });
    let bearer_token = read_bearer(section);
    let mapping = read_mapping_name(section, mappings);
    let count_internal = section.flag("count_internal");
    if !has_url {
        for key in [
            ("metrics", mapping.1),
            ("metrics_bearer_token", bearer_token.is_some()),
            ("count_internal", count_internal.is_some()),
        ] {
            if key.1 {
                section.error(key.0, "needs metrics_url");
            }
        }
    }
    Some(MetricsConfig {
        url: url?,
        bearer_token,
        mapping: mapping.0?,
        count_internal: count_internal.unwrap_or(false),
    })
}

fn read_bearer(section: &mut Section<'_>) -> Option<Token> {
    let token = section.text("metrics_bearer_token");
    let path = section.text("metrics_bearer_token_file");
    let (token, key) = match (token, path) {
        (Some(_), Some(_)) => {
            section.error("metrics_bearer_token_file", "is set together with metrics_bearer_token; remove one of them");
            return None;
        }
        (Some(token), None) => (Token::new(&token), "metrics_bearer_token"),
        (None, Some(path)) => {
            let key = section.name("metrics_bearer_token_file");
            (file::read_secret(&path, &key, section.errors())?, "metrics_bearer_token_file")
        }
        (None, None) => return None,
    };
    if !token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
        section.error(key, "contains characters that are not allowed in a header");
        return None;
    }
    Some(token)
}

/// The mapping, and whether one was named.
fn read_mapping_name(section: &mut Section<'_>, mappings: &Mappings) -> (Option<Arc<Mapping>>, bool) {
    let Some(name) = section.text("metrics") else { return (Some(mappings.default()), false) };
    let mapping = mappings.get(&name);
    if mapping.is_none() {
        section.error("metrics", format!("unknown mapping `{name}`, expected one of {}", mappings.names().join(", ")));
    }
    (mapping, true)
}
