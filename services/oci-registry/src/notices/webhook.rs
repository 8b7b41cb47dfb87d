//! A receiver that is told by an HTTP POST, signed where there is a secret.

use std::time::Duration;

use async_trait::async_trait;
use mkube_model::secret::Secret;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use ring::hmac;

use super::{DeliveryFault, Notice, NoticeTarget};

/// `sha256=` and the HMAC-SHA256 of the body in hexadecimal, keyed with the secret.
pub(super) const SIGNATURE: &str = "X-Mkube-Signature";
/// The same for each try of one notice.
pub(super) const DELIVERY: &str = "X-Mkube-Delivery";
/// What a receiver may take from connecting to the end of its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A receiver behind a URL.
pub struct Webhook {
    url: String,
    key: Option<hmac::Key>,
    http: reqwest::Client,
}

impl Webhook {
    /// POSTs to `url`. With an empty secret notices are not signed.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(url: &str, secret: &Secret) -> Result<Self, String> {
        Self::with_patience(url, secret, PATIENCE)
    }

    pub(super) fn with_patience(url: &str, secret: &Secret, patience: Duration) -> Result<Self, String> {
        let key = (!secret.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
        // A redirect would carry a signed notice to somebody who was not configured.
        let builder =
            crate::outward::client(None)?.no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(patience);
        let http = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { url: url.to_owned(), key, http })
    }
}

/// See [`SIGNATURE`].
pub(super) fn signature(key: &hmac::Key, body: &[u8]) -> String {
    let signature = hmac::sign(key, body);
    let hex: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[async_trait]
impl NoticeTarget for Webhook {
    fn name(&self) -> &str {
        "webhook"
    }

    async fn deliver(&self, notice: &Notice, delivery: &str) -> Result<(), DeliveryFault> {
        let refused = |error: &dyn std::fmt::Display| DeliveryFault::Refused(error.to_string());
        let body = serde_json::to_vec(notice).map_err(|error| refused(&error))?;
        let mut request = self.http.post(&self.url).header(CONTENT_TYPE, "application/json").header(DELIVERY, delivery);
        if let Some(key) = &self.key {
            request = request.header(SIGNATURE, signature(key, &body));
        }
        let answer = request.body(body).send().await.map_err(|error| DeliveryFault::Away {
            // The address may hold what is nobody's business; the cause below it says what happened.
            cause: crate::outward::cause(&error.without_url()),
            pause: None,
        })?;
        let status = answer.status();
        let pause = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if status.is_success() {
            Ok(())
        } else if status.is_server_error() || passing.contains(&status) {
            Err(DeliveryFault::Away { cause: format!("answered {status}"), pause: pause.map(Duration::from_secs) })
        } else {
            Err(DeliveryFault::Refused(format!("answered {status}")))
        }
    }
}
