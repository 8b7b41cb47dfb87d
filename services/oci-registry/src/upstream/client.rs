//! Asking an upstream: manifests, digests and blobs, with the token it wants, with patience where it is away for a moment.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use mkube_model::settings::RegistryUpstreamSettings;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::{self, Challenge};
use super::place::{Place, bare};
use crate::digest::Digest;
use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, LARGEST, OCI_INDEX, OCI_MANIFEST};
use crate::outward;

/// What an answer without a large body may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a body may stand still. It has no limit as a whole.
const STILL: Duration = Duration::from_secs(60);
/// Tries of one request.
const TRIES: u32 = 3;
/// Longest wait an upstream may ask for within one request.
const LONGEST_ASKED: Duration = Duration::from_secs(10);
/// Tries to go on with a body that was cut off, since the last byte that came.
const RESUMES: u32 = 4;
/// Tokens remembered.
const TOKENS: usize = 500;
/// Largest answer of a token server, bytes.
const LARGEST_TOKEN: usize = 1 << 20;

/// Why an upstream did not give what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// Not there, or not able to just now.
    #[error("{place} is away: {cause}")]
    Away {
        /// Who.
        place: String,
        /// Cause in words.
        cause: String,
    },
    /// It wants to know who asks, or does not let us.
    #[error("{place} refuses: {cause}; upstream.credentials says who mkube is there")]
    Refused {
        /// Who.
        place: String,
        /// Cause in words.
        cause: String,
    },
    /// It answered something else than an image.
    #[error("{place} gave something else: {cause}")]
    Nonsense {
        /// Who.
        place: String,
        /// Cause in words.
        cause: String,
    },
}

/// A manifest as an upstream has it. Its digest was checked where it was known before.
pub(crate) struct Fetched {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// A token and until when it is good.
struct Token {
    text: String,
    until: Instant,
}

/// Asks upstreams.
pub(crate) struct UpstreamClient {
    /// For those on this machine: never through a proxy.
    near: reqwest::Client,
    far: reqwest::Client,
    plain_http: Vec<String>,
    credentials: HashMap<String, (String, String)>,
    /// `Authorization` by place: it is for one repository of one upstream.
    tokens: Mutex<HashMap<Place, Token>>,
}

impl UpstreamClient {
    pub(crate) fn new(settings: &RegistryUpstreamSettings) -> Result<Self, String> {
        let builder = || outward::client(settings.ca_cert.as_deref()).map(|builder| builder.read_timeout(STILL));
        let built = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| outward::cause(&error));
        let credential = |one: &mkube_model::settings::UpstreamCredential| {
            (bare(&one.registry).to_owned(), (one.user.clone(), one.password.expose().to_owned()))
        };
        Ok(Self {
            near: built(builder()?.no_proxy())?,
            far: built(builder()?)?,
            plain_http: settings.plain_http.iter().map(|host| bare(host).to_owned()).collect(),
            credentials: settings.credentials.iter().map(credential).collect(),
            tokens: Mutex::default(),
        })
    }

    /// A manifest; `None` where the upstream has no such one.
    pub(crate) async fn manifest(&self, place: &Place, reference: &str) -> Result<Option<Fetched>, UpstreamFault> {
        let Some(answer) = self.ask(Method::GET, place, &format!("manifests/{reference}"), None).await? else {
            return Ok(None);
        };
        let nonsense = |cause: String| UpstreamFault::Nonsense { place: place.to_string(), cause };
        let media_type = media_type(&answer);
        // A web page in front of a registry answers 200 to everything.
        if ![OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&media_type.as_str()) {
            return Err(nonsense(format!("{media_type:?} where a manifest is wanted")));
        }
        let said = said_digest(&answer);
        let bytes = self.body(place, answer, usize::try_from(LARGEST).unwrap_or(usize::MAX)).await?;
        let wanted = Digest::parse(reference).or(said);
        if let Some(wanted) = wanted {
            let found = Digest::of(wanted.algorithm(), &bytes);
            if found != wanted {
                return Err(nonsense(format!("a manifest with the digest {found} where {wanted} is wanted")));
            }
        }
        Ok(Some(Fetched { media_type, bytes }))
    }

    /// What a tag means there now; `None` where there is no such one. Upstreams that do not say it are asked for the manifest.
    pub(crate) async fn digest(&self, place: &Place, reference: &str) -> Result<Option<Digest>, UpstreamFault> {
        let answer = self.ask(Method::HEAD, place, &format!("manifests/{reference}"), None).await?;
        match answer.as_ref().map(said_digest) {
            None => Ok(None),
            Some(Some(digest)) => Ok(Some(digest)),
            Some(None) => {
                let fetched = self.manifest(place, reference).await?;
                Ok(fetched.map(|one| Digest::of(crate::digest::Algorithm::Sha256, &one.bytes)))
            }
        }
    }

