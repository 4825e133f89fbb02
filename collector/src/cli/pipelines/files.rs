//! Reads the files of pipelines, with all errors of all files at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use systole_shared::PipelineId;
use systole_shared::desired::MAX_CONFIG_BYTES;

use crate::control::definition::check;
use crate::control::definition_file::DefinitionFile;
use crate::model::definition::Definition;

/// A pipeline that is to be applied.
pub(super) struct Loaded {
    pub id: PipelineId,
    pub definition: Definition,
}

/// Reads the files that are named, and the `.toml` files of the directories that are named.
///
/// # Errors
///
/// Everything that is wrong with them, each with its place.
pub(super) fn load(paths: &[PathBuf]) -> Result<Vec<Loaded>, Vec<String>> {
    let (mut errors, mut loaded) = (Vec::new(), Vec::new());
    let mut seen: BTreeMap<PipelineId, PathBuf> = BTreeMap::new();
    for path in paths {
        let files = match files_of(path) {
            Ok(files) => files,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for file in files {
            match load_file(&file) {
                Err(of_file) => errors.extend(of_file),
                Ok(pipeline) => match seen.insert(pipeline.id.clone(), file.clone()) {
                    Some(first) => {
                        let id = pipeline.id.as_str();
                        errors.push(format!("{}: {} describes {id:?} too", file.display(), first.display()));
                    }
                    None => loaded.push(pipeline),
                },
            }
        }
    }
    if errors.is_empty() { Ok(loaded) } else { Err(errors) }
}

/// A file itself; of a directory its `.toml` files, by name.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "toml") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("{}: contains no file that ends with .toml", path.display()));
    }
    Ok(files)
}

fn load_file(path: &Path) -> Result<Loaded, Vec<String>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{shown}: {error}")])?;
    let file = DefinitionFile::parse(&text)
        .map_err(|errors| errors.iter().map(|error| format!("{shown}:{error}")).collect::<Vec<_>>())?;
    let mut definition = file.definition.clone();
    let config_path = file.config_file.as_ref().map(|config| path.parent().unwrap_or(Path::new(".")).join(config));
    if let Some(config) = &config_path {
        definition.config = read_config(config).map_err(|error| vec![error])?;
    }
    let faults = check(&definition);
    if faults.is_empty() {
        return Ok(Loaded { id: file.id, definition });
    }
    let place = |fault: &_| match (file.error(fault), &config_path, fault.position) {
        (None, Some(config), Some(position)) => {
            format!("{}:{}:{}: {}", config.display(), position.line, position.column, fault.message)
        }
        (Some(error), ..) => format!("{shown}:{error}"),
        (None, ..) => format!("{shown}: {fault}"),
    };
    Err(faults.iter().map(place).collect())
}

fn read_config(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
    if bytes > MAX_CONFIG_BYTES as u64 {
        return Err(format!("{shown}: has {bytes} bytes, more than {MAX_CONFIG_BYTES}"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_all_files_have_their_places() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let pipeline = |id: &str, config: &str| {
            format!("id = \"{id}\"\nselector = \"*\"\nengine = \"vector\"\nconfig_file = \"{config}\"\n")
        };
        write("a.toml", &pipeline("a", "a.yaml"));
        write("a.yaml", "sources: {}\n");
        write("b.toml", &pipeline("b", "b.yaml"));
        write("b.yaml", "sources:\n  in: {}\n  in: {}\n");
        write("c.toml", &pipeline("a", "a.yaml"));
        write("d.toml", "id = 7\n");
        write("e.toml", &pipeline("e", "missing.json"));
        let Err(errors) = load(&[dir.path().to_owned()]) else { panic!("it is read") };
        let errors: Vec<_> =
            errors.iter().map(|error| error.replace(&format!("{}/", dir.path().display()), "")).collect();
        assert_eq!(errors[0], "b.yaml:3:3: the key \"in\" occurs twice");
        assert_eq!(errors[1], "c.toml: a.toml describes \"a\" too");
        assert!(errors[2].starts_with("d.toml:1:1: "), "{errors:?}");
        assert!(errors.last().unwrap().starts_with("missing.json: "), "{errors:?}");
        for name in ["b.toml", "c.toml", "d.toml", "e.toml"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        let loaded = load(&[dir.path().to_owned()]).unwrap();
        assert_eq!((loaded.len(), loaded[0].definition.config.as_str()), (1, "sources: {}\n"));
    }
}
