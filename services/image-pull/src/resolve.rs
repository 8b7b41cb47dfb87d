//! What a reference means at a registry: the digest of the platform's manifest, and the manifest itself where it came along.

use std::time::Duration;

use mkube_model::settings::Architecture;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};

use crate::asking::{Ask, Registries, read_up_to};
use crate::credentials::Place;
use crate::digest::Digest;
use crate::manifest::{self, ACCEPT, Blob, Document, MANIFEST_BYTES, Manifest};
use crate::trouble::{Hitch, Trouble};

/// Indexes an index may lead to before an image is reached.
const DEPTH: usize = 3;

/// What a reference means.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// Digest of the platform's manifest.
    pub(crate) digest: Digest,
    /// Digest the reference itself stands for: that of an index, or the same.
    pub(crate) top: Digest,
    /// The manifest, unless the answer was that nothing has changed.
    pub(crate) manifest: Option<Manifest>,
}

/// What a reference meant when it was last asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) digest: Digest,
    pub(crate) top: Digest,
}

impl Registries {
    /// Asks one place what a reference means. `known` makes it one request without a body where nothing has changed.
    pub(crate) async fn resolve(
        &self,
        place: &Place,
        reference: &str,
        wanted: Architecture,
        known: Option<&Known>,
    ) -> Result<Resolved, Trouble> {
        if let Some(known) = known
            && let Some(top) = self.head(place, reference).await?
            && (top == known.top || top == known.digest)
        {
            return Ok(Resolved { digest: known.digest.clone(), top: known.top.clone(), manifest: None });
        }
        let mut asked = reference.to_owned();
        let mut top = None;
        for _ in 0..DEPTH {
            let (digest, body) = self.document(place, &asked).await?;
            let first = top.get_or_insert_with(|| digest.clone()).clone();
            match manifest::read(&body, wanted)? {
                Document::Image(manifest) => return Ok(Resolved { digest, top: first, manifest: Some(manifest) }),
                Document::Index { chosen } => asked = chosen.to_string(),
            }
        }
        Err(Trouble::Unusable(format!("its index leads to more than {DEPTH} further ones")))
    }

    /// The digest a registry says a reference has; none where it does not say, which the specification allows.
    async fn head(&self, place: &Place, reference: &str) -> Result<Option<Digest>, Trouble> {
        let path = format!("manifests/{reference}");
        let ask = Ask { method: Method::HEAD, path: &path, accept: ACCEPT, from: 0 };
        let mut patience = self.patience(place);
        loop {
            match self.once(place, &ask).await {
                Ok(answer) => return Ok(digest_header(answer.headers())),
                Err(hitch) => match patience.after(hitch).await {
                    Ok(()) => {}
                    // A registry that knows no HEAD is asked with GET.
                    Err(Trouble::Away { why, .. }) if why.starts_with("405") => return Ok(None),
                    Err(trouble) => return Err(trouble),
                },
            }
        }
    }

    /// A manifest or index, checked against every digest there is for it.
    async fn document(&self, place: &Place, reference: &str) -> Result<(Digest, Vec<u8>), Trouble> {
        let path = format!("manifests/{reference}");
        let ask = Ask { method: Method::GET, path: &path, accept: ACCEPT, from: 0 };
        let what = format!("manifest {reference}");
        let (headers, body) = self.small(place, &ask, &what, MANIFEST_BYTES).await?;
        let digest = match Digest::parse(reference) {
            Some(digest) if !digest.fits(&body) => return Err(not_its_digest(&what)),
            Some(digest) => digest,
            None => Digest::sha256(&body),
        };
        // Some registries give the tag here; what is no digest says nothing.
        if digest_header(&headers).is_some_and(|said| !said.fits(&body)) {
            return Err(not_its_digest(&what));
        }
        Ok((digest, body))
    }

    /// A blob that fits into memory, checked.
    pub(crate) async fn small_blob(&self, place: &Place, blob: &Blob) -> Result<Vec<u8>, Trouble> {
        let path = format!("blobs/{}", blob.digest);
        let ask = Ask { method: Method::GET, path: &path, accept: "", from: 0 };
        let what = format!("config {}", blob.digest);
        let limit = usize::try_from(blob.bytes).unwrap_or(usize::MAX).min(manifest::CONFIG_BYTES);
        let (_, body) = self.small(place, &ask, &what, limit).await?;
        if body.len() as u64 != blob.bytes || !blob.digest.fits(&body) {
            return Err(not_its_digest(&what));
        }
        Ok(body)
    }

    async fn small(
        &self,
        place: &Place,
        ask: &Ask<'_>,
        what: &str,
        limit: usize,
    ) -> Result<(HeaderMap<HeaderValue>, Vec<u8>), Trouble> {
        let mut patience = self.patience(place);
        loop {
            let once = self.small_once(place, ask, what, limit);
            let done = match tokio::time::timeout(self.pace.document, once).await {
                Ok(done) => done,
                Err(_) => Err(Hitch::later("it does not answer in time")),
            };
            match done {
                Ok(done) => return Ok(done),
                Err(hitch) => patience.after(hitch).await?,
            }
        }
    }

    async fn small_once(
        &self,
        place: &Place,
        ask: &Ask<'_>,
        what: &str,
        limit: usize,
    ) -> Result<(HeaderMap<HeaderValue>, Vec<u8>), Hitch> {
        let answer = self.once(place, ask).await?;
        let headers = answer.headers().clone();
        if headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
            return Err(Trouble::Unusable(format!("a web page came where {what} is wanted")).into());
        }
        match read_up_to(answer, limit).await {
            Ok(Some(body)) => Ok((headers, body)),
            Ok(None) => Err(Trouble::Unusable(format!("{what} has more than {limit} bytes")).into()),
            Err(error) => Err(Hitch::later(self.words(&place.host, &error))),
        }
    }
}

/// Says that a time is up in the words of whoever was waited for.
pub(crate) async fn within<T>(
    limit: Duration,
    registry: &str,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => {
            let why = format!("no answer within {} s", limit.as_secs_f32());
            Err(Trouble::Away { registry: registry.to_owned(), why })
        }
    }
}

fn digest_header(headers: &HeaderMap<HeaderValue>) -> Option<Digest> {
    Digest::parse(headers.get("docker-content-digest")?.to_str().ok()?)
}

fn not_its_digest(what: &str) -> Trouble {
    Trouble::Unusable(format!("{what} is not what its digest says"))
}
