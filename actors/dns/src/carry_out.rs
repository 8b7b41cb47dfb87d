//! Carries out a call that was decided on. Every call has a deadline here too, whatever the neighbour promises.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mkube_messages::door::{CallError, Door};
use mkube_messages::objects::{ObjectKey, PatchType, Verb, WriteObject};
use mkube_messages::patience;
use mkube_model::kinds::KindId;
use mkube_model::neighbours::name_servers::{CALL, HEALTH, NameFault, NameServers};
use serde_json::{Value, json};

use crate::ledger::LedgerWrite;
use crate::outcome::Learnt;
use crate::server::Work;

/// Longest time of what reads many pages.
const PAGES: Duration = Duration::from_secs(120);

/// Whom a call goes to.
#[derive(Clone)]
pub struct Hands {
    /// The servers.
    pub servers: Arc<dyn NameServers>,
    /// The one way in.
    pub write: Door<WriteObject>,
    /// The kind of entries.
    pub entries: KindId,
}

/// Does it. `today` is what is written where time matters to people and servers.
pub async fn carry_out(hands: Hands, endpoint: String, work: Work, today: Timestamp) -> Result<Learnt, NameFault> {
    let patience = match &work {
        Work::Health => HEALTH,
        Work::ListZones | Work::ListRecords(..) | Work::ListForwarders => PAGES,
        Work::Ledger(..) => patience::WRITE,
        _ => CALL,
    };
    match tokio::time::timeout(patience, call(hands, &endpoint, work.clone(), today)).await {
        Ok(result) => result,
        Err(_) if work == Work::Health => Err(NameFault::Away("it does not answer in time".into())),
        Err(_) => Err(NameFault::Unknown("no answer in time".into())),
    }
}

async fn call(hands: Hands, endpoint: &str, work: Work, today: Timestamp) -> Result<Learnt, NameFault> {
    let servers = &hands.servers;
    match work {
        Work::Health => servers.health(endpoint).await.map(Learnt::Health),
        Work::ListZones => servers.zones(endpoint).await.map(Learnt::Zones),
        Work::CreateZone(zone) => servers.create_zone(endpoint, &zone).await.map(Learnt::Zone),
        Work::ListRecords(_, id) => servers.records(endpoint, &id).await.map(Learnt::Records),
        Work::Create(_, id, _, record) => servers.create_record(endpoint, &id, &record).await.map(Learnt::Created),
        Work::Update(_, _, row) => servers.update_record(endpoint, &row).await.map(Learnt::Row),
        Work::Delete(_, _, zone_id, id) => servers.delete_record(endpoint, &zone_id, &id).await.map(|()| Learnt::Done),
        Work::ListForwarders => servers.forwarders(endpoint).await.map(Learnt::Forwarders),
        Work::PutForwarder(row) => servers.put_forwarder(endpoint, &row).await.map(Learnt::Forwarder),
        Work::DeleteForwarder(zone) => servers.delete_forwarder(endpoint, &zone).await.map(|()| Learnt::Done),
        Work::Ledger(write, _) => store(&hands, write, today).await.map(|()| Learnt::Done),
    }
}

async fn store(hands: &Hands, write: LedgerWrite, today: Timestamp) -> Result<(), NameFault> {
    match write {
        LedgerWrite::Note(key) => {
            let (name, body) = (key.object_name(), key.object());
            match one_write(hands, &name, Verb::Create { body }).await {
                // One that says that it is gone does not any more.
                Err(409) => patch(hands, &name, json!({"spec": {"goneAt": null}})).await,
                other => other,
            }
        }
        LedgerWrite::MarkGone(key) => {
            let body = json!({"spec": {"goneAt": today.to_string()}});
            patch(hands, &key.object_name(), body).await
        }
        LedgerWrite::Forget(key) => {
            let done = one_write(hands, &key.object_name(), Verb::Delete { options: Value::Null }).await;
            if done == Err(404) { Ok(()) } else { done }
        }
    }
    .map_err(|code| NameFault::Unknown(format!("what is ours could not be written down ({code})")))
}

async fn patch(hands: &Hands, name: &str, body: Value) -> Result<(), u16> {
    one_write(hands, name, Verb::Patch { patch: PatchType::Merge, body }).await
}

/// Fails with the code of the refusal, or 503 when nobody answered.
async fn one_write(hands: &Hands, name: &str, verb: Verb) -> Result<(), u16> {
    let order = WriteObject {
        // What stands on servers as ours has to be known, also while the store is away.
        behind: true,
        ..WriteObject::own("names", hands.entries, ObjectKey::new("", name), verb)
    };
    match hands.write.ask(order).await {
        Ok(_) => Ok(()),
        Err(CallError::Fault(status)) => Err(status.code),
        Err(CallError::NotAnswered(_)) => Err(503),
    }
}
