//! Files that change, become useless and are corrected.

use std::path::Path;

use super::*;

/// Uses any text but "bad".
struct Text {
    file: PathBuf,
    used: Mutex<String>,
}

impl Reload for Text {
    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.clone()]
    }

    fn reload(&self) -> Result<(), String> {
        let text = std::fs::read_to_string(&self.file).map_err(|error| error.to_string())?;
        if text == "bad" {
            return Err("it is bad".to_owned());
        }
        *lock(&self.used) = text;
        Ok(())
    }
}

fn watched(file: &Path) -> (WatchedFiles, Arc<Text>, Registry) {
    let mut registry = Registry::default();
    let files = WatchedFiles::new(&mut registry);
    let text = Arc::new(Text {
        file: file.to_owned(),
        used: Mutex::new(std::fs::read_to_string(file).unwrap()),
    });
    files.add("a.file", Arc::clone(&text) as Arc<dyn Reload>);
    (files, text, registry)
}

fn outcome(files: &WatchedFiles) -> Outcome {
    let mut all = files.check();
    assert_eq!(all.len(), 1);
    all.remove(0).1
}

#[test]
fn what_changes_is_used_and_what_is_bad_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "one").unwrap();
    let (files, text, registry) = watched(&file);
    assert_eq!(outcome(&files), Outcome::Unchanged);
    assert_eq!(outcome(&files), Outcome::Unchanged);

    std::fs::write(&file, "two").unwrap();
    assert_eq!(outcome(&files), Outcome::Reloaded);
    assert_eq!(*lock(&text.used), "two");

    std::fs::write(&file, "bad").unwrap();
    assert_eq!(outcome(&files), Outcome::Failed("it is bad".to_owned()));
    // Tried again, since what is wrong may be elsewhere.
    assert_eq!(outcome(&files), Outcome::Failed("it is bad".to_owned()));
    assert_eq!(*lock(&text.used), "two");
    let failing = files.failing();
    assert_eq!((failing.len(), failing[0].name.as_str()), (1, "a.file"));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
    for line in [
        "cortex_distributor_file_reloads_total{files=\"a.file\"} 1",
        "cortex_distributor_file_reload_failures_total{files=\"a.file\"} 2",
        "cortex_distributor_file_reload_successful{files=\"a.file\"} 0",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }

    std::fs::remove_file(&file).unwrap();
    assert!(matches!(outcome(&files), Outcome::Failed(_)));
    std::fs::write(&file, "two").unwrap();
    assert_eq!(outcome(&files), Outcome::Reloaded);
    assert_eq!(files.failing(), []);
}

#[test]
fn a_change_before_the_first_check_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "one").unwrap();
    let (files, text, _registry) = watched(&file);
    std::fs::write(&file, "two").unwrap();
    assert_eq!(outcome(&files), Outcome::Reloaded);
    assert_eq!(*lock(&text.used), "two");

    // Nor one between the reading and the adding.
    let (files, text, _registry) = watched(&file);
    *lock(&text.used) = "older".to_owned();
    assert_eq!(outcome(&files), Outcome::Unchanged);
    assert_eq!(*lock(&text.used), "two");
}
