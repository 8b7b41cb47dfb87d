//! `mkube cp`: files into a container and out of it, by the `tar` that is in it.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc as threads;

use bytes::Bytes;
use tar::{Archive, Builder, EntryType};
use tokio::sync::mpsc;

use super::api::{Api, block_on};
use super::exec::{self, Place as Container};
use super::look::Look;
use super::pods;
use crate::cli::CopyArgs;
use crate::failure::{FAILED, Failure, USAGE};

/// Pieces that wait on their way.
const WAITING: usize = 16;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A path on this machine.
    Here(PathBuf),
    /// A path in a pod.
    InPod {
        /// Namespace, if one is named.
        namespace: Option<String>,
        /// The pod.
        pod: String,
        /// The path.
        path: String,
    },
}

impl std::str::FromStr for Place {
    type Err = String;

    /// `PATH`, `POD:PATH` or `NAMESPACE/POD:PATH`. A path here that has a colon begins with `./`.
    fn from_str(text: &str) -> Result<Self, String> {
        let here = || Self::Here(text.into());
        let Some((pod, path)) = text.split_once(':').filter(|_| !text.starts_with(['.', '/'])) else {
            return Ok(here());
        };
        let (namespace, pod) = match pod.split_once('/') {
            Some((namespace, pod)) => (Some(namespace.to_owned()), pod),
            None => (None, pod),
        };
        if pod.is_empty() || pod.contains('/') || path.is_empty() {
            return Err("a path in a pod is POD:PATH or NAMESPACE/POD:PATH".to_owned());
        }
        Ok(Self::InPod { namespace, pod: pod.to_owned(), path: path.to_owned() })
    }
}

/// `mkube cp`.
pub fn copy(args: &CopyArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    let ((Place::Here(here), there @ Place::InPod { .. }) | (there @ Place::InPod { .. }, Place::Here(here))) =
        (&args.from, &args.to)
    else {
        let failure = Failure::text(USAGE, "one of the two is a path here, the other one in a pod");
        return Err(failure.hint("mkube cp page.html web:/www/ or mkube cp web:/var/log ./log"));
    };
    let Place::InPod { namespace, pod, path } = there else { return Ok(()) };
    block_on(async {
        let asked = namespace.as_deref().or(args.reach.namespace.as_deref());
        let namespace = api.namespace(asked).to_owned();
        let found = pods::of(&api, pod, &namespace).await?;
        let pod = pods::best(&found).ok_or_else(|| Failure::text(FAILED, "there is no pod"))?;
        let container = pods::container(pod, args.container.as_deref(), look);
        let place = Container { namespace: &namespace, pod: pods::name(pod), container: container.as_deref() };
        match args.from {
            Place::Here(_) => send(&api, &place, here, path).await,
            Place::InPod { .. } => fetch(&api, &place, path, here).await,
        }
    })
}

fn words<const N: usize>(command: [&str; N]) -> Vec<String> {
    command.map(str::to_owned).into()
}

/// Directory and last part of a path in a container.
fn parted(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_end_matches('/');
    let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
    let named = !["", ".", ".."].contains(&name);
    named.then_some((if directory.is_empty() { "/" } else { directory }, name))
}

fn failed(what: &str, code: i32) -> Result<(), Failure> {
    match code {
        0 => Ok(()),
        126 | 127 => {
            let failure = Failure::text(FAILED, format!("{what}: no tar could be run in the container"));
            Err(failure
                .hint("copying needs a `tar` in the image; `mkube exec -i POD -- sh -c 'cat > FILE'` may do instead"))
        }
        code => Err(Failure::text(FAILED, format!("{what}: tar in the container ended with {code}"))),
    }
}

async fn send(api: &Api, place: &Container<'_>, from: &Path, to: &str) -> Result<(), Failure> {
    let whole =
        std::fs::canonicalize(from).map_err(|error| Failure::new(FAILED, error).at(&from.display().to_string()))?;
    let own = whole.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let is_directory = to.ends_with('/') || parted(to).is_none() || {
        let socket = exec::begin(api, place, &words(["test", "-d", to]), false, false).await?;
        exec::serve(socket, None, false, &mut |_| Ok(())).await? == 0
    };
    let (directory, name) = match (is_directory, own) {
        (true, Some(own)) => (to.to_owned(), own),
        (false, _) => parted(to).map(|(directory, name)| (directory.to_owned(), name.to_owned())).unwrap_or_default(),
        (true, None) => return Err(Failure::text(FAILED, format!("{} has no name to copy it by", from.display()))),
    };
    let (pieces, input) = mpsc::channel(WAITING);
    let packing = std::thread::spawn(move || packed(&whole, &name, Pieces(pieces)));
    let command = words(["tar", "-xmf", "-", "-C", &directory]);
    let socket = exec::begin(api, place, &command, true, false).await?;
    let ended = exec::serve(socket, Some(input), false, &mut |_| Ok(())).await?;
    let packed = packing.join().map_err(|_| Failure::text(FAILED, "packing stopped in the middle"))?;
    match packed {
        // What could not be read here is why the rest did not come.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(FAILED, error).at(&from.display().to_string()))
        }
        _ => failed(to, ended),
    }
}

