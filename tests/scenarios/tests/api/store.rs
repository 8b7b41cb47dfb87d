//! `/api/v1/store`: how the store is, what an older one lacks, and taking it as it is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_fakes::MemoryStore;
use mkube_model::neighbours::desired_store::{
    DesiredStore, Outcome, StoreChange, StoreContents, StoreFault, StoreKey, StoreNews,
};
use mkube_model::neighbours::older_store::{AcceptFault, Accepted, Loss, LossKind, OlderStore};
use mkube_scenarios::{Setup, World};
use serde_json::json;

use crate::{MAPS, map};

const PATH: &str = "/api/v1/store";
const DIGEST: &str = "5b1f0c2e9d3a4867";

/// A store that comes back older when it is told so.
#[derive(Default)]
struct Older {
    store: MemoryStore,
    older: Mutex<Option<Arc<OlderStore>>>,
}

impl Older {
    fn set(&self, older: Option<OlderStore>) {
        *self.older.lock().unwrap_or_else(PoisonError::into_inner) = older.map(Arc::new);
        self.store.set_stale(self.older().map(|older| older.why.clone()).as_deref());
    }
}

#[async_trait]
impl DesiredStore for Older {
    async fn load(&self) -> Result<StoreContents, StoreFault> {
        self.store.load().await
    }

    async fn commit(&self, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault> {
        self.store.commit(changes).await
    }

    async fn compact(&self) -> Result<(), StoreFault> {
        self.store.compact().await
    }

    async fn changed(&self) {
        self.store.changed().await;
    }

    fn take_news(&self) -> StoreNews {
        self.store.take_news()
    }

    fn older(&self) -> Option<Arc<OlderStore>> {
        self.older.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn accept(&self, digest: &str) -> Result<Accepted, AcceptFault> {
        let Some(older) = self.older() else { return Err(AcceptFault::Nothing("it is well".to_owned())) };
        if older.digest != digest {
            return Err(AcceptFault::MovedOn);
        }
        self.set(None);
        Ok(Accepted { copy: PathBuf::from("/srv/state.redb.before-1.yaml"), older: (*older).clone() })
    }
}

fn older() -> OlderStore {
    let at = StoreKey { bucket: "CONFIGMAPS".into(), key: "default.page".into() };
    let losses = vec![Loss { at, kind: LossKind::Missing, known: 7, found: None }];
    let buckets = vec!["CONFIGMAPS".to_owned()];
    OlderStore { why: "it is older".into(), digest: DIGEST.into(), buckets, losses }
}

#[actix_rt::test]
async fn an_older_store_is_described_without_asking_it_and_accepted_by_whoever_says_what() -> anyhow::Result<()> {
    let store = Arc::new(Older::default());
    let setup = Setup { tick: Duration::from_secs(3600), store: Some(store.clone()), ..Setup::default() };
    let world = World::with(setup).await?;
    let api = world.api();
    api.post(MAPS, &map("page", json!({"a": "b"}))).await?.expect(201);
    let well = api.get(PATH).await?.expect(200).body;
    assert_eq!(well, json!({"state": "ok", "message": "connected, loaded, complete"}));
    let accept = |digest: &str| format!("{PATH}/accept?digest={digest}");
    let refused = api.send("POST", &accept(DIGEST), &[], "").await?;
    assert!(refused.code == 409 && refused.text.contains("there is nothing to accept: it is well"), "{}", refused.text);

    store.set(Some(older()));
    world.until("it is known", |view| view.stale.is_some()).await?;
    let state = api.get(PATH).await?.expect(200).body;
    assert_eq!((&state["state"], &state["older"]["digest"]), (&json!("older"), &json!(DIGEST)));
    let loss = json!({"kind": "ConfigMap", "namespace": "default", "name": "page", "state": "missing", "known": 7, "found": null});
    assert_eq!(state["older"]["objects"], json!([loss]));
    for (path, code) in [(format!("{PATH}/accept"), 400), (accept(""), 400), (accept("0123"), 409)] {
        let refused = api.send("POST", &path, &[], "").await?;
        assert_eq!((refused.code, &refused.body["kind"]), (code, &json!("Status")), "{path}: {}", refused.text);
    }
    assert_eq!(api.get(PATH).await?.body, state, "nothing was changed");
    let accepted = api.send("POST", &accept(DIGEST), &[], "").await?.expect(200).body;
    assert_eq!(accepted["copy"], "/srv/state.redb.before-1.yaml");
    assert_eq!(accepted["counts"], json!({"missing": 1, "older": 0, "returned": 0}));
    world.until("it is well again", |view| view.stale.is_none()).await?;
    assert_eq!(api.get(PATH).await?.expect(200).body, well);
    world.stop().await;
    Ok(())
}
