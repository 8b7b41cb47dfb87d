//! Where the device's paths lie on this machine.
//!
//! The data directory has one directory for each disk; `disk1` is made, others are taken as they are found at the start. A path
//! without a disk and without a leading slash is on the internal storage, any other is the machine's own.

use std::path::{Component, Path, PathBuf};

/// The disk every device has.
const FIRST: &str = "disk1";
/// Directory of files without a disk.
const INTERNAL: &str = "internal";
/// Directory of the engine's own state; no disk.
const ENGINE: &str = "engine";
/// Directory of what is being downloaded; no disk.
const FETCHING: &str = "fetching";

/// The disks of a device.
#[derive(Debug, Clone)]
pub struct Disks {
    data_dir: PathBuf,
    names: Vec<String>,
}

impl Disks {
    /// Makes what is missing and finds what is there.
    pub fn open(data_dir: &Path) -> std::io::Result<Self> {
        for place in [FIRST, INTERNAL] {
            std::fs::create_dir_all(data_dir.join(place))?;
        }
        let data_dir = data_dir.canonicalize()?;
        // A host that was killed left its downloads half done.
        match std::fs::remove_dir_all(data_dir.join(FETCHING)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&data_dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let usable = !name.starts_with('.') && ![INTERNAL, ENGINE, FETCHING].contains(&name.as_str());
            if usable && entry.file_type()?.is_dir() {
                names.push(name);
            }
        }
        names.sort();
        Ok(Self { data_dir, names })
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where the engine keeps its state.
    pub fn engine_dir(data_dir: &Path) -> PathBuf {
        data_dir.join(ENGINE)
    }

    /// Where downloads lie until they are whole.
    pub fn fetching_dir(&self) -> PathBuf {
        self.data_dir.join(FETCHING)
    }

    /// Names, sorted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A path of the device as one of this machine. No step upward: what is on a disk stays there.
    pub fn local(&self, path: &str) -> PathBuf {
        let clean: PathBuf = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let first = clean.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let on_disk = first.is_some_and(|first| self.names.contains(&first));
        match (on_disk, path.starts_with('/')) {
            (true, _) => self.data_dir.join(clean),
            (false, true) => Path::new("/").join(clean),
            (false, false) => self.data_dir.join(INTERNAL).join(clean),
        }
    }

    /// The name a path of this machine has in `/file`, if it has one.
    pub fn name_of(&self, path: &Path) -> Option<String> {
        let inside = path.strip_prefix(&self.data_dir).ok()?;
        let shown = inside.strip_prefix(INTERNAL).unwrap_or(inside);
        Some(shown.to_string_lossy().into_owned()).filter(|name| !name.is_empty())
    }

    /// Directories a listing begins with.
    pub fn roots(&self) -> impl Iterator<Item = PathBuf> {
        let internal = self.data_dir.join(INTERNAL);
        self.names.iter().map(|name| self.data_dir.join(name)).chain([internal])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_device_stay_inside_its_disks() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["raid1", "engine", ".hidden"] {
            std::fs::create_dir(directory.path().join(name)).expect("made");
        }
        let disks = Disks::open(directory.path()).expect("disks");
        assert_eq!(disks.names(), ["disk1", "raid1"]);
        for (path, inside) in [
            ("disk1/a/b.tar", "disk1/a/b.tar"),
            ("/disk1/a", "disk1/a"),
            ("/raid1/images/a", "raid1/images/a"),
            ("disk1/../../etc/passwd", "disk1/etc/passwd"),
            ("a.tar", "internal/a.tar"),
            ("device.json", "internal/device.json"),
            ("engine/x", "internal/engine/x"),
        ] {
            assert_eq!(disks.local(path), disks.data_dir().join(inside), "{path}");
        }
        assert_eq!(disks.local("/srv/../x"), Path::new("/srv/x"));
    }
}