fn packed(from: &Path, name: &str, out: Pieces) -> io::Result<()> {
    let mut builder = Builder::new(io::BufWriter::with_capacity(32 << 10, out));
    builder.follow_symlinks(false);
    if from.is_dir() {
        builder.append_dir_all(name, from)?;
    } else {
        builder.append_path_with_name(from, name)?;
    }
    builder.into_inner()?.flush()
}

/// What is written goes on as pieces.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever does not read on says why himself.
        self.0.blocking_send(Bytes::copy_from_slice(bytes)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn fetch(api: &Api, place: &Container<'_>, from: &str, to: &Path) -> Result<(), Failure> {
    let Some((directory, name)) = parted(from) else {
        return Err(Failure::text(USAGE, format!("{from} has no name to copy it by; name a file or directory")));
    };
    let target = if to.is_dir() { to.join(name) } else { to.to_owned() };
    let command = words(["tar", "-cf", "-", "-C", directory, name]);
    let socket = exec::begin(api, place, &command, false, false).await?;
    // Bounded by what the one unpacks while the other waits for it: both are threads of this process.
    let (pieces, coming) = threads::sync_channel::<Bytes>(WAITING);
    let own = name.to_owned();
    let unpacking = std::thread::spawn(move || unpacked(Coming { coming, rest: Bytes::new() }, &own, &target));
    let mut take = |bytes| pieces.send(bytes).map_err(|_| Failure::silent(FAILED));
    let ended = exec::serve(socket, None, false, &mut take).await;
    drop(pieces);
    let unpacked = unpacking.join().map_err(|_| Failure::text(FAILED, "unpacking stopped in the middle"))?;
    // What could not be written here is why the rest was not taken.
    unpacked.map_err(|error| Failure::new(FAILED, error).at(&to.display().to_string()))?;
    failed(from, ended?)
}

/// Unpacks what lies under one name to a place of this machine. A container's archive is a stranger's: only files and directories are taken,
/// and nothing outside the place.
fn unpacked(from: impl Read, name: &str, to: &Path) -> io::Result<()> {
    let mut archive = Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let mut parts = path.components().filter(|part| *part != Component::CurDir);
        let begins = parts.next() == Some(Component::Normal(name.as_ref()));
        let rest: Vec<Component<'_>> = parts.collect();
        if !begins || !rest.iter().all(|part| matches!(part, Component::Normal(_))) {
            return Err(io::Error::other(format!("the archive leads elsewhere: {}", path.display())));
        }
        let place = if rest.is_empty() { to.to_owned() } else { to.join(rest.iter().collect::<PathBuf>()) };
        match entry.header().entry_type() {
            EntryType::Directory => std::fs::create_dir_all(&place)?,
            EntryType::Regular | EntryType::Continuous => drop(entry.unpack(&place)?),
            _ => eprintln!("warning: {} is neither file nor directory, and is left out", path.display()),
        }
    }
    // What fills the last block is part of it: were it refused, `tar` would be taken to have failed.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
}

/// Pieces as something that is read.
struct Coming {
    coming: threads::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.coming.recv() {
                Ok(bytes) => self.rest = bytes,
                Err(_) => return Ok(0),
            }
        }
        let taken = self.rest.split_to(self.rest.len().min(buffer.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_kubectl_reads_them() {
        let pod = |namespace: Option<&str>, path: &str| {
            Ok(Place::InPod { namespace: namespace.map(str::to_owned), pod: "web".into(), path: path.into() })
        };
        assert_eq!("web:/www".parse(), pod(None, "/www"));
        assert_eq!("shop/web:log".parse(), pod(Some("shop"), "log"));
        for here in ["page.html", "./a:b", "/a:b", "dir/"] {
            assert_eq!(here.parse(), Ok(Place::Here(here.into())));
        }
        for bad in ["web:", ":x", "a/b/c:x"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        assert_eq!(parted("/www/a/"), Some(("/www", "a")));
        assert_eq!((parted("/a"), parted("a")), (Some(("/", "a")), Some((".", "a"))));
        assert_eq!((parted("/"), parted("/a/..")), (None, None));
    }

    #[test]
    fn an_archive_writes_only_where_it_was_asked_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let archive = |entries: &[(&str, EntryType, &str)]| {
            let mut builder = Builder::new(Vec::new());
            for (path, kind, text) in entries {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(*kind);
                header.set_mode(0o644);
                header.set_size(text.len() as u64);
                // As a stranger writes it: the library would refuse to.
                header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
                header.set_cksum();
                builder.append(&header, text.as_bytes()).expect("appended");
            }
            builder.into_inner().expect("an archive")
        };
        let to = directory.path().join("copy");
        let good = archive(&[
            ("tree/", EntryType::Directory, ""),
            ("tree/link", EntryType::Symlink, ""),
            ("tree/a", EntryType::Regular, "one"),
        ]);
        // `tar` fills its last block; whoever sends it has to get rid of that, too.
        let filled = [good, vec![0; 10_240]].concat();
        let mut left = &filled[..];
        unpacked(&mut left, "tree", &to).expect("unpacked");
        assert!(left.is_empty(), "{} bytes were not taken", left.len());
        assert_eq!(std::fs::read_to_string(to.join("a")).expect("a file"), "one");
        assert!(!to.join("link").exists());
        for bad in ["tree/../../x", "/x", "other", "../tree"] {
            let bad = archive(&[(bad, EntryType::Regular, "evil")]);
            assert!(unpacked(&bad[..], "tree", &to).is_err());
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1, "nothing beside it");
    }
}
