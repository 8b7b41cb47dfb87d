//! Notices of registries that an image was pushed, over HTTP or the bus: what they say, and whether they come from somebody who knows
//! the secret.

use crate::rollouts::ImagePushed;
use mkube_model::image_reference::Reference;
use mkube_model::secret::Secret;
use mkube_model::status::Status;
use ring::hmac;
use serde_json::Value;

/// Header of the signature: `sha256=` and the hexadecimal HMAC-SHA256 of the body.
pub const SIGNATURE: &str = "x-mkube-signature";
/// Letters of a text in a notice.
const LONGEST: usize = 512;

/// What a notice comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// A tag means another image now.
    Tag(ImagePushed),
    /// Something was pushed under its digest only: no tag means anything else than before.
    Digest,
}

/// Refuses a body without the signature that the secret gives it.
///
/// # Errors
/// 401, saying what is wrong with it.
pub fn check_signature(secret: Option<&Secret>, header: Option<&str>, body: &[u8]) -> Result<(), Status> {
    let Some(secret) = secret else { return Ok(()) };
    let refused = |why: &str| Status::new(401, "Unauthorized", format!("the signature of the notice {why}"));
    let header = header.ok_or_else(|| refused(&format!("is missing: {SIGNATURE}: sha256=<hex> is wanted")))?;
    let given = header.trim().strip_prefix("sha256=").and_then(from_hex);
    let given = given.ok_or_else(|| refused("is not of the form sha256=<hex>"))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hmac::verify(&key, body, &given).map_err(|_| refused("does not fit the body"))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(pair[0])? * 16 + digit(*pair.get(1)?)?) as u8)).collect()
}

/// Reads a notice: `{"image": "repo[:tag]"}` of the Go registry, `{"repository", "tag", "digest", "registry"}`, or both in one.
///
/// # Errors
/// 400, naming the field that is none.
pub fn read(body: &Value) -> Result<Notice, Status> {
    if !body.is_object() {
        return Err(Status::bad_request("the notice must be a JSON object"));
    }
    match (text(body, "image")?, text(body, "repository")?) {
        (Some(image), None) => of_image(image),
        (None, Some(repository)) => of_fields(body, repository),
        (None, None) => Err(Status::bad_request("the notice must have `image`, or `repository` and `tag`")),
        (Some(image), Some(repository)) => {
            let notice = of_fields(body, repository)?;
            let name = |mark: char, field: &str| Some(format!("{repository}{mark}{}", body[field].as_str()?));
            let agrees =
                [name(':', "tag"), name(':', "digest"), name('@', "digest")].iter().flatten().any(|one| one == image);
            if agrees { Ok(notice) } else { Err(bad("image", image, "is not what `repository` names")) }
        }
    }
}

fn of_image(image: &str) -> Result<Notice, Status> {
    // The Go registry joins repository and digest with a colon as it does with a tag.
    let by_digest = image.split_once('@').or_else(|| {
        let (repository, digest) = image.rsplit_once(':').and_then(|(rest, _)| rest.rsplit_once(':'))?;
        is_digest(image.get(repository.len() + 1..)?).then_some((repository, digest))
    });
    if let Some((repository, _)) = by_digest {
        checked_repository(repository)?;
        let digest = &image[repository.len() + 1..];
        return if is_digest(digest) { Ok(Notice::Digest) } else { Err(bad("image", image, "has no digest behind @")) };
    }
    let reference = Reference::of(image);
    Ok(Notice::Tag(ImagePushed {
        repository: checked_repository(reference.repository)?.to_owned(),
        tag: checked_tag("image", reference.tag)?.to_owned(),
        digest: None,
        registry: reference.registry.map(checked_registry).transpose()?,
    }))
}

fn of_fields(body: &Value, repository: &str) -> Result<Notice, Status> {
    let repository = checked_repository(repository)?;
    let digest = text(body, "digest")?.map(str::to_owned);
    if let Some(digest) = digest.as_deref().filter(|digest| !is_digest(digest)) {
        return Err(bad("digest", digest, "must be an algorithm, a colon and hexadecimal digits"));
    }
    let registry = text(body, "registry")?.map(checked_registry).transpose()?;
    match text(body, "tag")? {
        // A manifest that is pushed under its digest has that for a tag.
        Some(tag) if is_digest(tag) => Ok(Notice::Digest),
        Some(tag) => {
            let tag = checked_tag("tag", tag)?.to_owned();
            Ok(Notice::Tag(ImagePushed { repository: repository.to_owned(), tag, digest, registry }))
        }
        None if digest.is_some() => Ok(Notice::Digest),
        None => Err(Status::bad_request("the notice must have `tag` or `digest`")),
    }
}

/// A field that is text; empty counts as absent.
fn text<'a>(body: &'a Value, field: &str) -> Result<Option<&'a str>, Status> {
    match &body[field] {
        Value::Null => Ok(None),
        Value::String(text) if text.len() > LONGEST => {
            Err(Status::bad_request(format!("`{field}` is longer than {LONGEST} letters")))
        }
        Value::String(text) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        _ => Err(Status::bad_request(format!("`{field}` must be text"))),
    }
}

