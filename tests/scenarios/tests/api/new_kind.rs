//! A kind is a row of the table: one that is made up here gets every verb without another line of code.

use mkube_model::kinds::{
    AGE, Home, Kind, KindTable, NAME, by_itself, column, no_problems, no_warnings, schema_of, typed,
};
use mkube_scenarios::{Setup, World};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{JSON, TABLE};

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "example.house.v1.Lamp")]
struct Lamp {
    api_version: String,
    kind: String,
    metadata: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<LampSpec>,
}

/// How it shines.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
struct LampSpec {
    /// What it shines in.
    colour: Option<String>,
    watts: Option<u32>,
}

const LAMP: Kind = Kind {
    group: "house.example",
    version: "v1",
    kind: "Lamp",
    plural: "lamps",
    singular: "lamp",
    short_names: &["lp"],
    categories: &["all"],
    namespaced: true,
    bucket: "LAMPS",
    graceful: false,
    read_only: false,
    has_status: false,
    subresources: &[],
    columns: &[NAME, column("Colour", "string", 0, |object, _| object["spec"]["colour"].clone()), AGE],
    selectable: &["spec.colour"],
    dotted_names: true,
    default: |object| {
        if object["spec"]["watts"].is_null() {
            object["spec"]["watts"] = json!(5);
        }
    },
    home: Home::Everywhere,
    validate: no_problems,
    among: by_itself,
    typed: typed::<Lamp>,
    schema: schema_of::<Lamp>,
    warnings: no_warnings,
    protobuf: &[],
};

const LAMPS: &str = "/apis/house.example/v1/namespaces/default/lamps";

fn lamp(name: &str, colour: &str) -> Value {
    let metadata = json!({"name": name, "labels": {"colour": colour}});
    json!({"apiVersion": "house.example/v1", "kind": "Lamp", "metadata": metadata, "spec": {"colour": colour}})
}

#[actix_rt::test]
async fn one_row_of_the_table_gives_a_kind_every_verb() -> anyhow::Result<()> {
    let world = World::with(Setup { kinds: KindTable::builtin().with(LAMP), ..Setup::default() }).await?;
    let api = world.api();
    let one = format!("{LAMPS}/a");

    let mut watch = api.watch(&format!("{LAMPS}?watch=true"), JSON).await?;
    let made = api.post(LAMPS, &lamp("a", "red")).await?.expect(201).body;
    assert_eq!(made["spec"], json!({"colour": "red", "watts": 5}));
    api.post(LAMPS, &lamp("b", "blue")).await?.expect(201);
    assert_eq!(watch.event().await?, ("ADDED".to_owned(), "a".to_owned()));
    assert_eq!(watch.event().await?, ("ADDED".to_owned(), "b".to_owned()));

    assert_eq!(api.get(&one).await?.expect(200).body, made);
    let list = api.get(LAMPS).await?.expect(200);
    assert_eq!((list.names(), &list.body["kind"]), (vec!["a", "b"], &json!("LampList")));
    assert_eq!(list.body["apiVersion"], "house.example/v1");
    assert_eq!(api.get(&format!("{LAMPS}?fieldSelector=spec.colour%3Dblue")).await?.expect(200).names(), ["b"]);
    assert_eq!(api.get("/apis/house.example/v1/lamps?labelSelector=colour%3Dred").await?.expect(200).names(), ["a"]);
    let table = api.get_as(LAMPS, TABLE).await?.expect(200).body;
    assert_eq!(
        (&table["columnDefinitions"][1]["name"], &table["rows"][0]["cells"][1]),
        (&json!("Colour"), &json!("red"))
    );

    let mut next = made.clone();
    next["spec"]["watts"] = json!(7);
    let replaced = api.put(&one, &next).await?.expect(200).body;
    assert_eq!((&replaced["spec"]["watts"], &replaced["metadata"]["generation"]), (&json!(7), &json!(2)));
    assert_eq!(watch.event().await?, ("MODIFIED".to_owned(), "a".to_owned()));
    let patched = api.patch(&one, "merge", &json!({"spec": {"colour": "green"}})).await?.expect(200).body;
    assert_eq!(patched["spec"], json!({"colour": "green", "watts": 7}));
    let operations = json!([{"op": "replace", "path": "/spec/watts", "value": 9}]);
    assert_eq!(api.patch(&one, "json", &operations).await?.expect(200).body["spec"]["watts"], 9);
    // Clients expect that kinds Kubernetes does not have know no strategic merge.
    let strategic =
        api.patch(&one, "strategic-merge", &json!({"spec": {}})).await?.refused(415, "UnsupportedMediaType");
    strategic.saying("application/strategic-merge-patch+json is not supported by house.example/v1 Lamp");
    let typo = json!({"metadata": {"name": "c"}, "spec": {"color": "red"}});
    api.post(&format!("{LAMPS}?fieldValidation=Strict"), &typo)
        .await?
        .refused(400, "BadRequest")
        .saying("unknown field \"spec.color\"");
    api.post(LAMPS, &json!({"metadata": {"name": "c"}, "spec": {"watts": "many"}}))
        .await?
        .refused(400, "BadRequest")
        .saying("spec.watts");
    api.post(LAMPS, &lamp("a", "red"))
        .await?
        .refused(409, "AlreadyExists")
        .saying("lamps.house.example \"a\" already exists");

    assert_eq!(api.delete(&one).await?.expect(200).body["details"]["group"], "house.example");
    api.get(&one).await?.refused(404, "NotFound").saying("lamps.house.example \"a\" not found");
    api.post(LAMPS, &lamp("c", "red")).await?.expect(201);
    assert_eq!(api.delete(LAMPS).await?.expect(200).names(), ["b", "c"]);
    assert_eq!(api.get(LAMPS).await?.names(), Vec::<&str>::new());

    let groups = api.get("/apis").await?.expect(200).body;
    assert!(groups["groups"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "house.example")));
    let group = api.get("/apis/house.example").await?.expect(200).body;
    assert_eq!(
        (&group["kind"], &group["preferredVersion"]["groupVersion"]),
        (&json!("APIGroup"), &json!("house.example/v1"))
    );
    let legacy = api.get("/apis/house.example/v1").await?.expect(200).body;
    assert_eq!(
        (&legacy["resources"][0]["name"], &legacy["resources"][0]["shortNames"]),
        (&json!("lamps"), &json!(["lp"]))
    );
    let wants = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = api.get_as("/apis", wants).await?.expect(200).body;
    let mut groups = aggregated["items"].as_array().into_iter().flatten();
    let house = groups.find(|one| one["metadata"]["name"] == "house.example").cloned().unwrap_or_default();
    assert_eq!(house["versions"][0]["resources"][0]["resource"], "lamps");
    let document = api.get("/openapi/v3/apis/house.example/v1").await?.expect(200).body;
    let schema = &document["components"]["schemas"]["example.house.v1.Lamp"];
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Lamp");
    let colour = json!({"type": "string", "description": "What it shines in."});
    assert_eq!(schema["properties"]["spec"]["properties"]["colour"], colour);
    assert!(document["paths"]["/apis/house.example/v1/namespaces/{namespace}/lamps/{name}"]["patch"].is_object());
    world.stop().await;
    Ok(())
}
