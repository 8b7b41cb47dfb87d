//! Copies beside the file, for whoever wants back what was given up.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mkube_model::neighbours::desired_store::StoredValue;

/// How values are written so that people can read them and put them back: why, and all of them.
pub type CopyText = fn(&str, &[StoredValue], &mut dyn Write) -> io::Result<()>;

/// Writes a text beside a file, under a name that nothing had. It is there as a whole, and on the disk, or not at all.
pub(crate) fn beside(path: &Path, text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<PathBuf> {
    let name = |end: &str| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(end);
        path.with_file_name(name)
    };
    // What an earlier one left that was cut short is written over: the file is this process's alone.
    let part = name(".before.part");
    let written = (|| {
        let _ = std::fs::remove_file(&part);
        // There are Secrets in it.
        let file = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
        let mut out = BufWriter::new(file);
        text(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let mut names = (1_u32..).map(|number| name(&format!(".before-{number}.yaml")));
        let is_free = |copy: &PathBuf| std::fs::symlink_metadata(copy).is_err();
        let copy = names.find(is_free).ok_or_else(|| io::Error::other("all names are taken"))?;
        std::fs::rename(&part, &copy)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
        Ok(copy)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_copy_takes_nobodys_place_is_for_its_owner_alone_and_is_whole_or_not_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.redb");
        std::fs::write(directory.path().join("state.redb.before.part"), "cut short").expect("written");
        let copies: Vec<PathBuf> =
            ["one", "two"].map(|text| beside(&path, |out| out.write_all(text.as_bytes())).expect("room")).into();
        assert_eq!(
            copies,
            ["state.redb.before-1.yaml", "state.redb.before-2.yaml"].map(|name| path.with_file_name(name))
        );
        assert_eq!(
            copies.iter().map(|copy| std::fs::read_to_string(copy).expect("there")).collect::<String>(),
            "onetwo"
        );
        let mode = std::fs::metadata(&copies[0]).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let failed = beside(&path, |out| out.write_all(b"half").and(Err(io::Error::other("no more room"))));
        assert!(failed.is_err_and(|error| error.to_string().contains("no more room")));
        let left = std::fs::read_dir(directory.path()).expect("there").count();
        assert_eq!(left, 2, "nothing is left of what failed");
    }
}
