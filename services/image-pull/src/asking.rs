//! Asks a registry for something: as whom, where a redirect leads, what an answer means, and when to ask again.
//!
//! `oci-distribution` speaks the same protocol. Its grammar of references, its types of manifests, its error envelopes are
//! used here; its requests are not: they read answers of any size into memory, drop `Retry-After` and `Content-Range`, and
//! take every refusal of a token server, an overloaded one's too, for a wrong password.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oci_distribution::errors::OciEnvelope;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::time::Instant;

use crate::credentials::Place;
use crate::options::{Pace, PullOptions};
use crate::token::{self, Grant};
use crate::transport::Transport;
use crate::trouble::{Hitch, Trouble};

/// Redirects followed for one request.
const REDIRECTS: usize = 5;
/// Bytes of an error's body that are read.
const ERROR_BYTES: usize = 8 << 10;
/// Grants remembered.
const GRANTS: usize = 1024;

/// What is asked for, below `/v2/<repository>/`.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) accept: &'a str,
    /// First byte wanted.
    pub(crate) from: u64,
}

/// Asks registries.
pub(crate) struct Registries {
    pub(crate) transport: Transport,
    pub(crate) pace: Pace,
    /// How each place lets itself be asked, as far as is known.
    grants: Mutex<HashMap<(String, String, String), Grant>>,
}

impl Registries {
    pub(crate) fn new(options: &PullOptions) -> Self {
        Self { transport: Transport::new(options), pace: options.pace, grants: Mutex::default() }
    }

    /// Asks once. An answer is one of success; everything else is a hitch.
    pub(crate) async fn once(&self, place: &Place, ask: &Ask<'_>) -> Result<Response, Hitch> {
        let url = format!("{}/v2/{}/{}", self.transport.base(&place.host), place.repository, ask.path);
        let url =
            Url::parse(&url).map_err(|error| Trouble::Away { registry: place.host.clone(), why: error.to_string() })?;
        let mut grant = self.remembered(place);
        for round in 0..2 {
            let answer = self.follow(place, ask, url.clone(), grant.as_ref()).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return self.judge(place, answer).await;
            }
            let challenges = answer.headers().clone();
            let refused = self.judge(place, answer).await;
            if round > 0 {
                return refused;
            }
            match token::obtain(&self.transport, &self.pace, place, &challenges).await? {
                Grant::Nobody => return refused,
                new => {
                    self.remember(place, new.clone());
                    grant = Some(new);
                }
            }
        }
        let why = "it wants other credentials".to_owned();
        Err(Trouble::Denied { registry: place.host.clone(), why }.into())
    }

    /// Counts attempts at one thing.
    pub(crate) fn patience<'a>(&'a self, place: &'a Place) -> Patience<'a> {
        Patience { registries: self, place, failed: 0 }
    }

    /// Waits before another attempt, unless there have been enough or the registry asks for more than is given.
    pub(crate) async fn rest(
        &self,
        place: &Place,
        failed: u32,
        after: Option<Duration>,
        why: String,
    ) -> Result<(), Trouble> {
        let away = |why: String| Err(Trouble::Away { registry: place.host.clone(), why });
        if let Some(after) = after.filter(|after| *after > self.pace.longest_pause) {
            return away(format!("{why}; it wants to be left alone for {} s", after.as_secs()));
        }
        if failed >= self.pace.attempts {
            return away(why);
        }
        tracing::debug!(registry = %place.host, repository = %place.repository, %why, failed, "asks again");
        tokio::time::sleep(after.unwrap_or_else(|| self.pace.pause(failed))).await;
        Ok(())
    }

    fn key(place: &Place) -> (String, String, String) {
        // Who asks is part of it, so that nobody is given what somebody else may see.
        let user = place.credential.as_ref().map(|who| format!("{}\0{}", who.user, who.password.expose()));
        (place.host.clone(), place.repository.clone(), user.unwrap_or_default())
    }

    fn remembered(&self, place: &Place) -> Option<Grant> {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.get(&Self::key(place)).filter(|grant| grant.holds_at(Instant::now())).cloned()
    }

    fn remember(&self, place: &Place, grant: Grant) {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if grants.len() >= GRANTS {
            let now = Instant::now();
            grants.retain(|_, grant| grant.holds_at(now));
        }
        if grants.len() >= GRANTS {
            grants.clear();
        }
        grants.insert(Self::key(place), grant);
    }

    /// Sends the request and goes where it is sent on to. Only the registry itself sees the grant.
    async fn follow(&self, place: &Place, ask: &Ask<'_>, start: Url, grant: Option<&Grant>) -> Result<Response, Hitch> {
        let away = |why: String| Hitch::Final(Trouble::Away { registry: place.host.clone(), why });
        let mut url = start.clone();
        for _ in 0..=REDIRECTS {
            let own = same_origin(&url, &start);
            let host = if own { place.host.clone() } else { authority(&url) };
            let mut request = self.transport.client(&host)?.request(ask.method.clone(), url.clone());
            if !ask.accept.is_empty() {
                request = request.header(ACCEPT, ask.accept);
            }
            if ask.from > 0 {
                request = request.header(RANGE, format!("bytes={}-", ask.from));
            }
            if let Some(header) = grant.filter(|_| own).and_then(|grant| grant.header(place)) {
                request = request.header(AUTHORIZATION, header);
            }
            let answer = request.send().await.map_err(|error| Hitch::later(self.words(&host, &error)))?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let Some(next) = location.and_then(|location| url.join(location).ok()) else {
                return Err(away(format!("{} without a place to go to", answer.status())));
            };
            if next.scheme() != "https" && !(next.scheme() == "http" && self.transport.is_plain(&authority(&next))) {
                return Err(away(format!(
                    "it sends on to {}, which is not over TLS",
                    next.origin().ascii_serialization()
                )));
            }
            url = next;
        }
        Err(away(format!("it sends on more than {REDIRECTS} times")))
    }

    /// What an answer means.
    async fn judge(&self, place: &Place, answer: Response) -> Result<Response, Hitch> {
        let status = answer.status();
        let registry = place.host.clone();
        if status.is_success() {
            return Ok(answer);
        }
        let after = retry_after(answer.headers());
        let why = error_words(answer).await;
        Err(match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Trouble::NotFound { registry }.into(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Trouble::Denied { registry, why }.into(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Hitch::Later { after, why },
            status if status.is_server_error() => Hitch::Later { after, why },
            StatusCode::RANGE_NOT_SATISFIABLE => {
                Trouble::Unusable("a blob is shorter than its manifest says".to_owned()).into()
            }
            _ => Trouble::Away { registry, why }.into(),
        })
    }

    /// What a broken connection is called, with its causes.
    pub(crate) fn words(&self, host: &str, error: &reqwest::Error) -> String {
        let mut causes = Vec::new();
        let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        // The outermost texts only repeat the address.
        let why = causes.pop().unwrap_or_else(|| "it broke off".to_owned());
        let about_tls = ["certificate", "InvalidContentType", "corrupt message", "handshake"];
        let advice = if about_tls.iter().any(|word| why.contains(word)) { self.transport.advice(host) } else { "" };
        match error {
            _ if error.is_timeout() => "it does not answer in time".to_owned(),
            _ => format!("{why}{advice}"),
        }
    }
}

