//! Where an object's changes are told. Pure.

use mkube_messages::objects::ObjectKey;

/// Stands where the namespace of an object that has none would stand. No namespace is called so.
const NO_NAMESPACE: &str = "_";

/// `mkube.objects.<plural>.<namespace>.<name>`.
pub fn of_object(plural: &str, key: &ObjectKey) -> String {
    let namespace = if key.namespace.is_empty() { NO_NAMESPACE.to_owned() } else { word(&key.namespace) };
    format!("mkube.objects.{}.{namespace}.{}", word(plural), word(&key.name))
}

/// One word of a subject: whatever is no letter, digit or dash is written as `=` and two hexadecimal digits for each byte.
fn word(text: &str) -> String {
    let mut word = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => word.push(byte.into()),
            _ => word.push_str(&format!("={byte:02X}")),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_subject_is_one_word_and_no_two_objects_share_a_subject() {
        for (namespace, name, subject) in [
            ("default", "web", "mkube.objects.pods.default.web"),
            ("", "node", "mkube.objects.pods._.node"),
            ("d", "web.0a", "mkube.objects.pods.d.web=2E0a"),
            ("d", "a>b *", "mkube.objects.pods.d.a=3Eb=20=2A"),
            ("d", "a=2Eb", "mkube.objects.pods.d.a=3D2Eb"),
            ("_", "é", "mkube.objects.pods.=5F.=C3=A9"),
        ] {
            assert_eq!(of_object("pods", &ObjectKey::new(namespace, name)), subject);
        }
    }
}
