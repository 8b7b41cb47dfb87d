//! Directories that containers mount: made before they are mounted, looked through, and deleted only when made to go with a pod.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use mkube_model::neighbours::shared_disk::{FoundVolume, SharedDiskFault, SourceDirectory};

use crate::volumes::fault;

/// Files of one volume that are counted; a volume with more has no size.
const COUNTED: usize = 20_000;
/// Volumes that are listed.
const LISTED: usize = 5_000;
/// Modes of directories: plain ones as the device makes them, those of a pod alone as Kubernetes makes them.
const PLAIN: u32 = 0o755;
const SCRATCH: u32 = 0o777;

/// Makes what is missing, if it may, and sees that nothing leads out of the volume.
pub fn ensure(local: &Path, source: &SourceDirectory) -> Result<(), SharedDiskFault> {
    let inside = Path::new(&source.inside);
    if !inside.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(fault(inside, "leads outside of the volume"));
    }
    if !local.exists() {
        if !source.make {
            return Err(fault(local, "is not there"));
        }
        make(local, source.scratch)?;
    }
    let real = local.canonicalize().map_err(|error| fault(local, error))?;
    // Step by step: a link that a container left in its volume must not be followed by what makes directories.
    let mut at = real.clone();
    for part in inside.components().filter(|part| matches!(part, Component::Normal(_))) {
        at.push(part);
        if at.symlink_metadata().is_err() {
            if !source.make {
                return Err(fault(&at, "is not there"));
            }
            make(&at, false)?;
        }
        at = at.canonicalize().map_err(|error| fault(&at, error))?;
        if !at.starts_with(&real) {
            return Err(fault(&local.join(inside), "a link leads outside of the volume"));
        }
    }
    Ok(())
}

fn make(path: &Path, scratch: bool) -> Result<(), SharedDiskFault> {
    if scratch {
        // First the mark, then the directory: one without a mark is never deleted, a mark without one means nothing.
        let mark = mark_of(path);
        let parent = path.parent().unwrap_or(Path::new("/"));
        let marked = fs::create_dir_all(parent).and_then(|()| fs::write(&mark, "made for a pod, goes with it\n"));
        marked.map_err(|error| fault(&mark, error))?;
    }
    let made = fs::DirBuilder::new().recursive(true).mode(PLAIN).create(path);
    made.map_err(|error| fault(path, error))?;
    if scratch {
        // The mask of this process is no business of the pod's.
        fs::set_permissions(path, Permissions::from_mode(SCRATCH)).map_err(|error| fault(path, error))?;
    }
    Ok(())
}

/// What says that a directory was made for one pod: a file beside it.
fn mark_of(directory: &Path) -> PathBuf {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    directory.with_file_name(format!(".{name}.emptydir"))
}

/// Deletes a directory that is marked, and its mark.
pub fn remove_scratch(local: &Path) -> Result<bool, SharedDiskFault> {
    let mark = mark_of(local);
    if !mark.is_file() {
        return Ok(false);
    }
    match fs::remove_dir_all(local) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(fault(local, error)),
        _ => {}
    }
    fs::remove_file(&mark).map_err(|error| fault(&mark, error))?;
    if let Some(parent) = local.parent() {
        // It stays when another volume of the container lies there.
        let _ = fs::remove_dir(parent);
    }
    Ok(true)
}

/// `<base>/<container>/<volume>`, sorted, with sizes.
pub fn found(base: &Path, to_device: &dyn Fn(&Path) -> String) -> Result<Vec<FoundVolume>, SharedDiskFault> {
    let mut found = Vec::new();
    for container in directories_in(base)? {
        for volume in directories_in(&base.join(&container))? {
            if found.len() >= LISTED {
                return Ok(found);
            }
            let path = base.join(&container).join(&volume);
            found.push(FoundVolume {
                bytes: size(&path),
                path: to_device(&path),
                container: container.clone(),
                volume,
            });
        }
    }
    Ok(found)
}

