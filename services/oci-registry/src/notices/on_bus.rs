//! The bus as a receiver: whoever listens there hears of pushes, signed where there is a secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use mkube_model::neighbours::bus::{Bus, BusFault, BusMessage, BusSession, PUSHED};
use mkube_model::secret::Secret;
use ring::hmac;
use tokio::sync::Mutex;

use super::webhook::{DELIVERY, SIGNATURE, signature};
use super::{DeliveryFault, Notice, NoticeTarget};

/// Tells on the bus. Taken is what the bus has taken, whether anybody listened or not.
pub struct OnBus {
    bus: Arc<dyn Bus>,
    key: Option<hmac::Key>,
    session: Mutex<Option<Arc<dyn BusSession>>>,
}

impl OnBus {
    /// With an empty secret notices are not signed.
    pub fn new(bus: Arc<dyn Bus>, secret: &Secret) -> Self {
        let key = (!secret.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
        Self { bus, key, session: Mutex::new(None) }
    }
}

#[async_trait]
impl NoticeTarget for OnBus {
    fn name(&self) -> &str {
        "bus"
    }

    async fn deliver(&self, notice: &Notice, delivery: &str) -> Result<(), DeliveryFault> {
        // Somebody has to let us in; until then the notice waits as for a bus that is away.
        let away = |fault: BusFault| DeliveryFault::Away { cause: fault.to_string(), pause: None };
        let body = serde_json::to_vec(notice).map_err(|error| DeliveryFault::Refused(error.to_string()))?;
        let mut headers = BTreeMap::from([(DELIVERY.to_owned(), delivery.to_owned())]);
        if let Some(key) = &self.key {
            headers.insert(SIGNATURE.to_owned(), signature(key, &body));
        }
        let mut session = self.session.lock().await;
        let attached = match session.take() {
            Some(attached) => attached,
            None => self.bus.attach().await.map_err(away)?,
        };
        let message = BusMessage { subject: PUSHED.to_owned(), headers, payload: body.into() };
        attached.publish(vec![message]).await.map_err(away)?;
        *session = Some(attached);
        Ok(())
    }
}
