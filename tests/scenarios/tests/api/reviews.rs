//! Questions that are posted like objects: who am I, may I do that. Statement 9.

use serde_json::{Value, json};

use crate::protobuf::{MEDIA, envelope_of, field};
use crate::quiet;

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const MAY: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const RULES: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";

#[actix_rt::test]
async fn everybody_is_nobody_in_particular_and_may_do_everything() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let before = world.stored();
    let who = api.post(WHO, &json!({})).await?.expect(201).body;
    assert_eq!(who["status"]["userInfo"]["username"], "system:anonymous");
    assert_eq!(who["kind"], "SelfSubjectReview");
    let asked = json!({"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}});
    let may = api.post(MAY, &json!({"spec": asked})).await?.expect(201).body;
    assert_eq!((&may["status"]["allowed"], &may["spec"]), (&json!(true), &asked));
    let rules = api.post(RULES, &json!({"spec": {"namespace": "default"}})).await?.expect(201).body;
    assert_eq!(rules["status"]["resourceRules"][0]["verbs"], json!(["*"]));
    assert_eq!(world.stored(), before, "nothing is stored");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn reviews_in_protobuf_are_answered_and_broken_ones_refused() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let attributes = [field(1, b"default"), field(2, b"get"), field(5, b"pods"), field(3, b"")].concat();
    let metadata = field(1, &[field(1, b""), field(8, b"")].concat());
    let status = field(3, &[1 << 3, 0, 4 << 3, 0]);
    let object = [metadata.clone(), field(2, &field(1, &attributes)), status].concat();
    let body = envelope_of("authorization.k8s.io/v1", "SelfSubjectAccessReview", &object);
    let may = api.send("POST", MAY, MEDIA, body.clone()).await?.expect(201).body;
    assert_eq!(may["status"]["allowed"], true);
    assert_eq!(may["spec"]["resourceAttributes"]["resource"], "pods");
    let object = [metadata.clone(), field(2, &field(1, b"default")), field(3, &[3 << 3, 0])].concat();
    let rules = envelope_of("authorization.k8s.io/v1", "SelfSubjectRulesReview", &object);
    api.send("POST", RULES, MEDIA, rules).await?.expect(201);
    let object = [metadata, field(2, &field(1, &[field(1, b""), field(2, b"")].concat()))].concat();
    let who = envelope_of("authentication.k8s.io/v1", "SelfSubjectReview", &object);
    api.send("POST", WHO, MEDIA, who).await?.expect(201);
    api.send("POST", MAY, MEDIA, body[..body.len() - 20].to_vec()).await?.refused(400, "BadRequest");
    api.send("POST", WHO, MEDIA, body).await?.refused(400, "BadRequest");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_review_that_asks_nothing_or_nonsense_is_refused_with_its_field() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAY, &json!({"spec": {}})).await?.refused(422, "Invalid").saying("spec.resourceAttributes");
    api.post(RULES, &json!({"spec": {}})).await?.refused(422, "Invalid").saying("spec.namespace: Required value");
    api.post(MAY, &json!({"spec": {"resourceAttributes": 5}})).await?.refused(400, "BadRequest").saying("spec");
    api.post(WHO, &json!([])).await?.refused(400, "BadRequest");
    api.post(MAY, &json!({"kind": "Pod"})).await?.refused(400, "BadRequest").saying("SelfSubjectAccessReview");
    let typo = json!({"spec": {"resourceAttributes": {"verb": "get"}, "colour": 1}});
    api.post(&format!("{MAY}?fieldValidation=Strict"), &typo).await?.refused(400, "BadRequest").saying("spec.colour");
    api.get(WHO).await?.refused(405, "MethodNotAllowed");
    let listed = api.get("/apis/authorization.k8s.io/v1").await?.expect(200).body;
    let verbs = listed["resources"].as_array().into_iter().flatten().map(|one| one["verbs"].clone());
    assert_eq!(verbs.collect::<Vec<Value>>(), [json!(["create"]), json!(["create"])]);
    world.stop().await;
    Ok(())
}