fn bad(field: &str, found: &str, why: &str) -> Status {
    Status::bad_request(format!("`{field}` {found:?} {why}"))
}

fn checked_repository(repository: &str) -> Result<&str, Status> {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c))
    };
    let ok = repository.split('/').all(part);
    ok.then_some(repository).ok_or_else(|| bad("repository", repository, "is not a name of a repository"))
}

fn checked_registry(registry: &str) -> Result<String, Status> {
    let ok = registry.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && registry.bytes().all(|c| c.is_ascii_alphanumeric() || b".-:[]".contains(&c));
    ok.then(|| registry.to_owned()).ok_or_else(|| bad("registry", registry, "is not host[:port]"))
}

fn checked_tag<'a>(field: &str, tag: &'a str) -> Result<&'a str, Status> {
    let ok = (1..=128).contains(&tag.len())
        && tag.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
        && !tag.starts_with(['.', '-']);
    ok.then_some(tag).ok_or_else(|| bad(field, tag, "is not a tag"))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        ["sha256", "sha512"].contains(&algorithm) && hex.len() >= 64 && hex.bytes().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest() -> String {
        format!("sha256:{}", "a".repeat(64))
    }

    fn tag(repository: &str, tag: &str, digest: Option<String>, registry: Option<&str>) -> Notice {
        let registry = registry.map(str::to_owned);
        Notice::Tag(ImagePushed { repository: repository.into(), tag: tag.into(), digest, registry })
    }

    #[test]
    fn both_forms_of_a_notice_are_read() {
        for (body, expected) in [
            (json!({"image": "app:edge"}), tag("app", "edge", None, None)),
            (json!({"image": "app"}), tag("app", "latest", None, None)),
            (json!({"image": "a/b:1.0"}), tag("a/b", "1.0", None, None)),
            (json!({"image": "10.0.0.1:5000/a/b"}), tag("a/b", "latest", None, Some("10.0.0.1:5000"))),
            (json!({"repository": "app", "tag": "edge"}), tag("app", "edge", None, None)),
            (json!({"repository": "app", "tag": "edge", "image": "app:edge"}), tag("app", "edge", None, None)),
            (
                json!({"repository": "app", "tag": "edge", "digest": digest(), "registry": "10.0.0.1:5000"}),
                tag("app", "edge", Some(digest()), Some("10.0.0.1:5000")),
            ),
        ] {
            assert_eq!(read(&body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn a_digest_is_never_taken_for_a_tag() {
        for body in [
            json!({"image": format!("app:{}", digest())}),
            json!({"image": format!("app@{}", digest())}),
            json!({"image": format!("a/b@{}", digest())}),
            json!({"repository": "app", "digest": digest()}),
            json!({"repository": "app", "tag": digest()}),
        ] {
            assert_eq!(read(&body), Ok(Notice::Digest), "{body}");
        }
    }

    #[test]
    fn what_is_no_notice_is_refused_as_a_bad_request() {
        for body in [
            json!(null),
            json!([]),
            json!("app:edge"),
            json!({}),
            json!({"image": ""}),
            json!({"image": 7}),
            json!({"image": "app", "repository": "app"}),
            json!({"image": "app:1", "repository": "app", "tag": "2"}),
            json!({"image": "a".repeat(600)}),
            json!({"image": "app:"}),
            json!({"image": ":edge"}),
            json!({"image": "../app:edge"}),
            json!({"image": "a//b:edge"}),
            json!({"image": "app@sha256:abc"}),
            json!({"image": "App Store:edge"}),
            json!({"repository": "app"}),
            json!({"repository": "app", "tag": "a b"}),
            json!({"repository": "app", "tag": 7}),
            json!({"repository": "app", "tag": "edge", "digest": "sha256:xyz"}),
            json!({"tag": "edge"}),
            json!({"repository": "app", "tag": "edge", "registry": "http://host/"}),
        ] {
            let refusal = read(&body).expect_err("no notice");
            assert_eq!((refusal.code, refusal.reason), (400, "BadRequest"), "{body}");
        }
    }

    #[test]
    fn only_who_knows_the_secret_may_tell_when_there_is_one() {
        let (secret, body) = (Secret::new("key"), b"The quick brown fox jumps over the lazy dog");
        let good = "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert_eq!(check_signature(Some(&secret), Some(good), body), Ok(()));
        assert_eq!(check_signature(None, None, body), Ok(()));
        let upper = good.replace("f7bc", "F7BC");
        assert_eq!(check_signature(Some(&secret), Some(&upper), body), Ok(()));
        let other = good.replace("f7bc", "f7bd");
        for header in
            [None, Some(""), Some("sha256="), Some("sha256=f"), Some("sha1=ab"), Some(&good[7..]), Some(&other)]
        {
            let refusal = check_signature(Some(&secret), header, body).expect_err("not signed");
            assert_eq!(refusal.code, 401, "{header:?}");
            assert!(!refusal.message.contains("key"), "{refusal}");
        }
        assert_eq!(check_signature(Some(&secret), Some(good), b"another body").map_err(|status| status.code), Err(401));
    }
}
