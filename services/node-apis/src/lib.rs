//! The APIs of other nodes over HTTP: one request on a connection of its own, and its answer as it comes.
//!
//! Who answers is not trusted: no redirect is followed, no connection is used twice, and the head of an answer has its time. What
//! is sent is the request as it was given, with the headers without which it would be none.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mkube_model::neighbours::node_apis::{NodeAnswer, NodeApis, NodeBody, NodeRequest, Pieces, Unanswered};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};

/// Signs of life on a connection on which nothing is said: the first after this time.
const FIRST_SIGN: Duration = Duration::from_secs(60);
/// Pause between those that are not answered, and how many there are before the other side is given up.
const NEXT_SIGN: Duration = Duration::from_secs(15);
const SIGNS: u32 = 4;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A connection.
    pub connection: Duration,
    /// All up to the head of the answer. A command begins when its device has been asked about it, and that may be slow.
    pub head: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connection: Duration::from_secs(3), head: Duration::from_secs(40) }
    }
}

/// APIs of other nodes over HTTP.
#[derive(Debug, Clone)]
pub struct HttpNodeApis {
    client: Client,
    patience: Patience,
}

impl HttpNodeApis {
    /// Asks with this much patience.
    pub fn new(patience: Patience) -> Result<Self, String> {
        // The client wants it, though it speaks plain HTTP only. Whoever was first has set it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(patience.connection)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            // What is typed is not held back.
            .tcp_nodelay(true)
            .tcp_keepalive(FIRST_SIGN)
            .tcp_keepalive_interval(NEXT_SIGN)
            .tcp_keepalive_retries(SIGNS)
            // SPDY is spoken from the first request of a connection on, or not at all.
            .pool_max_idle_per_host(0)
            // A node is reached directly or not at all.
            .no_proxy()
            .build();
        let client = client.map_err(|error| format!("no HTTP client can be made: {}", chain(&error)))?;
        Ok(Self { client, patience })
    }

    async fn head(&self, request: NodeRequest) -> Result<Response, Unanswered> {
        let odd = |what: &str| Unanswered::Away(format!("{what} of the request cannot be sent"));
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| odd("the method"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = name.parse::<reqwest::header::HeaderName>().map_err(|_| odd("a header"))?;
            headers.append(name, value.parse().map_err(|_| odd("a header"))?);
        }
        let url = format!("http://{}{}", request.to, request.path);
        self.client.request(method, url).headers(headers).send().await.map_err(|error| Unanswered::Away(chain(&error)))
    }
}

#[async_trait]
impl NodeApis for HttpNodeApis {
    async fn ask(&self, request: NodeRequest) -> Result<NodeAnswer, Unanswered> {
        let asked = async {
            let response = self.head(request).await?;
            let code = response.status().as_u16();
            let text = |value: &reqwest::header::HeaderValue| value.to_str().ok().map(str::to_owned);
            let headers = response.headers().iter();
            let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect();
            let body = if code == 101 {
                let upgraded = response.upgrade().await.map_err(|error| Unanswered::Away(chain(&error)))?;
                NodeBody::Upgraded(Box::new(upgraded))
            } else {
                NodeBody::Pieces(Box::new(Body(response)))
            };
            Ok(NodeAnswer { code, headers, body })
        };
        tokio::time::timeout(self.patience.head, asked).await.unwrap_or(Err(Unanswered::Late))
    }
}

struct Body(Response);

#[async_trait]
impl Pieces for Body {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        self.0.chunk().await.map_err(|error| chain(&error)).transpose()
    }
}

/// An error with its causes, and without the address: who asked knows that, and a query is nobody else's business.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(one) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&one.to_string());
        cause = one.source();
    }
    if text.is_empty() { "the connection failed".to_owned() } else { text }
}
