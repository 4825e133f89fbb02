//! Reads which modules of a crate import which, and compares that with the crate's list of layers.
//!
//! For tests of the collector and the agent: each has one list, in its own test. Top modules are what
//! counts; inside of one, modules may use each other as they like. The source is read as text, because
//! what the compiler knows of modules is not there to be asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Layers of a crate, from the lowest to the highest.
pub struct Layers {
    /// Top modules. A module may import from layers before its own; those of one layer do not import each
    /// other.
    pub order: &'static [&'static [&'static str]],
    /// Pairs of modules that may import each other.
    pub pairs: &'static [(&'static str, &'static str)],
}

/// An import that the layers do not allow, or a fault of the list itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// `from` imports `to`, which is not below it.
    Arrow {
        /// Top module that imports.
        from: String,
        /// Top module that is imported.
        to: String,
        /// File, relative to the source directory.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// The list does not have a module that the source has.
    Unlisted(String),
    /// The list has a module that the source does not have.
    Missing(String),
    /// Modules that import each other in a circle.
    Circle(Vec<String>),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Arrow { from, to, file, line } => {
                write!(f, "{}:{line}: {from} imports {to}, which is not below it", file.display())
            }
            Violation::Unlisted(module) => write!(f, "{module} is in no layer"),
            Violation::Missing(module) => write!(f, "{module} is in a layer and not in the source"),
            Violation::Circle(modules) => write!(f, "these modules import each other: {}", modules.join(", ")),
        }
    }
}

/// An import of one top module by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// Top module that imports.
    pub from: String,
    /// Top module that is imported.
    pub to: String,
    /// File, relative to the source directory.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
}

/// Compares the source of a crate with its layers. `main` is not a module: it may import everything.
///
/// # Errors
///
/// When a file cannot be read.
pub fn check(source: &Path, layers: &Layers) -> std::io::Result<Vec<Violation>> {
    let (modules, imports) = read(source)?;
    Ok(compare(&modules, &imports, layers))
}

fn compare(modules: &BTreeSet<String>, imports: &[Import], layers: &Layers) -> Vec<Violation> {
    let mut ranks = BTreeMap::new();
    for (rank, group) in layers.order.iter().enumerate() {
        ranks.extend(group.iter().map(|module| ((*module).to_owned(), rank)));
    }
    let unlisted = modules.iter().filter(|module| !ranks.contains_key(*module)).cloned().map(Violation::Unlisted);
    let missing = ranks.keys().filter(|module| !modules.contains(*module)).cloned().map(Violation::Missing);
    let mut violations: Vec<_> = unlisted.chain(missing).collect();
    let is_pair = |a: &str, b: &str| layers.pairs.iter().any(|pair| *pair == (a, b) || *pair == (b, a));
    for import in imports {
        let (Some(from), Some(to)) = (ranks.get(&import.from), ranks.get(&import.to)) else { continue };
        if to >= from && !is_pair(&import.from, &import.to) {
            let Import { from, to, file, line } = import.clone();
            violations.push(Violation::Arrow { from, to, file, line });
        }
    }
    let circles = circles(modules, imports).into_iter();
    violations
        .extend(circles.filter(|circle| circle.len() > 2 || !is_pair(&circle[0], &circle[1])).map(Violation::Circle));
    violations
}

/// Groups of two and more modules of which each reaches each.
fn circles(modules: &BTreeSet<String>, imports: &[Import]) -> Vec<Vec<String>> {
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports {
        arrows.entry(&import.from).or_default().insert(&import.to);
    }
    let reached = |from: &str| {
        let mut reached: BTreeSet<String> = BTreeSet::new();
        let mut open = vec![from.to_owned()];
        while let Some(module) = open.pop() {
            for next in arrows.get(module.as_str()).into_iter().flatten() {
                if reached.insert((*next).to_owned()) {
                    open.push((*next).to_owned());
                }
            }
        }
        reached
    };
    let reach: BTreeMap<&String, BTreeSet<String>> = modules.iter().map(|module| (module, reached(module))).collect();
    let mut circles: Vec<Vec<String>> = Vec::new();
    for (module, reached) in &reach {
        if circles.iter().flatten().any(|known| known == *module) {
            continue;
        }
        let back = |other: &&String| reach.get(*other).is_some_and(|others| others.contains(*module));
        let mut circle: Vec<String> = reached.iter().filter(back).cloned().collect();
        if circle.len() > 1 {
            circle.sort();
            circles.push(circle);
        }
    }
    circles
}

