//! What happens where there is no room: before a pull, in the middle of one, and while its archive is written.

use std::path::Path;
use std::process::Command;

use mkube_model::neighbours::tarballs::TarballFault;

use crate::image::{noise, oci};
use crate::registry::Registry;
use crate::world::{World, files_below};

/// A file system of this many mebibytes, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path, mebibytes: usize) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a directory");
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn says_no_room(fault: &TarballFault) {
    assert!(matches!(fault, TarballFault::NoRoom { .. }), "{fault}");
}

#[tokio::test]
async fn a_pull_that_would_leave_too_little_free_is_not_begun() {
    let registry = Registry::start();
    let image = oci("amd64", &[&[("a", b"x")]]);
    registry.put("app", "1", &image);
    let mut world = World::new(&[registry.host()]);
    world.options.keep_free_bytes = u64::MAX / 2;
    let fault = world.open().await.always(&registry.reference("app:1")).await.expect_err("no room");
    says_no_room(&fault);
    assert!(fault.to_string().contains("stay free"), "{fault}");
    assert_eq!(registry.count(&image.layer(0)), 0, "no layer was asked for");
    assert_eq!(world.files(), [""; 0]);
}

#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_leaves_nothing_behind() {
    let registry = Registry::start();
    // The first does not fit as it comes, the second only not when it is unpacked.
    registry.put("wide", "1", &oci("amd64", &[&[("a", &noise(6 << 20, 1))]]));
    registry.put("deep", "1", &oci("amd64", &[&[("a", &vec![b'x'; 12 << 20])]]));
    registry.put("fits", "1", &oci("amd64", &[&[("a", b"small")]]));
    let world = World::new(&[registry.host()]);
    let Some(_disk) = SmallDisk::mount(&world.options.cache, 4) else {
        // Past the capture, so that it is seen.
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "!!! SKIPPED: a full disk: only root may mount a small one");
        return;
    };
    // The check of the room is blind here, as it is where somebody else fills the disk.
    let full_by = |repository: &str| registry.reference(&format!("{repository}:1"));
    let source = world.open().await;
    for repository in ["wide", "deep"] {
        let fault = source.always(&full_by(repository)).await.expect_err("no room");
        says_no_room(&fault);
        assert_eq!(files_below(&world.cache()), [""; 0], "{repository}");
    }
    source.always(&full_by("fits")).await.expect("there is room again");
}
