//! What mkube writes into comments on the device: whose a row is, and from what it was made. The only proof that a row is ours.

/// Annotation of what came with the boot manifest while the store was away: the uid of the record it was noted in. Whether it may
/// stay is decided when the store is back; then it goes.
pub const BOOT_RECORD: &str = "vkube.io/boot-record";

/// The mark in a container's comment.
pub fn mark(namespace: &str, pod: &str, hash: &str) -> String {
    format!("mkube {namespace}/{pod} {hash}")
}

/// The comment of a pod's interfaces and bridge ports.
pub fn veth_comment(owner: &str) -> String {
    format!("mkube {owner}")
}

/// The owner in a container's comment, if it is our mark.
pub fn owner_in_mark(comment: &str) -> Option<&str> {
    hash_in_mark(comment)?;
    comment.split(' ').nth(1)
}

/// The hash in a container's comment, if it is our mark.
pub fn hash_in_mark(comment: &str) -> Option<&str> {
    let mut words = comment.split(' ');
    (words.next() == Some("mkube")).then_some(())?;
    words.next()?.contains('/').then_some(())?;
    let hash = words.next()?;
    (words.next().is_none() && hash.len() == 16).then_some(hash)
}

/// The owner in the comment of an interface or bridge port, if mkube wrote it.
pub fn owner_in_veth_comment(comment: &str) -> Option<&str> {
    let owner = comment.strip_prefix("mkube ")?;
    let (namespace, name) = owner.split_once('/')?;
    let word = |text: &str| !text.is_empty() && !text.contains(|c: char| c == '/' || c.is_whitespace());
    (word(namespace) && word(name)).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_whose_and_from_what() {
        let comment = mark("infra", "nats", "0123456789abcdef");
        assert_eq!(owner_in_mark(&comment), Some("infra/nats"));
        assert_eq!(hash_in_mark(&comment), Some("0123456789abcdef"));
        for foreign in
            ["", "mkube", "mkube infra/nats", "mkube nats 0123456789abcdef", "my mkube infra/nats 0123456789abcdef"]
        {
            assert_eq!(owner_in_mark(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn the_comment_of_an_interface_is_the_owner_and_nothing_else() {
        assert_eq!(owner_in_veth_comment(&veth_comment("infra/nats")), Some("infra/nats"));
        for foreign in
            ["", "mkube", "mkube ", "mkube nats", "mkube /nats", "mkube infra/", "mkube a/b/c", "mkube a/b of mine"]
        {
            assert_eq!(owner_in_veth_comment(foreign), None, "{foreign:?}");
        }
    }
}