/// Top modules of a crate, and what they import of each other.
///
/// # Errors
///
/// When a file cannot be read.
pub fn read(source: &Path) -> std::io::Result<(BTreeSet<String>, Vec<Import>)> {
    let mut files = Vec::new();
    list(source, &mut files)?;
    let mut texts = Vec::new();
    let mut modules = BTreeSet::new();
    for file in files {
        let relative = file.strip_prefix(source).unwrap_or(&file).to_owned();
        let path = module_path(&relative);
        let Some(top) = path.first().cloned() else { continue };
        modules.insert(top);
        texts.push((relative, path, std::fs::read_to_string(&file)?));
    }
    let mut imports = Vec::new();
    for (file, path, text) in texts {
        for (line, to) in paths_of(&text, &path) {
            if to != path[0] && modules.contains(&to) {
                imports.push(Import { from: path[0].clone(), to, file: file.clone(), line });
            }
        }
    }
    Ok((modules, imports))
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// The modules that a file is in, itself last. Empty for `main.rs` and `lib.rs`. Tests of the layers
/// themselves are no module.
fn module_path(file: &Path) -> Vec<String> {
    let mut path: Vec<_> = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    if matches!(path.as_slice(), [only] if ["main", "lib", "layers_tests"].contains(&only.as_str())) {
        path.clear();
    }
    path
}

/// The top modules that a text names by `crate::`, or by `super::` out of its own, with their lines.
fn paths_of(text: &str, module: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code = without_comments(text);
    for (at, _) in code.match_indices("crate::") {
        if is_word_start(&code, at) {
            let line = 1 + code[..at].matches('\n').count();
            found.extend(first_names(&code[at + "crate::".len()..]).into_iter().map(|name| (line, name)));
        }
    }
    let mut rest = 0;
    while let Some(offset) = code[rest..].find("super::") {
        let at = rest + offset;
        let mut supers = 0;
        let mut end = at;
        while code[end..].starts_with("super::") {
            supers += 1;
            end += "super::".len();
        }
        rest = end;
        // A module inside of the file is one deeper than the file, so this may take an escape for none by
        // one level; what is certain is that fewer stay inside.
        let depth = module.len() + inline_depth(&code, at);
        if is_word_start(&code, at) && supers >= depth {
            let line = 1 + code[..at].matches('\n').count();
            found.extend(first_names(&code[end..]).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// How many modules that are written in the file itself a place is in.
fn inline_depth(code: &str, at: usize) -> usize {
    let mut open: Vec<bool> = Vec::new();
    let mut start = 0;
    for (index, byte) in code[..at].bytes().enumerate() {
        match byte {
            b'{' => {
                let head = code[start..index].trim();
                let last = head.rsplit(['\n', ';', '}']).next().unwrap_or(head).trim();
                open.push(last.starts_with("mod ") || last.contains(" mod "));
                start = index + 1;
            }
            b'}' => {
                open.pop();
                start = index + 1;
            }
            b';' => start = index + 1,
            _ => {}
        }
    }
    open.into_iter().filter(|is_module| *is_module).count()
}

fn is_word_start(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':' || before == '$')
}

/// The first names of a path or of each in braces: `{a::b, c}` has `a` and `c`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
    };
    let Some(inside) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (index, char) in inside.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name(&inside[start..index]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(&inside[start..index]));
                start = index + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The text with line comments blanked, so that lines keep their numbers. Links of documentation are no
/// imports.
fn without_comments(text: &str) -> String {
    let strip = |line: &str| -> String {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") { String::new() } else { line.split(" // ").next().unwrap_or(line).to_owned() }
    };
    text.lines().map(strip).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: Layers = Layers { order: &[&["low"], &["a", "b"], &["top", "app"]], pairs: &[("top", "app")] };

    fn source(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let all = [
            ("main.rs", "use crate::app;"),
            ("low.rs", ""),
            ("a/mod.rs", ""),
            ("b.rs", ""),
            ("top.rs", ""),
            ("app.rs", ""),
        ];
        for (name, text) in all.iter().chain(files) {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn arrows(files: &[(&str, &str)]) -> Vec<(String, String, usize)> {
        let dir = source(files);
        let arrow = |violation| match violation {
            Violation::Arrow { from, to, line, .. } => Some((from, to, line)),
            _ => None,
        };
        check(dir.path(), &LAYERS).unwrap().into_iter().filter_map(arrow).collect()
    }

    #[test]
    fn imports_of_lower_layers_are_allowed() {
        assert_eq!(arrows(&[("top.rs", "use crate::{a::X, low};\nuse super::b::Y;"), ("a/x.rs", "use super::y;")]), []);
    }

    #[test]
    fn arrows_are_found_in_every_form() {
        let arrow = |from: &str, to: &str, line| (from.to_owned(), to.to_owned(), line);
        assert_eq!(arrows(&[("low.rs", "\nuse crate::a::X;")]), [arrow("low", "a", 2)]);
        assert_eq!(arrows(&[("low.rs", "use crate::{low::Y,\n a::X};")]), [arrow("low", "a", 1)]);
        assert_eq!(arrows(&[("low.rs", "fn f() { crate::top::g() }")]), [arrow("low", "top", 1)]);
        assert_eq!(arrows(&[("a/x.rs", "use super::super::b::Y;")]), [arrow("a", "b", 1)]);
        assert_eq!(arrows(&[("a/x.rs", "mod m {\n use super::super::super::b::Y; }")]), [arrow("a", "b", 2)]);
        assert_eq!(arrows(&[("a/x.rs", "mod m {\n use super::super::b::Y; }\n// crate::top::X")]), []);
    }

    #[test]
    fn circles_beyond_the_allowed_pair_are_reported() {
        let allowed = source(&[("top.rs", "use crate::app::X;"), ("app.rs", "use crate::top::Y;")]);
        assert_eq!(check(allowed.path(), &LAYERS).unwrap(), []);
        let circle = source(&[("a/mod.rs", "use crate::low::X;"), ("low.rs", "use crate::a::Y;")]);
        let found = check(circle.path(), &LAYERS).unwrap();
        assert!(found.contains(&Violation::Circle(vec!["a".to_owned(), "low".to_owned()])), "{found:?}");
    }

    #[test]
    fn modules_and_list_must_agree() {
        let dir = source(&[("new.rs", "")]);
        std::fs::remove_file(dir.path().join("b.rs")).unwrap();
        let found = check(dir.path(), &LAYERS).unwrap();
        assert_eq!(found, [Violation::Unlisted("new".to_owned()), Violation::Missing("b".to_owned())]);
    }
}
