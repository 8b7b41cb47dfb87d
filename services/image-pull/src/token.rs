//! How a registry wants to be asked: what its challenge demands, and the token that answers it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_auth::ChallengeParser;
use oci_distribution::token_cache::RegistryToken;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use crate::asking::{authority, error_words, read_up_to, retry_after};
use crate::credentials::Place;
use crate::options::Pace;
use crate::transport::Transport;
use crate::trouble::{Hitch, Trouble};

/// Bytes of a token server's answer.
const TOKEN_BYTES: usize = 256 << 10;
/// How long a token holds that does not say so.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// A token is not used for its last moments.
const MARGIN: Duration = Duration::from_secs(5);

/// As whom a place lets itself be asked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Nothing we have is what it wants.
    Nobody,
    /// User and password with every request.
    Basic,
    /// A token.
    Bearer { token: HeaderValue, until: Instant },
}

impl Grant {
    pub(crate) fn holds_at(&self, now: Instant) -> bool {
        !matches!(self, Grant::Bearer { until, .. } if *until <= now)
    }

    /// The header it is shown in.
    pub(crate) fn header(&self, place: &Place) -> Option<HeaderValue> {
        match self {
            Grant::Nobody => None,
            Grant::Basic => basic(place),
            Grant::Bearer { token, .. } => Some(token.clone()),
        }
    }
}

fn basic(place: &Place) -> Option<HeaderValue> {
    let who = place.credential.as_ref()?;
    let text = STANDARD.encode(format!("{}:{}", who.user, who.password.expose()));
    secret_header(&format!("Basic {text}"))
}

fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Answers the challenge of a place.
pub(crate) async fn obtain(
    transport: &Transport,
    pace: &Pace,
    place: &Place,
    headers: &HeaderMap<HeaderValue>,
) -> Result<Grant, Hitch> {
    let mut takes_basic = false;
    for header in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = header.to_str() else { continue };
        for challenge in ChallengeParser::new(text).filter_map(Result::ok) {
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                takes_basic = true;
            }
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let of = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                let realm = of("realm").unwrap_or_default();
                return exchange(transport, pace, place, &realm, of("service")).await;
            }
        }
    }
    Ok(if takes_basic && place.credential.is_some() { Grant::Basic } else { Grant::Nobody })
}

/// What a token server answers beside the token.
#[derive(Deserialize)]
struct Life {
    expires_in: Option<u64>,
}

async fn exchange(
    transport: &Transport,
    pace: &Pace,
    place: &Place,
    realm: &str,
    service: Option<String>,
) -> Result<Grant, Hitch> {
    let registry = || place.host.clone();
    let odd = |why: String| Hitch::Final(Trouble::Away { registry: registry(), why });
    let mut url = Url::parse(realm).map_err(|_| odd("it names no token server that could be asked".to_owned()))?;
    let base = transport.base(&place.host);
    let at_home = Url::parse(&base).is_ok_and(|home| home.origin() == url.origin());
    let server = if at_home { place.host.clone() } else { authority(&url) };
    let plain = url.scheme() == "http";
    if !(plain && (at_home || transport.is_plain(&server)) || url.scheme() == "https") {
        return Err(odd(format!("its token server {server} is not asked over TLS, so it gets no password")));
    }
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &format!("repository:{}:pull", place.repository));
    }
    // A token server has the registry's authority, unless there is an entry of its own for it or the registry has none.
    let own = plain || transport.is_known(&server) || transport.is_plain(&place.host);
    let trusted_as = if own { &server } else { &place.host };
    let mut request = transport.client(trusted_as)?.get(url).timeout(pace.document);
    if let Some(header) = basic(place) {
        request = request.header(AUTHORIZATION, header);
    }
    let later = |error: reqwest::Error| Hitch::later(format!("its token server {server}: {}", error.without_url()));
    let answer = request.send().await.map_err(later)?;
    let status = answer.status();
    if !status.is_success() {
        let after = retry_after(answer.headers());
        let why = format!("its token server {server} says {}", error_words(answer).await);
        return Err(match status {
            StatusCode::TOO_MANY_REQUESTS => Hitch::Later { after, why },
            status if status.is_server_error() => Hitch::Later { after, why },
            _ => Trouble::Denied { registry: registry(), why }.into(),
        });
    }
    let no_token = || odd(format!("its token server {server} answers without a token"));
    let body = read_up_to(answer, TOKEN_BYTES).await.map_err(later)?.ok_or_else(no_token)?;
    let token: RegistryToken = serde_json::from_slice(&body).map_err(|_| no_token())?;
    let life = serde_json::from_slice::<Life>(&body).ok().and_then(|life| life.expires_in);
    let life = life.map_or(TOKEN_LIFE, |seconds| Duration::from_secs(seconds.clamp(1, 86_400)));
    let token = secret_header(&token.bearer_token()).ok_or_else(no_token)?;
    Ok(Grant::Bearer { token, until: Instant::now() + life.saturating_sub(MARGIN) })
}