    /// Whether the upstream has a blob.
    pub(crate) async fn has_blob(&self, place: &Place, digest: &Digest) -> Result<bool, UpstreamFault> {
        Ok(self.ask(Method::HEAD, place, &format!("blobs/{digest}"), None).await?.is_some())
    }

    /// A blob, as it comes; `None` where the upstream has no such one. A body that is cut off is gone on with. Whoever takes it
    /// checks the digest.
    pub(crate) async fn blob<'c>(
        &'c self,
        place: &'c Place,
        digest: &'c Digest,
    ) -> Result<Option<impl Stream<Item = Result<Bytes, UpstreamFault>> + 'c>, UpstreamFault> {
        let path = format!("blobs/{digest}");
        let Some(first) = self.ask(Method::GET, place, &path, None).await? else { return Ok(None) };
        let length = first.content_length();
        let state = Download { client: self, place, path, body: Some(first), offset: 0, length, cuts: 0 };
        Ok(Some(stream::try_unfold(state, Download::next)))
    }

    async fn body(&self, place: &Place, answer: Response, most: usize) -> Result<Bytes, UpstreamFault> {
        let mut body = answer.bytes_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| away(place, error))?);
            if bytes.len() > most {
                let cause = format!("more than {most} bytes");
                return Err(UpstreamFault::Nonsense { place: place.to_string(), cause });
            }
        }
        Ok(bytes.into())
    }

    fn http(&self, place: &Place) -> &reqwest::Client {
        if place.is_loopback() { &self.near } else { &self.far }
    }

    fn is_plain(&self, place: &Place) -> bool {
        place.is_loopback() || self.plain_http.contains(&place.host)
    }

    /// Asks, with a token when one is wanted; `None` for 404.
    async fn ask(
        &self,
        method: Method,
        place: &Place,
        path: &str,
        from: Option<u64>,
    ) -> Result<Option<Response>, UpstreamFault> {
        let scheme = if self.is_plain(place) { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/{path}", place.server(), place.repository);
        let request = |authorization: Option<String>| {
            let mut request = self.http(place).request(method.clone(), &url);
            for kind in [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST] {
                request = request.header(ACCEPT, kind);
            }
            if let Some(offset) = from {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            match authorization {
                Some(value) => request.header(AUTHORIZATION, value),
                None => request,
            }
        };
        let mut answer = self.send(place, || request(self.known_token(place))).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let headers = answer.headers().get_all(WWW_AUTHENTICATE);
            let challenge = challenge::read(headers.iter().filter_map(|value| value.to_str().ok()));
            let authorization = self.authorization(place, challenge).await?;
            answer = self.send(place, || request(Some(authorization.clone()))).await?;
        }
        match answer.status() {
            status if status.is_success() => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                self.tokens().remove(place);
                Err(UpstreamFault::Refused { place: place.to_string(), cause: format!("it answered {status}") })
            }
            status => Err(UpstreamFault::Away { place: place.to_string(), cause: format!("it answered {status}") }),
        }
    }

    /// Sends until there is an answer that is not "later, please".
    async fn send(&self, place: &Place, request: impl Fn() -> RequestBuilder) -> Result<Response, UpstreamFault> {
        let mut tried = 0;
        loop {
            tried += 1;
            let sent = tokio::time::timeout(ANSWER, request().send()).await;
            let (fault, asked) = match sent {
                Ok(Ok(answer)) => {
                    let status = answer.status();
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        return Ok(answer);
                    }
                    let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                    let fault =
                        UpstreamFault::Away { place: place.to_string(), cause: format!("it answered {status}") };
                    (fault, asked.map(Duration::from_secs))
                }
                Ok(Err(error)) => (away(place, error), None),
                Err(_) => {
                    let cause = format!("no answer within {} s", ANSWER.as_secs());
                    return Err(UpstreamFault::Away { place: place.to_string(), cause });
                }
            };
            if tried == TRIES || asked.is_some_and(|asked| asked > LONGEST_ASKED) {
                return Err(fault);
            }
            tokio::time::sleep(asked.unwrap_or(Duration::from_millis(200) * 4u32.pow(tried - 1))).await;
        }
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_token(&self, place: &Place) -> Option<String> {
        let tokens = self.tokens();
        tokens.get(place).filter(|token| token.until > Instant::now()).map(|token| token.text.clone())
    }

    /// What is sent as `Authorization` from now on.
    async fn authorization(&self, place: &Place, challenge: Option<Challenge>) -> Result<String, UpstreamFault> {
        let refused = |cause: &str| UpstreamFault::Refused { place: place.to_string(), cause: cause.to_owned() };
        let own = self.credentials.get(&place.host);
        let basic = |(user, password): &(String, String)| {
            use base64::Engine;
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
        };
        let (text, lasts) = match challenge {
            None => return Err(refused("it wants to know who asks and does not say how")),
            Some(Challenge::Basic) => {
                let own = own.ok_or_else(|| refused("it wants a name and password"))?;
                (basic(own), Duration::from_secs(3600))
            }
            Some(Challenge::Bearer { realm, service, scope }) => {
                // A password goes only where it is not read on the way.
                if !realm.starts_with("https://") && !self.is_plain(place) {
                    return Err(refused("it sends for a token to an address without TLS"));
                }
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", place.repository));
                let mut query = vec![("scope", scope)];
                query.extend(service.map(|service| ("service", service)));
                let request = || {
                    let request = self.http(place).get(&realm).query(&query);
                    match own {
                        Some(own) => request.header(AUTHORIZATION, basic(own)),
                        None => request,
                    }
                };
                let answer = self.send(place, request).await?;
                if !answer.status().is_success() {
                    return Err(refused(&format!("its token server answered {}", answer.status())));
                }
                let body = self.body(place, answer, LARGEST_TOKEN).await?;
                let given: Given =
                    serde_json::from_slice(&body).map_err(|_| refused("its token server gave no token"))?;
                let token = given.token.filter(|token| !token.is_empty()).or(given.access_token);
                let token = token.ok_or_else(|| refused("its token server gave no token"))?;
                // Given back a little early: it must be good when it arrives.
                let lasts = given.expires_in.unwrap_or(60).clamp(20, 3600) - 10;
                (format!("Bearer {token}"), Duration::from_secs(lasts))
            }
        };
        let mut tokens = self.tokens();
        if tokens.len() >= TOKENS {
            tokens.clear();
        }
        tokens.insert(place.clone(), Token { text: text.clone(), until: Instant::now() + lasts });
        Ok(text)
    }
}