/// Attempts at one thing.
pub(crate) struct Patience<'a> {
    registries: &'a Registries,
    place: &'a Place,
    failed: u32,
}

impl Patience<'_> {
    /// Waits before the next attempt, or says why there is none.
    pub(crate) async fn after(&mut self, hitch: Hitch) -> Result<(), Trouble> {
        match hitch {
            Hitch::Final(trouble) => Err(trouble),
            Hitch::Later { after, why } => {
                self.failed += 1;
                self.registries.rest(self.place, self.failed, after, why).await
            }
        }
    }
}

/// `Retry-After` in seconds; a date is not worth a calendar.
pub(crate) fn retry_after(headers: &HeaderMap<HeaderValue>) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Status and words of an answer that is none.
pub(crate) async fn error_words(answer: Response) -> String {
    let status = answer.status();
    let body = match read_up_to(answer, ERROR_BYTES).await {
        Ok(Some(body)) => body,
        _ => return status.to_string(),
    };
    match serde_json::from_slice::<OciEnvelope>(&body).ok().and_then(|envelope| envelope.errors.into_iter().next()) {
        Some(error) if !error.message.is_empty() => {
            let message: String = error.message.chars().filter(|c| !c.is_control()).take(200).collect();
            format!("{status}: {message}")
        }
        _ => status.to_string(),
    }
}

/// The body of an answer; none when it is longer than the limit.
pub(crate) async fn read_up_to(mut answer: Response, limit: usize) -> reqwest::Result<Option<Vec<u8>>> {
    if answer.content_length().is_some_and(|length| length > limit as u64) {
        return Ok(None);
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// `host[:port]` of an address, as the configuration would name it.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
