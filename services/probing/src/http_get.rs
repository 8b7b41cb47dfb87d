//! A GET as kubelet sends it: a status from 200 to 399 is a good answer.

use std::error::Error;

use mkube_model::neighbours::prober::Verdict;
use reqwest::header::{ACCEPT, CONNECTION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response};

use crate::network_prober::{USER_AGENT as OWN_NAME, http_url};

/// What is read of a body. More is not refused: it is only not looked at.
const BODY: usize = 10 * 1024;
/// Redirects that are followed.
const REDIRECTS: usize = 10;

pub(crate) struct HttpAsker {
    client: Client,
}

impl HttpAsker {
    pub(crate) fn new() -> Result<Self, String> {
        let client = Client::builder()
            .redirect(Policy::custom(follow))
            // A connection says that the process lives, so each probe makes its own.
            .pool_max_idle_per_host(0)
            .tls_danger_accept_invalid_certs(true)
            // A container is reached directly or not at all.
            .no_proxy()
            .build();
        client.map(|client| Self { client }).map_err(|error| format!("no HTTP client can be made: {}", chain(&error)))
    }

    pub(crate) async fn ask(
        &self,
        https: bool,
        host: &str,
        port: u16,
        path: &str,
        headers: &[(String, String)],
    ) -> Verdict {
        let url = http_url(https, host, port, path);
        let headers = match all_headers(headers) {
            Ok(headers) => headers,
            Err(why) => return Verdict::Bad(why),
        };
        let mut response = match self.client.get(&url).headers(headers).send().await {
            Ok(response) => response,
            Err(error) => return Verdict::Bad(format!("Get {url:?}: {}", chain(&error))),
        };
        if let Err(error) = read_some(&mut response).await {
            return Verdict::Bad(format!("Get {url:?}: the body ended early: {}", chain(&error)));
        }
        let status = response.status().as_u16();
        match status {
            300..=399 => {
                let to = response.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
                Verdict::Doubtful(format!("it redirects to another host, which is not followed: {to}"))
            }
            200..=399 => Verdict::Good,
            _ => Verdict::Bad(format!("HTTP probe failed with statuscode: {status}")),
        }
    }
}

/// Redirects are followed on the same host only: a probe asks one container.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let asked = attempt.previous().first().and_then(|url| url.host_str());
    if asked != attempt.url().host_str() {
        return attempt.stop();
    }
    if attempt.previous().len() > REDIRECTS {
        return attempt.error(format!("stopped after {REDIRECTS} redirects"));
    }
    attempt.follow()
}

fn all_headers(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no name of a header"))?;
        let value = HeaderValue::try_from(value).map_err(|_| format!("the value of header {name} cannot be sent"))?;
        all.append(name, value);
    }
    all.entry(USER_AGENT).or_insert(HeaderValue::from_static(OWN_NAME));
    all.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    all.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(all)
}

async fn read_some(response: &mut Response) -> Result<(), reqwest::Error> {
    let mut read = 0;
    while read < BODY {
        match response.chunk().await? {
            Some(chunk) => read += chunk.len(),
            None => break,
        }
    }
    Ok(())
}

/// An error with its causes, without saying anything twice.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        next = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
