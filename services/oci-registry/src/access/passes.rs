//! Tokens given out for some minutes, as registries do: signed, and understood by this process only.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::settings::RegistryRole;
use ring::hmac;
use serde_json::{Value, json};

use super::AccessFault;

/// How long a pass is good, in seconds: a client that pushes for longer is asked to get another.
const SECONDS: i64 = 900;

/// Gives out and reads passes.
pub(super) struct Passes {
    key: hmac::Key,
    clock: Arc<dyn WallClock>,
}

impl Passes {
    pub(super) fn new(clock: Arc<dyn WallClock>) -> Result<Self, AccessFault> {
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(|_| AccessFault::Random)?;
        Ok(Self { key, clock })
    }

    /// In the shape clients expect from a token server.
    pub(super) fn issue(&self, name: Option<&str>, role: RegistryRole) -> Value {
        let now = self.clock.now();
        let writes = role == RegistryRole::Write;
        let body = json!({"name": name, "write": writes, "until": now.as_second() + SECONDS}).to_string();
        let signature = hmac::sign(&self.key, body.as_bytes());
        let token = format!("{}.{}", URL_SAFE_NO_PAD.encode(body), URL_SAFE_NO_PAD.encode(signature));
        json!({"token": token, "access_token": token, "expires_in": SECONDS, "issued_at": now.to_string()})
    }

    /// Whose pass it is; `None` when it is not ours or its time is over.
    pub(super) fn read(&self, token: &str) -> Option<(Option<String>, RegistryRole)> {
        let (body, signature) = token.split_once('.')?;
        let (body, signature) = (URL_SAFE_NO_PAD.decode(body).ok()?, URL_SAFE_NO_PAD.decode(signature).ok()?);
        hmac::verify(&self.key, &body, &signature).ok()?;
        let body: Value = serde_json::from_slice(&body).ok()?;
        let role = if body["write"].as_bool()? { RegistryRole::Write } else { RegistryRole::Read };
        (body["until"].as_i64()? > self.clock.now().as_second())
            .then(|| (body["name"].as_str().map(str::to_owned), role))
    }
}
