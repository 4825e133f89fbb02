use super::*;

const NOW: UnixMillis = 1_790_000_000_000;

fn output(name: &str) -> SourceKey {
    SourceKey::Output(name.to_owned())
}

fn file(ino: u64) -> SourceKey {
    SourceKey::File { path: format!("/{ino}").into(), identity: Identity::for_tests(ino) }
}

fn line_end(source: SourceId, end: u64) -> Offset {
    Offset { source, end, check: Check::default() }
}

fn paths(offsets: &ReadOffsets) -> Vec<PathBuf> {
    offsets.remembered().map(|file| file.path).collect()
}

fn restored(saved: &SavedLogs, now: UnixMillis) -> ReadOffsets {
    let mut offsets = ReadOffsets::default();
    offsets.restore(serde_json::from_str(&serde_json::to_string(saved).unwrap()).unwrap(), now);
    offsets
}

#[test]
fn a_line_that_waits_is_not_covered_and_one_that_was_reported_is() {
    let mut offsets = ReadOffsets::default();
    let source = offsets.open(output("a"), 100);
    let (first, second) = (line_end(source, 110), line_end(source, 120));
    offsets.wait(first);
    offsets.wait(second);
    offsets.mark_reported(first);
    let saved = offsets.close_report(NOW);
    offsets.mark_reported(second);
    assert_eq!(offsets.committed(source), 100);
    offsets.commit_report();
    assert_eq!(offsets.committed(source), 110, "the second line came behind the report");
    assert_eq!(restored(&saved, NOW).claim(|key| *key == output("a")).unwrap().1, 110);
}

#[test]
fn a_source_is_followed_on_once_and_missing_till_then() {
    let mut offsets = ReadOffsets::default();
    offsets.open(file(1), 10);
    offsets.open(file(2), 20);
    offsets.learn_pattern("/*");
    let mut next = restored(&offsets.close_report(NOW), NOW + 1);
    assert!(next.knows_pattern("/*") && !next.knows_pattern("/?"));
    assert_eq!(next.claim(|key| *key == file(2)).unwrap().1, 20);
    assert_eq!(next.claim(|key| *key == file(2)), None);
    assert_eq!(paths(&next), [Path::new("/1")]);
    let after = NOW + MISSING_FOR_MS;
    let late = restored(&next.close_report(after), after);
    assert_eq!(paths(&late), [Path::new("/2")], "the other was not seen");
}

#[test]
fn a_file_that_waits_where_it_was_is_remembered_and_of_too_many_the_oldest_are_forgotten() {
    let mut offsets = ReadOffsets::default();
    let number = MAX_REMEMBERED as u64 + 5;
    for (ino, now) in (0..number).zip(NOW..) {
        let source = offsets.open(file(ino), 10);
        offsets.lose(source, now);
        offsets.note_present(|_, _| true);
    }
    assert_eq!((paths(&offsets).len(), offsets.forgotten_until()), (MAX_REMEMBERED, Some(NOW + 4)));
    let after = NOW + 2 * MISSING_FOR_MS;
    let next = restored(&offsets.close_report(after), after);
    assert_eq!((paths(&next).len(), next.forgotten_until()), (MAX_REMEMBERED, Some(NOW + 4)));
}

#[test]
fn what_the_version_before_kept_is_read_and_paths_may_be_any_bytes() {
    let old = r#"{"files":[{"path":"/var/log/a.log","dev":1,"ino":2,"head_bytes":3,"head_crc":4,
        "offset":99,"seen":1790000000000}],"patterns":["/var/log/*.log"]}"#;
    let mut offsets = ReadOffsets::default();
    offsets.restore(serde_json::from_str(old).unwrap(), NOW);
    let known: Vec<Remembered> = offsets.remembered().collect();
    assert_eq!((known.len(), known[0].taken), (1, Point::at(99)));
    assert!(offsets.knows_pattern("/var/log/*.log"));
    let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"/caf\xe9.log"));
    offsets.open(SourceKey::File { path: path.clone(), identity: Identity::for_tests(7) }, 1);
    assert!(paths(&restored(&offsets.close_report(NOW), NOW)).contains(&path));
}

#[test]
fn a_retired_source_stays_until_its_last_line_is_in_a_report() {
    let mut offsets = ReadOffsets::default();
    let source = offsets.open(output("a"), 0);
    offsets.wait(line_end(source, 5));
    offsets.retire(source);
    assert!(!offsets.close_report(NOW).is_empty());
    offsets.mark_reported(line_end(source, 5));
    assert!(offsets.close_report(NOW).is_empty());
}
