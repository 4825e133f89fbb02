use std::ffi::OsStr;
use std::fs::{create_dir_all, write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;

fn found_in(dir: &Path, pattern: &str, links: Links) -> (Vec<PathBuf>, Troubles) {
    let pattern = Pattern::parse(&format!("{}/{pattern}", dir.display())).unwrap();
    let found = find(&pattern, links, None);
    let paths = found.files.into_iter().map(|file| file.path.strip_prefix(dir).unwrap().to_owned());
    (paths.collect(), found.troubles)
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[test]
fn walk_finds_names_that_are_not_utf_8() {
    let dir = tempfile::tempdir().unwrap();
    for name in [b"r\xe9sum\xe9.txt".as_slice(), b"caf\xe9.log", b"a.log", b"\xff"] {
        write(dir.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    let (found, troubles) = found_in(dir.path(), "*.log", Links::Refused);
    assert_eq!(found, [Path::new("a.log"), Path::new(OsStr::from_bytes(b"caf\xe9.log"))]);
    assert!(troubles.is_empty(), "{troubles:?}");
}

#[test]
fn walk_goes_into_any_directory_under_two_stars_and_into_named_ones_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.log", "x/a.log", "x/y/a.log", "x/y/b.txt", "x/.hidden/a.log", "z/y/a.log"] {
        create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        write(dir.path().join(name), "x").unwrap();
    }
    let find = |pattern| found_in(dir.path(), pattern, Links::Refused).0;
    assert_eq!(find("**/*.log"), paths(&["a.log", "x/a.log", "x/y/a.log", "z/y/a.log"]));
    assert_eq!(find("**/y/*"), paths(&["x/y/a.log", "x/y/b.txt", "z/y/a.log"]));
    assert_eq!(find("**/y/**/*.log"), paths(&["x/y/a.log", "z/y/a.log"]));
    assert_eq!(find("*/y/a.log"), paths(&["x/y/a.log", "z/y/a.log"]));
    assert_eq!(find("x/**"), paths(&["x/a.log", "x/y/a.log", "x/y/b.txt"]));
    assert_eq!(find("x/.hid*/*"), paths(&["x/.hidden/a.log"]));
    assert_eq!(find("x/a.log"), paths(&["x/a.log"]));
}

#[test]
fn walk_skips_links_and_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("target"), "x").unwrap();
    create_dir_all(dir.path().join("d/inner")).unwrap();
    write(dir.path().join("d/inner/x.log"), "x").unwrap();
    symlink("target", dir.path().join("link.log")).unwrap();
    symlink("d", dir.path().join("e")).unwrap();
    let (found, troubles) = found_in(dir.path(), "*.log", Links::Refused);
    assert!(found.is_empty() && troubles.len() == 1, "{troubles:?}");
    assert!(found_in(dir.path(), "link.log", Links::Refused).0.is_empty(), "also one that is named");
    assert_eq!(found_in(dir.path(), "*/inner/*.log", Links::Refused).0, paths(&["d/inner/x.log"]));
    assert_eq!(found_in(dir.path(), "*.log", Links::Followed).0, paths(&["link.log"]));
    assert_eq!(found_in(dir.path(), "e/inner/*.log", Links::Refused).0, paths(&["e/inner/x.log"]), "the fixed part");
    assert_eq!(found_in(dir.path(), "*/inner/*.log", Links::Followed).0.len(), 1, "one directory, once");
}

#[test]
fn walk_over_links_that_lead_back_ends() {
    let dir = tempfile::tempdir().unwrap();
    create_dir_all(dir.path().join("a/b")).unwrap();
    write(dir.path().join("a/b/x.log"), "x").unwrap();
    symlink("..", dir.path().join("a/b/up")).unwrap();
    symlink(dir.path(), dir.path().join("a/root")).unwrap();
    symlink("self", dir.path().join("self")).unwrap();
    assert_eq!(found_in(dir.path(), "**/*.log", Links::Followed).0, paths(&["a/b/x.log"]));
}

#[test]
fn walk_is_bounded_in_depth_and_stays_on_one_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let mut deep = dir.path().to_owned();
    for _ in 0..=MAX_DEPTH {
        deep.push("d");
    }
    create_dir_all(&deep).unwrap();
    write(deep.join("x.log"), "x").unwrap();
    write(deep.parent().unwrap().join("y.log"), "x").unwrap();
    let (found, troubles) = found_in(dir.path(), "**/*.log", Links::Refused);
    assert_eq!((found.len(), troubles.len()), (1, 1), "{troubles:?}");
    // /proc and /sys are other file systems than /.
    let found = find(&Pattern::parse("/**/kallsyms").unwrap(), Links::Refused, None);
    assert!(!found.files.iter().any(|file| file.path.starts_with("/proc")));
}

#[test]
fn walk_does_not_enter_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    create_dir_all(dir.path().join("data/output")).unwrap();
    write(dir.path().join("data/output/x.log"), "x").unwrap();
    write(dir.path().join("y.log"), "x").unwrap();
    let own = crate::model::log_files::OwnFiles::new(dir.path().join("data"), Vec::new());
    let pattern = Pattern::parse(&format!("{}/**/*.log", dir.path().display())).unwrap();
    let found = find(&pattern, Links::Refused, own.data_dir_inode());
    assert_eq!(found.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), [dir.path().join("y.log")]);
}

#[test]
fn own_files_are_known_under_every_name() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    create_dir_all(data_dir.join("spool")).unwrap();
    for name in ["data/node-token", "data/spool/1", "agent.toml", "other"] {
        write(dir.path().join(name), "x").unwrap();
    }
    std::fs::hard_link(data_dir.join("node-token"), dir.path().join("hard")).unwrap();
    symlink("data", dir.path().join("link")).unwrap();
    let own = crate::model::log_files::OwnFiles::new(data_dir.clone(), vec![dir.path().join("agent.toml")]).look();
    write(data_dir.join("later"), "x").unwrap();
    let is_own = |name: &str| own.contains(&dir.path().join(name), &dir.path().join(name).metadata().unwrap());
    for name in ["data/node-token", "data/spool/1", "agent.toml", "hard", "link/later", "data/later"] {
        assert!(is_own(name), "{name}");
    }
    assert!(!is_own("other"));
}

#[test]
fn files_that_do_not_end_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    create_dir_all(dir.path().join("d")).unwrap();
    write(dir.path().join("d/x"), "x").unwrap();
    symlink("/dev/zero", dir.path().join("zero")).unwrap();
    symlink("d", dir.path().join("e")).unwrap();
    let open = |name: &str, links| open::open_file(dir.path(), &dir.path().join(name), links);
    for name in ["pipe", "socket", "d", "zero"] {
        assert!(open(name, Links::Followed).unwrap().is_none(), "{name}");
    }
    assert!(open("d/x", Links::Refused).unwrap().is_some() && open("e/x", Links::Followed).unwrap().is_some());
    assert!(open("e/x", Links::Refused).is_err(), "a directory that has become a link");
    assert!(open("zero", Links::Refused).unwrap().is_none());
}
