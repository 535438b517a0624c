//! The files of kept inputs are found by the names of targets: a wrong name would hide one.

use std::path::Path;

#[test]
fn every_kept_file_belongs_to_a_target_and_holds_inputs() {
    for folder in ["corpus", "found"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut files = 0;
        for entry in std::fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("can be listed").path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(fuzz::find(name).is_some(), "{} is of no target", path.display());
            let text = std::fs::read_to_string(&path).expect("text");
            assert!(text.lines().any(|line| !line.starts_with('#')), "{} is empty", path.display());
            files += 1;
        }
        assert!(0 < files, "{} is empty", folder.display());
    }
}
