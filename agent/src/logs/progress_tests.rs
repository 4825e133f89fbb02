use super::*;

const NOW: UnixMillis = 1_790_000_000_000;

fn output(name: &str) -> Place {
    Place::Output(name.to_owned())
}

fn file(ino: u64) -> Place {
    Place::File { path: format!("/{ino}").into(), identity: Identity::for_tests(ino) }
}

fn mark(source: SourceId, end: u64) -> Mark {
    Mark { source, end, check: Check::default() }
}

fn paths(progress: &Progress) -> Vec<PathBuf> {
    progress.remembered().map(|file| file.path).collect()
}

fn restored(saved: &SavedLogs, now: UnixMillis) -> Progress {
    let mut progress = Progress::default();
    progress.restore(serde_json::from_str(&serde_json::to_string(saved).unwrap()).unwrap(), now);
    progress
}

#[test]
fn a_line_that_waits_is_not_covered_and_one_that_was_reported_is() {
    let mut progress = Progress::default();
    let source = progress.open(output("a"), 100);
    let (first, second) = (mark(source, 110), mark(source, 120));
    progress.wait(first);
    progress.wait(second);
    progress.cover(first);
    let saved = progress.close_report(NOW);
    progress.cover(second);
    assert_eq!(progress.committed(source), 100);
    progress.commit_report();
    assert_eq!(progress.committed(source), 110, "the second line came behind the report");
    assert_eq!(restored(&saved, NOW).claim(|place| *place == output("a")).unwrap().1, 110);
}

#[test]
fn a_source_is_followed_on_once_and_missing_till_then() {
    let mut progress = Progress::default();
    progress.open(file(1), 10);
    progress.open(file(2), 20);
    progress.learn_pattern("/*");
    let mut next = restored(&progress.close_report(NOW), NOW + 1);
    assert!(next.knows_pattern("/*") && !next.knows_pattern("/?"));
    assert_eq!(next.claim(|place| *place == file(2)).unwrap().1, 20);
    assert_eq!(next.claim(|place| *place == file(2)), None);
    assert_eq!(paths(&next), [Path::new("/1")]);
    let after = NOW + MISSING_FOR_MS;
    let late = restored(&next.close_report(after), after);
    assert_eq!(paths(&late), [Path::new("/2")], "the other was not seen");
}

#[test]
fn a_file_that_waits_where_it_was_is_remembered_and_of_too_many_the_oldest_are_forgotten() {
    let mut progress = Progress::default();
    let number = MAX_REMEMBERED as u64 + 5;
    for (ino, now) in (0..number).zip(NOW..) {
        let source = progress.open(file(ino), 10);
        progress.lose(source, now);
        progress.note_present(|_, _| true);
    }
    assert_eq!((paths(&progress).len(), progress.forgotten_until()), (MAX_REMEMBERED, Some(NOW + 4)));
    let after = NOW + 2 * MISSING_FOR_MS;
    let next = restored(&progress.close_report(after), after);
    assert_eq!((paths(&next).len(), next.forgotten_until()), (MAX_REMEMBERED, Some(NOW + 4)));
}

#[test]
fn what_the_version_before_kept_is_read_and_paths_may_be_any_bytes() {
    let old = r#"{"files":[{"path":"/var/log/a.log","dev":1,"ino":2,"head_bytes":3,"head_crc":4,
        "offset":99,"seen":1790000000000}],"patterns":["/var/log/*.log"]}"#;
    let mut progress = Progress::default();
    progress.restore(serde_json::from_str(old).unwrap(), NOW);
    let known: Vec<Remembered> = progress.remembered().collect();
    assert_eq!((known.len(), known[0].taken), (1, Point::at(99)));
    assert!(progress.knows_pattern("/var/log/*.log"));
    let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"/caf\xe9.log"));
    progress.open(Place::File { path: path.clone(), identity: Identity::for_tests(7) }, 1);
    assert!(paths(&restored(&progress.close_report(NOW), NOW)).contains(&path));
}

#[test]
fn a_retired_source_stays_until_its_last_line_is_in_a_report() {
    let mut progress = Progress::default();
    let source = progress.open(output("a"), 0);
    progress.wait(mark(source, 5));
    progress.retire(source);
    assert!(!progress.close_report(NOW).is_empty());
    progress.cover(mark(source, 5));
    assert!(progress.close_report(NOW).is_empty());
}
