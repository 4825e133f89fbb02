use std::collections::BTreeMap;

use super::*;

struct Scene {
    dir: tempfile::TempDir,
    revisions: Revisions,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let revisions = Revisions::of(&dir.path().join("data"), &PipelineId::parse("orders").unwrap());
        Scene { dir, revisions }
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("orders.yaml")
    }

    fn config(&self, args: &[&str]) -> Arc<PipelineConfig> {
        let command = CommandConfig {
            program: "vector".to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: BTreeMap::new(),
            working_dir: None,
            config_file: Some(self.source()),
            limits: Default::default(),
            run_as: None,
            validate: Some(vec!["judge".to_owned(), "{config}".to_owned()]),
        };
        let id = PipelineId::parse("orders").unwrap();
        Arc::new(PipelineConfig {
            id,
            name: None,
            labels: BTreeMap::new(),
            command: Some(command),
            metrics: None,
            process: None,
            log_files: Default::default(),
            multiline: None,
            api_url: None,
            centre: None,
        })
    }

    fn read(&self, content: &str) -> Revision {
        fs::write(self.source(), content).unwrap();
        let config = self.config(&["--config", self.source().to_str().unwrap(), "--dir={config}.d"]);
        Revisions::read(&config, config.command.as_ref().unwrap()).unwrap()
    }

    /// The content that a process of this revision reads now.
    fn installed(&self, revision: &Revision) -> String {
        let copy = self.revisions.install(revision).unwrap();
        let command = revision.command(&copy).unwrap();
        assert_eq!(command.args[1], self.path("orders.yaml"));
        fs::read_to_string(&command.args[1]).unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join("data/pipelines").join(name).display().to_string()
    }
}

#[test]
fn command_and_validator_use_the_copied_file() {
    let scene = Scene::new();
    let revision = scene.read("a: 1");
    let (next, current) = (scene.path("orders.next.yaml"), scene.path("orders.yaml"));
    let candidate = scene.revisions.candidate(&revision).unwrap();
    assert_eq!(revision.validation(&candidate).unwrap().args, [next.as_str()]);
    assert_eq!(fs::read_to_string(&next).unwrap(), "a: 1");
    drop(candidate);
    assert!(!Path::new(&next).exists(), "it was for the judge alone");
    let copy = scene.revisions.install(&revision).unwrap();
    assert_eq!(revision.command(&copy).unwrap().args, ["--config", &current, &format!("--dir={current}.d")]);
    assert_eq!(fs::read_to_string(current).unwrap(), "a: 1");
    // As `printf 'a: 1' | sha256sum` has it.
    assert_eq!(revision.checksum.as_deref(), Some("16c3c6d78678d53d39ab2c7a5a7bc4596567b46a1a57000a2d707334f779b824"));
}

#[test]
fn every_start_finds_the_content_whatever_became_of_the_file() {
    let scene = Scene::new();
    let first = scene.read("a: 1");
    let second = scene.read("a: 2");
    let current = PathBuf::from(scene.path("orders.yaml"));
    for _ in 0..3 {
        assert_eq!(scene.installed(&first), "a: 1");
        fs::remove_file(&current).unwrap();
        assert_eq!(scene.installed(&first), "a: 1");
        fs::write(&current, "a: 3").unwrap();
        assert_eq!(scene.installed(&first), "a: 1");
        assert_eq!(scene.installed(&second), "a: 2");
        fs::remove_dir_all(current.parent().unwrap()).unwrap();
    }
}

#[test]
fn revisions_differ_by_command_or_content_only() {
    let scene = Scene::new();
    let first = scene.read("a: 1");
    assert!(scene.read("a: 1").runs_as(&first));
    assert!(!scene.read("a: 2").runs_as(&first));
    fs::write(scene.source(), "a: 1").unwrap();
    let named = PipelineConfig { name: Some("Orders".to_owned()), ..PipelineConfig::clone(&first.config) };
    assert!(Revisions::read(&Arc::new(named), first.config.command.as_ref().unwrap()).unwrap().runs_as(&first));
    let other = scene.config(&["--quiet", "{config}"]);
    assert!(!Revisions::read(&other, other.command.as_ref().unwrap()).unwrap().runs_as(&first));
}

#[test]
fn good_revision_outlives_the_agent() {
    let scene = Scene::new();
    let good = scene.read("a: 1");
    scene.revisions.keep_good(&good).unwrap();
    scene.revisions.install(&scene.read("a: 2")).unwrap();
    let found = scene.revisions.good(&scene.config(&["{config}"])).unwrap();
    assert!(found.runs_as(&good));
    assert_eq!(found.checksum, good.checksum);
    assert_eq!(scene.installed(&found), "a: 1");
    assert!(scene.revisions.good(&scene.config(&["{config}"])).is_some(), "it can be gone back to again");
    // A new file beside the record of an old one: the agent was killed between the two.
    fs::write(scene.path("orders.good.yaml"), "a: 2").unwrap();
    assert!(scene.revisions.good(&scene.config(&["{config}"])).is_none());
}

#[test]
fn without_a_disk_the_process_reads_the_original_while_it_is_the_same() {
    let scene = Scene::new();
    fs::write(scene.dir.path().join("data"), "in the way").unwrap();
    let revision = scene.read("a: 1");
    assert!(scene.revisions.candidate(&revision).is_err() && scene.revisions.install(&revision).is_err());
    let copy = Revisions::original(&revision).unwrap();
    assert_eq!(copy.path(), Some(scene.source().as_path()));
    drop(copy);
    assert!(scene.source().exists());
    fs::write(scene.source(), "a: 2").unwrap();
    assert!(Revisions::original(&revision).is_err(), "no judge has seen that one");
}

#[test]
fn files_of_removed_pipelines_are_deleted() {
    let scene = Scene::new();
    let good = scene.read("a: 1");
    scene.revisions.install(&good).unwrap();
    scene.revisions.keep_good(&good).unwrap();
    let _candidate = scene.revisions.candidate(&scene.read("a: 2")).unwrap();
    let ids = [PipelineId::parse("orders").unwrap(), PipelineId::parse("orders.next").unwrap()];
    let data_dir = scene.dir.path().join("data");
    let count = || fs::read_dir(data_dir.join("pipelines")).unwrap().count();
    sweep(&data_dir, ids[..1].iter());
    assert_eq!(count(), 4, "current, next, good and its record");
    sweep(&data_dir, ids[1..].iter());
    assert_eq!(count(), 0);
}

#[test]
fn pipe_as_configuration_is_refused_without_blocking() {
    let scene = Scene::new();
    nix::unistd::mkfifo(&scene.source(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let config = scene.config(&[]);
    let error = Revisions::read(&config, config.command.as_ref().unwrap()).unwrap_err();
    assert!(error.to_string().ends_with("orders.yaml cannot be read: it is no file"), "{error}");
}