fn directories_in(path: &Path) -> Result<Vec<String>, SharedDiskFault> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(path, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| fault(path, error))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Bytes on the disk, each file once, links not followed; nothing when there are too many files or some cannot be seen.
fn size(path: &Path) -> Option<u64> {
    let (mut todo, mut bytes, mut seen, mut linked) = (vec![path.to_owned()], 0, 0, HashSet::new());
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).ok()? {
            seen += 1;
            if seen > COUNTED {
                return None;
            }
            let entry = entry.ok()?;
            let meta = entry.metadata().ok()?;
            if meta.is_dir() {
                todo.push(entry.path());
            } else if meta.nlink() < 2 || linked.insert((meta.dev(), meta.ino())) {
                bytes += meta.len();
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(inside: &str, make: bool, scratch: bool) -> SourceDirectory {
        SourceDirectory { path: String::new(), inside: inside.into(), make, scratch }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_missing_source_is_made_or_said_to_be_missing() {
        let root = tempfile::tempdir().expect("a directory");
        let volume = root.path().join("c/data");
        assert!(ensure(&volume, &source("", false, false)).is_err_and(|fault| fault.cause.contains("is not there")));
        ensure(&volume, &source("a/b", true, false)).expect("made");
        assert!(volume.join("a/b").is_dir());
        assert!(ensure(&volume, &source("x", false, false)).is_err());
        fs::write(root.path().join("file"), "x").expect("written");
        ensure(&root.path().join("file"), &source("", true, false)).expect("a file that is there is mounted as it is");
        assert!(root.path().join("file").is_file());
    }

    #[test]
    fn neither_dots_nor_links_lead_out_of_a_volume() {
        let root = tempfile::tempdir().expect("a directory");
        let volume = root.path().join("c/data");
        fs::create_dir_all(&volume).expect("made");
        std::os::unix::fs::symlink(root.path(), volume.join("out")).expect("linked");
        std::os::unix::fs::symlink("inner", volume.join("in")).expect("linked");
        fs::create_dir(volume.join("inner")).expect("made");
        for inside in ["..", "../other", "out", "out/made"] {
            assert!(ensure(&volume, &source(inside, true, false)).is_err(), "{inside}");
        }
        assert!(!root.path().join("made").exists(), "nothing was made outside");
        ensure(&volume, &source("in", true, false)).expect("a link that stays inside");
    }

    #[test]
    fn only_what_was_made_for_a_pod_goes_with_it() {
        let root = tempfile::tempdir().expect("a directory");
        let (scratch, plain) = (root.path().join("c/tmp"), root.path().join("c/data"));
        ensure(&scratch, &source("", true, true)).expect("made");
        ensure(&plain, &source("", true, false)).expect("made");
        assert_eq!((mode(&scratch), fs::read_dir(root.path().join("c")).expect("there").count()), (0o777, 3));
        // A directory with data that becomes an emptyDir later was not made as one.
        ensure(&plain, &source("", true, true)).expect("there");
        assert_eq!(remove_scratch(&plain), Ok(false));
        fs::write(scratch.join("x"), "x").expect("written");
        assert_eq!((remove_scratch(&scratch), remove_scratch(&scratch)), (Ok(true), Ok(false)));
        assert!(!scratch.exists() && plain.is_dir());
        assert_eq!(fs::read_dir(root.path().join("c")).expect("there").count(), 1, "no mark is left");
    }

    #[test]
    fn volumes_are_found_with_their_sizes() {
        let root = tempfile::tempdir().expect("a directory");
        let to_device = |path: &Path| path.strip_prefix(root.path()).expect("below").display().to_string();
        assert_eq!(found(&root.path().join("none"), &to_device), Ok(vec![]));
        for directory in ["b/data/deep", "a/x", "a/.hidden"] {
            fs::create_dir_all(root.path().join(directory)).expect("made");
        }
        fs::write(root.path().join("b/data/deep/f"), [0; 100]).expect("written");
        fs::hard_link(root.path().join("b/data/deep/f"), root.path().join("b/data/g")).expect("linked");
        fs::write(root.path().join("a/.x.emptydir"), "").expect("written");
        let one = |container: &str, volume: &str, bytes| FoundVolume {
            container: container.into(),
            volume: volume.into(),
            path: format!("{container}/{volume}"),
            bytes: Some(bytes),
        };
        let all = [one("a", ".hidden", 0), one("a", "x", 0), one("b", "data", 100)];
        assert_eq!(found(root.path(), &to_device), Ok(all.to_vec()));
    }
}
