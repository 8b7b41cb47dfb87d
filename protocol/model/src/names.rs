//! Names of things on the device. They decide whether a running fleet is adopted or rebuilt, so they never change.

use std::collections::{BTreeMap, BTreeSet};

/// RouterOS accepts longer names; the rule of 64 bytes is kept for the fleets that run by it.
const CONTAINER_NAME_BYTES: usize = 64;
/// Bytes of the suffix of a name that collides: a dash and eight hex digits.
const SUFFIX_BYTES: usize = 9;
/// Bytes of namespace and of pod name that go into a veth name.
const VETH_PART_BYTES: usize = 15;

/// Container (and mount list, and environment list) name: `<namespace>_<pod>_<container>`, sanitised, at most 64 bytes.
pub fn container_name(namespace: &str, pod: &str, container: &str) -> String {
    let mut name = untruncated_container_name(namespace, pod, container);
    name.truncate(CONTAINER_NAME_BYTES);
    name
}

/// What the names of all containers of a pod begin with, those that got a suffix included.
pub fn container_name_stem(namespace: &str, pod: &str) -> String {
    let mut stem = untruncated_container_name(namespace, pod, "");
    stem.truncate(CONTAINER_NAME_BYTES - SUFFIX_BYTES);
    stem
}

fn untruncated_container_name(namespace: &str, pod: &str, container: &str) -> String {
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    format!("{namespace}_{pod}_{container}")
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '-' | '_') => c,
            _ => '_',
        })
        .collect()
}

/// Interface name: `veth_<namespace>_<pod>_<index>`, namespace and pod cut to 15 bytes each.
pub fn veth_name(namespace: &str, pod: &str, index: usize) -> String {
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    format!("veth_{}_{}_{index}", cut(namespace), cut(pod))
}

fn cut(part: &str) -> &str {
    let mut end = part.len().min(VETH_PART_BYTES);
    while !part.is_char_boundary(end) {
        end -= 1;
    }
    &part[..end]
}

/// File name (without `.tar`) of an image's archive: lower case, everything but letters, digits and dashes becomes a dash.
pub fn archive_name(image: &str) -> String {
    image
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '-') => c,
            _ => '-',
        })
        .collect()
}

/// Root directory of the `generation`-th container of that name; the first generation is 1 and has no suffix.
pub fn root_dir(base: &str, container: &str, generation: u32) -> String {
    let base = base.trim_end_matches('/');
    if generation <= 1 { format!("{base}/{container}") } else { format!("{base}/{container}.{generation}") }
}

/// The generation a root directory belongs to, if it is one of that container.
pub fn root_dir_generation(base: &str, container: &str, path: &str) -> Option<u32> {
    let normal = |p: &str| p.trim_matches('/').to_owned();
    let (path, first) = (normal(path), normal(&root_dir(base, container, 1)));
    match path.strip_prefix(&first)? {
        "" => Some(1),
        rest => rest.strip_prefix('.')?.parse().ok().filter(|n| *n > 1),
    }
}

/// Hands out names that could collide after truncation: the first owner has the plain name, later ones get a short stable
/// hash of their full identity.
#[derive(Debug, Default, Clone)]
pub struct NameBook {
    owners: BTreeMap<String, String>,
    /// The same, the other way.
    names: BTreeSet<(String, String)>,
}

impl NameBook {
    /// The name `owner` (its full, untruncated identity) uses instead of `plain`. Asking again gives the same answer.
    pub fn claim(&mut self, plain: &str, owner: &str, limit: Option<usize>) -> String {
        let suffixed = suffixed(plain, owner, limit);
        if self.owners.get(&suffixed).is_some_and(|holder| holder == owner) {
            return suffixed;
        }
        match self.owners.get(plain) {
            None => self.hold(plain.to_owned(), owner),
            Some(holder) if holder == owner => plain.to_owned(),
            Some(_) => self.hold(suffixed, owner),
        }
    }

    /// `owner` uses this name, and no other from now on.
    pub fn hold(&mut self, name: String, owner: &str) -> String {
        if !self.owners.contains_key(&name) {
            self.owners.insert(name.clone(), owner.to_owned());
            self.names.insert((owner.to_owned(), name.clone()));
        }
        name
    }

    /// Frees every name of owners that begin like this, without looking at the others.
    pub fn release(&mut self, prefix: &str) {
        let from = (prefix.to_owned(), String::new());
        let gone = self.names.range(from..).take_while(|(owner, _)| owner.starts_with(prefix));
        for held in gone.cloned().collect::<Vec<_>>() {
            self.owners.remove(&held.1);
            self.names.remove(&held);
        }
    }
}

/// What `owner` is called where `plain` is somebody else's.
pub fn suffixed(plain: &str, owner: &str, limit: Option<usize>) -> String {
    let suffix = format!("-{:08x}", fnv1a(owner));
    let room = limit.map_or(plain.len(), |limit| limit.saturating_sub(suffix.len()));
    let stem: String = plain.chars().take(room).collect();
    format!("{stem}{suffix}")
}

/// The longest container name.
pub const fn container_name_limit() -> usize {
    CONTAINER_NAME_BYTES
}

/// FNV-1a, 32 bits: short, stable over releases and machines.
pub fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_running_fleet() {
        assert_eq!(container_name("g10", "dns", "microdns"), "g10_dns_microdns");
        assert_eq!(container_name("", "Web.App", "x"), "default_web_app_x");
        assert_eq!(veth_name("infra", "nats", 0), "veth_infra_nats_0");
        assert_eq!(
            veth_name("a-very-long-namespace", "a-very-long-pod-name", 1),
            "veth_a-very-long-nam_a-very-long-pod_1"
        );
        assert_eq!(archive_name("192.168.200.3:5000/microdns:edge"), "192-168-200-3-5000-microdns-edge");
        assert_eq!(container_name("n", &"p".repeat(80), "c").len(), 64);
    }

    #[test]
    fn root_directories_carry_their_generation() {
        assert_eq!(root_dir("/raid1/images", "a_b_c", 1), "/raid1/images/a_b_c");
        assert_eq!(root_dir("/raid1/images/", "a_b_c", 3), "/raid1/images/a_b_c.3");
        assert_eq!(root_dir_generation("/raid1/images", "a_b_c", "raid1/images/a_b_c"), Some(1));
        assert_eq!(root_dir_generation("/raid1/images", "a_b_c", "/raid1/images/a_b_c.7"), Some(7));
        assert_eq!(root_dir_generation("/raid1/images", "a_b_c", "/raid1/images/a_b_cd"), None);
    }

    #[test]
    fn the_later_of_two_colliding_names_gets_a_stable_suffix() {
        let mut book = NameBook::default();
        let plain = "veth_default_a-very-long-pod_0";
        assert_eq!(book.claim(plain, "default/a-very-long-pod-name-1/0", None), plain);
        let second = book.claim(plain, "default/a-very-long-pod-name-2/0", None);
        assert_ne!(second, plain);
        assert_eq!(book.claim(plain, "default/a-very-long-pod-name-2/0", None), second);
        assert_eq!(book.claim(plain, "default/a-very-long-pod-name-1/0", None), plain);
        book.release("default/a-very-long-pod-name-1/");
        assert_eq!(
            book.claim(plain, "default/a-very-long-pod-name-2/0", None),
            second,
            "a name is kept once it is used"
        );
        assert_eq!(book.claim(plain, "default/a-very-long-pod-name-3/0", None), plain);
        let mut book = NameBook::default();
        book.claim(&"x".repeat(64), "o", Some(64));
        assert!(book.claim(&"x".repeat(64), "p", Some(64)).len() <= 64);
    }
}