/// What a token server answers.
#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// A blob on its way.
struct Download<'c> {
    client: &'c UpstreamClient,
    place: &'c Place,
    path: String,
    body: Option<Response>,
    /// Bytes that came.
    offset: u64,
    length: Option<u64>,
    /// Cuts since the last byte.
    cuts: u32,
}

impl Download<'_> {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, UpstreamFault> {
        loop {
            let fault = match self.body.as_mut() {
                Some(body) => match body.chunk().await {
                    Ok(Some(piece)) => {
                        self.offset += piece.len() as u64;
                        self.cuts = 0;
                        return Ok(Some((piece, self)));
                    }
                    Ok(None) if self.length.is_none_or(|length| length == self.offset) => return Ok(None),
                    Ok(None) => {
                        let cause = format!("the body ended after {} bytes", self.offset);
                        UpstreamFault::Away { place: self.place.to_string(), cause }
                    }
                    Err(error) => away(self.place, error),
                },
                None => {
                    let cause = "it does not go on with a body that was cut off".to_owned();
                    UpstreamFault::Away { place: self.place.to_string(), cause }
                }
            };
            self.cuts += 1;
            if self.cuts > RESUMES {
                return Err(fault);
            }
            tokio::time::sleep(Duration::from_millis(100) * self.cuts).await;
            let again = self.client.ask(Method::GET, self.place, &self.path, Some(self.offset)).await;
            self.body = match again {
                Ok(Some(answer)) if answer.status() == StatusCode::PARTIAL_CONTENT => Some(answer),
                Ok(_) => return Err(fault),
                Err(UpstreamFault::Away { .. }) => None,
                Err(other) => return Err(other),
            };
        }
    }
}

/// The address is not repeated: where a blob was redirected to, it may hold a signature.
fn away(place: &Place, error: reqwest::Error) -> UpstreamFault {
    UpstreamFault::Away { place: place.to_string(), cause: outward::cause(&error.without_url()) }
}

fn media_type(answer: &Response) -> String {
    let value = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `Docker-Content-Digest`, where it is one: the Go registry answered with the tag there.
fn said_digest(answer: &Response) -> Option<Digest> {
    Digest::parse(answer.headers().get("docker-content-digest")?.to_str().ok()?)
}
