//! Which of the specification's requests a path is.

use actix_web::http;
use mkube_model::percent;
use uuid::Uuid;

use crate::digest::Digest;
use crate::fault::Fault;
use crate::names::{Reference, RepositoryName};
use crate::parts::Action;

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    Base,
    Catalog,
    Tags(RepositoryName),
    Referrers(RepositoryName, Digest),
    Manifest(RepositoryName, Reference),
    Blob(RepositoryName, Digest),
    Uploads(RepositoryName),
    Upload(RepositoryName, Uuid),
}

/// The methods that mean anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

impl Method {
    pub fn of(method: &http::Method) -> Self {
        match method.as_str() {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }
}

impl Route {
    /// Reads a path as it stands in the request. Nothing that is not a valid name gets past here.
    pub fn read(path: &str) -> Result<Self, Fault> {
        let nothing = || Fault::NameInvalid(path.to_owned());
        let decoded = percent::decoded(path).ok_or_else(nothing)?;
        let rest = decoded.strip_prefix("/v2").ok_or_else(nothing)?;
        let rest = match rest.strip_prefix('/') {
            None if rest.is_empty() => return Ok(Self::Base),
            None => return Err(nothing()),
            Some("") => return Ok(Self::Base),
            Some("_catalog") => return Ok(Self::Catalog),
            Some(rest) => rest,
        };
        let name = |parts: &[&str]| {
            let joined = parts.join("/");
            RepositoryName::parse(&joined).ok_or(Fault::NameInvalid(joined))
        };
        let digest = |text: &str| Digest::parse(text).ok_or_else(|| Fault::DigestInvalid(text.to_owned()));
        let parts: Vec<&str> = rest.split('/').collect();
        match parts.as_slice() {
            [repository @ .., "blobs", "uploads"] | [repository @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads(name(repository)?))
            }
            [repository @ .., "blobs", "uploads", id] => {
                let repository = name(repository)?;
                let id = Uuid::try_parse(id).map_err(|_| Fault::UploadUnknown((*id).to_owned()))?;
                Ok(Self::Upload(repository, id))
            }
            [repository @ .., "tags", "list"] => Ok(Self::Tags(name(repository)?)),
            [repository @ .., "blobs", text] => Ok(Self::Blob(name(repository)?, digest(text)?)),
            [repository @ .., "referrers", text] => Ok(Self::Referrers(name(repository)?, digest(text)?)),
            [repository @ .., "manifests", text] => {
                let repository = name(repository)?;
                let reference = Reference::parse(text).ok_or_else(|| match text.contains(':') {
                    true => Fault::DigestInvalid((*text).to_owned()),
                    false => Fault::ReferenceInvalid((*text).to_owned()),
                });
                Ok(Self::Manifest(repository, reference?))
            }
            _ => Err(nothing()),
        }
    }

    /// The repository, where there is one.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Tags(name)
            | Self::Referrers(name, _)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _) => Some(name),
        }
    }

    /// What a method does there.
    pub fn action(&self, method: Method) -> Result<Action, Fault> {
        let reading = matches!(method, Method::Get | Method::Head);
        match (self, method) {
            // Any method, as the Go registry has it.
            (Self::Base, _) => Ok(Action::Ping),
            (Self::Catalog, _) if reading => Ok(Action::Catalog),
            (Self::Tags(_) | Self::Referrers(..) | Self::Manifest(..) | Self::Blob(..), _) if reading => {
                Ok(Action::Pull)
            }
            (Self::Manifest(..), Method::Put) | (Self::Uploads(_), Method::Post) => Ok(Action::Push),
            (Self::Manifest(..) | Self::Blob(..), Method::Delete) => Ok(Action::Delete),
            (Self::Upload(..), Method::Patch | Method::Put | Method::Delete) => Ok(Action::Push),
            (Self::Upload(..), _) if reading => Ok(Action::Push),
            _ => Err(Fault::Unsupported("this method means nothing on this path".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn each_path_of_the_specification_is_read() {
        let name = |text: &str| RepositoryName::parse(text).expect("a name");
        let digest = || Digest::parse(DIGEST).expect("a digest");
        let id = "0193b2c4-0000-7000-8000-000000000000";
        for (path, route) in [
            ("/v2".to_owned(), Route::Base),
            ("/v2/".to_owned(), Route::Base),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/a/b/tags/list".to_owned(), Route::Tags(name("a/b"))),
            (format!("/v2/a/referrers/{DIGEST}"), Route::Referrers(name("a"), digest())),
            (format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A")), Route::Blob(name("a"), digest())),
            (format!("/v2/a/manifests/{DIGEST}"), Route::Manifest(name("a"), Reference::Digest(digest()))),
            ("/v2/a/blobs/uploads".to_owned(), Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(name("a"))),
            (
                format!("/v2/blobs/blobs/uploads/{id}"),
                Route::Upload(name("blobs"), Uuid::try_parse(id).expect("an id")),
            ),
        ] {
            assert_eq!(Route::read(&path).expect("a route"), route, "{path}");
        }
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for path in [
            "/v2x",
            "/v2/..",
            "/v2/../../etc/passwd",
            "/v2/a/../b/manifests/x",
            "/v2/%2e%2e/%2e%2e/manifests/x",
            "/v2/a%2f..%2fb/manifests/x",
            "/v2/a/manifests/..",
            "/v2/a/manifests/%2e%2e%2fx",
            "/v2/a/manifests/a%00",
            "/v2/a/manifests/",
            "/v2//manifests/x",
            "/v2/a/blobs/sha256:..%2f..%2fx",
            "/v2/a/blobs/uploads/..",
            "/v2/a/blobs/uploads/..%2f..%2fx",
            "/v2/a/blobs/uploads/x",
            "/v2/a/tags/list/",
            "/v2/a/manifests/%ff",
            "/v2/a/manifests/%4",
        ] {
            let refused = Route::read(path).expect_err(path);
            assert!(matches!(refused.status(), 400 | 404), "{path}: {refused}");
        }
    }
}
