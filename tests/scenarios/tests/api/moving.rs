//! Export, import and apply: what owners wrote leaves as text and comes back the same.

use mkube_scenarios::{Answer, Api, World};
use serde_json::{Value, json};

use crate::{MAPS, PODS, map, pod, quiet};

const EXPORT: &str = "/api/v1/export";
const IMPORT: &str = "/api/v1/import";
const APPLY: &str = "/api/v1/apply";

async fn post(api: &Api, path: &str, body: impl Into<String>) -> anyhow::Result<Answer> {
    // What curl sends when nobody tells it otherwise.
    api.send("POST", path, &[("content-type", "application/x-www-form-urlencoded")], body.into()).await
}

/// One of every kind that moves, in an order that helps nobody.
fn a_site() -> String {
    let template = json!({"metadata": {"labels": {"app": "front"}}, "spec": {"containers": [{"name": "c", "image": "hello:latest"}]}});
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let meta = |name: &str| json!({"name": name, "namespace": "shop", "labels": {"app": name}});
    let mut texts = vec![
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta("nightly"), "spec": {
            "schedule": "0 3 * * *", "suspend": true, "jobTemplate": {"spec": {"template": once}}}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("once"), "spec": {"suspend": true, "template": once}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("front"), "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "front"}}, "template": template}}),
        json!({"kind": "Pod", "metadata": meta("web"), "spec": {
            "containers": [{"name": "c", "image": "hello:latest", "env": [{"name": "YES", "value": "yes"}],
                "volumeMounts": [{"name": "page", "mountPath": "/page"}]}],
            "volumes": [{"name": "page", "configMap": {"name": "page"}}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"), "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("key"), "stringData": {"password": "hunter2-in-clear"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("page"), "data": {
            "index.html": "<p>\n---\n  indented\n\ttab\n</p>\n\n", "yes": "no", "nothing": "", "number": "0777", "odd": "ä\u{2028}\u{7f}\r\n"},
            "binaryData": {"b": "AAECAw=="}}),
        json!({"apiVersion": "vkube.io/v1alpha1", "kind": "Network", "metadata": {"name": "lab"}, "spec": {
            "cidr": "10.91.0.0/24", "gateway": "10.91.0.1", "bridge": "bridge-lab"}}),
    ];
    texts.push(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": {"who": "me"}}}),
    );
    texts.iter().map(|text| format!("---\n{text:#}\n")).collect()
}

async fn site_runs(world: &World) -> anyhow::Result<()> {
    world
        .until("the pods of the site", |view| {
            let pods =
                view.kinds.iter().filter(|(id, _)| id.plural == "pods").flat_map(|(_, kind)| kind.objects.values());
            pods.filter(|pod| pod.key.namespace == "shop" && pod.value()["status"]["phase"] == "Running").count() == 3
        })
        .await
}

fn actions(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let results = answer.body["results"].as_array().into_iter().flatten();
    results.map(|one| (format!("{}/{}", text(&one["kind"]), text(&one["name"])), text(&one["action"]))).collect()
}

#[actix_rt::test]
async fn a_site_leaves_as_text_and_comes_back_the_same_to_the_byte() -> anyhow::Result<()> {
    let first = World::start().await?;
    let made = post(first.api(), IMPORT, a_site()).await?.expect(200);
    assert!(actions(&made).iter().all(|(_, action)| action == "created"), "{}", made.text);
    assert_eq!((&made.body["pods"], &made.body["configmaps"], &made.body["failed"]), (&json!(1), &json!(1), &json!(0)));
    site_runs(&first).await?;
    let yaml = first.api().get(&format!("{EXPORT}?secrets=true")).await?.expect(200);
    assert_eq!(yaml.header("content-type"), "application/x-yaml");
    let as_json = first.api().get(&format!("{EXPORT}?secrets=true&format=json")).await?.expect(200);
    let kinds: Vec<&str> =
        as_json.body["items"].as_array().expect("a list").iter().filter_map(|one| one["kind"].as_str()).collect();
    let mut each = kinds.clone();
    each.dedup();
    assert_eq!(each, ["Namespace", "Network", "ConfigMap", "Secret", "Service", "Pod", "Deployment", "Job", "CronJob"]);
    assert_eq!(kinds.iter().filter(|kind| **kind == "Pod").count(), 1, "a Deployment makes its pods anew");
    for word in ["uid", "resourceVersion", "creationTimestamp", "generation", "status", "managedFields"] {
        assert!(!yaml.text.contains(&format!("{word}:")), "{word} is in {}", yaml.text);
    }

    // Where it came from, it changes nothing and restarts nothing.
    let before = first.stored();
    let again = post(first.api(), IMPORT, &*yaml.text).await?.expect(200);
    assert!(actions(&again).iter().all(|(_, action)| action == "unchanged"), "{}", again.text);
    assert_eq!(first.stored(), before);
    first.stop().await;

    for text in [&yaml.text, &as_json.text] {
        let second = World::start().await?;
        post(second.api(), IMPORT, text.as_str()).await?.expect(200);
        site_runs(&second).await?;
        assert_eq!(&second.api().get(&format!("{EXPORT}?secrets=true")).await?.expect(200).text, &yaml.text);
        second.stop().await;
    }
    Ok(())
}

#[actix_rt::test]
async fn secrets_leave_only_when_they_are_asked_for() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    post(api, IMPORT, a_site()).await?.expect(200);
    for path in [EXPORT.to_owned(), format!("{EXPORT}?format=json"), format!("{EXPORT}?secrets=false&namespace=shop")] {
        let text = api.get(&path).await?.expect(200).text;
        assert!(text.contains("nightly") && !text.contains("Secret") && !text.contains("aHVudGVyMi"), "{text}");
    }
    api.get(&format!("{EXPORT}?kinds=secrets")).await?.refused(400, "BadRequest").saying("secrets=true");
    let asked = api.get(&format!("{EXPORT}?kinds=secrets&secrets=true")).await?.expect(200);
    assert!(asked.text.contains("aHVudGVyMi"), "{}", asked.text);
    assert_eq!(asked.header("cache-control"), "no-store");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn kinds_and_a_namespace_are_chosen_and_what_is_not_understood_is_refused() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    post(api, IMPORT, a_site()).await?.expect(200);
    api.post(MAPS, &map("page", json!({"elsewhere": "1"}))).await?.expect(201);
    let listed = async |query: &str| -> anyhow::Result<Vec<String>> {
        let list = api.get(&format!("{EXPORT}?format=json&{query}")).await?.expect(200);
        let name = |one: &Value| {
            format!(
                "{} {}",
                one["kind"].as_str().unwrap_or_default(),
                one["metadata"]["name"].as_str().unwrap_or_default()
            )
        };
        Ok(list.body["items"].as_array().expect("items").iter().map(name).collect())
    };
    assert_eq!(listed("kinds=cm,Deployments.apps&namespace=shop").await?, ["ConfigMap page", "Deployment front"]);
    assert_eq!(listed("kinds=cm,configmap,ConfigMaps&namespace=default").await?, ["ConfigMap page"]);
    assert_eq!(listed("kinds=ns,net,cj&namespace=shop").await?, ["Namespace shop", "CronJob nightly"]);
    assert_eq!(listed("kinds=networks").await?, ["Network lab"], "those of the configuration file stay with the file");
    api.get(&format!("{EXPORT}?namespace=nosuch")).await?.refused(404, "NotFound").saying("nosuch");
    for (query, word) in [
        ("kinds=gadgets", "gadgets"),
        ("kinds=events", "events are not exported"),
        ("kinds=rs", "replicasets are not exported"),
        ("format=toml", "toml"),
        ("secrets=perhaps", "perhaps"),
    ] {
        api.get(&format!("{EXPORT}?{query}")).await?.refused(400, "BadRequest").saying(word);
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn an_import_makes_objects_what_the_text_says_and_leaves_what_mkube_wrote() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = world.api();
    api.post(PODS, &pod("web")).await?.expect(201);
    world.until_pod("web", "Running").await?;
    let text = api.get(EXPORT).await?.expect(200).text;
    let path = format!("{PODS}/web");
    let before = api.get(&path).await?.expect(200).body;
    api.patch(&path, "merge", &json!({"metadata": {"labels": {"more": "x"}, "annotations": {"mine": "x"}}}))
        .await?
        .expect(200);
    let imported = post(api, IMPORT, text).await?.expect(200);
    assert!(actions(&imported).contains(&("Pod/web".to_owned(), "configured".to_owned())), "{}", imported.text);
    let after = api.get(&path).await?.expect(200).body;
    assert_eq!(after["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(after["metadata"]["annotations"].get("mine"), None);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["status"]["containerStatuses"], before["status"]["containerStatuses"], "its container runs on");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn one_bad_document_is_told_with_its_place_and_spoils_no_other() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let text = "kind: ConfigMap\nmetadata: {name: good}\ndata: {a: '1'}\n---\nkind: ConfigMap\nmetadata: {name: bad\n---\n\
                kind: Gadget\nmetadata: {name: g}\n---\nkind: ConfigMap\nmetadata: {name: Bad_Name}\n---\n\
                kind: ConfigMap\nmetadata: {name: typed}\ndata: {a: 1}\n---\nkind: ConfigMap\nmetadata: {name: last, namespace: late}\n---\n\
                kind: ConfigMap\nmetadata: {name: lost, namespace: nowhere}\n---\nkind: Event\nmetadata: {name: e}\n---\n\
                kind: ConfigMap\nmetadata: {name: good}\n---\nkind: Namespace\nmetadata: {name: late}\n";
    let answer = post(api, IMPORT, text).await?.expect(207);
    let told = actions(&answer);
    let of = |number: usize| answer.body["results"][number - 1].clone();
    assert_eq!(told.iter().filter(|(_, action)| action == "created").count(), 3, "{}", answer.text);
    assert_eq!(
        (&answer.body["failed"], &answer.body["configmaps"], &answer.body["namespaces"]),
        (&json!(7), &json!(2), &json!(1))
    );
    for (number, code, words) in [
        (2, 400, "document 2, line"),
        (3, 400, "no kind \"Gadget\""),
        (4, 422, "metadata.name"),
        (5, 400, "data.a"),
        (7, 404, "\"nowhere\" not found"),
        (8, 403, "events are not taken in"),
        (9, 400, "document 1 is about the same object"),
    ] {
        let row = of(number);
        assert_eq!(
            (&row["action"], &row["code"], &row["document"]),
            (&json!("failed"), &json!(code), &json!(number)),
            "{row}"
        );
        assert!(row["error"].as_str().unwrap_or_default().contains(words), "{words}: {row}");
    }
    assert_eq!(of(4)["causes"][0]["field"], "metadata.name");
    api.get(&format!("{MAPS}/good")).await?.expect(200);
    api.get("/api/v1/namespaces/late/configmaps/last").await?.expect(200);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("there", json!({"a": "1"}))).await?.expect(201);
    let before = world.stored();
    let text = format!(
        "{}---\nkind: ConfigMap\nmetadata: {{name: there}}\n---\nkind: ConfigMap\nmetadata: {{name: Bad_Name}}\n",
        a_site()
    );
    let answer = post(api, &format!("{IMPORT}?dryRun=All"), text).await?.expect(207);
    let told = actions(&answer);
    assert_eq!(told.iter().filter(|(_, action)| action == "created").count(), 9, "{}", answer.text);
    assert_eq!(
        told[9..],
        [("ConfigMap/there".into(), "configured".into()), ("ConfigMap/Bad_Name".into(), "failed".into())]
    );
    assert_eq!(answer.body["dryRun"], true);
    assert_eq!(world.stored(), before);
    post(api, &format!("{IMPORT}?dryRun=all"), "a: 1").await?.refused(422, "Invalid").saying("dryRun");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn hostile_texts_are_refused_and_change_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let before = world.stored();
    let deep = format!("kind: ConfigMap\nmetadata: {{name: x}}\ndata: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let mut laughs =
        String::from("kind: ConfigMap\nmetadata: {name: x}\na0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        laughs += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", "));
    }
    let long = format!(
        "kind: ConfigMap\nmetadata: {{name: x}}\ndata: {{a: &a \"{}\"}}\nb: [{}]\n",
        "x".repeat(1 << 20),
        ["*a"; 1000].join(",")
    );
    let large = format!("kind: ConfigMap\nmetadata: {{name: x}}\ndata: {{a: \"{}\"}}\n", "x".repeat(4 << 20));
    for body in [
        deep.as_str(),
        &laughs,
        &long,
        &large,
        "[[[[",
        "{",
        "just words",
        "- 1\n- 2\n",
        "42",
        "kind: [1]\nmetadata: {name: x}\n",
        "kind: ConfigMap\nkind: Pod\nmetadata: {name: x}\n",
        "[{\"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"x\", \"name\": \"y\"}}]",
        "kind: ConfigMap\nmetadata: {name: 5}\n",
        "kind: ConfigMap\nmetadata: []\n",
        "kind: ConfigMap\nmetadata: {name: x, namespace: [1]}\n",
        "kind: ConfigMap\nmetadata: {name: x, labels: [1]}\n",
        "kind: ConfigMap\nmetadata: {name: x}\ndata: {a: !secret x}\n",
        "kind: List\nitems: [1, null, []]\n",
        "kind: Pod\nmetadata: {name: ../../etc}\nspec: {}\n",
        "kind: ConfigMap\nmetadata: {name: '\u{0}'}\n",
    ] {
        for path in [IMPORT, APPLY] {
            let answer = post(api, path, body).await?.expect(400);
            assert!(
                answer.body["message"].as_str().is_some_and(|text| !text.is_empty() && text.len() < 2000),
                "{}",
                answer.text
            );
        }
    }
    for body in ["", "\n\n", "---\n---\n", "# nothing\n", "[]"] {
        post(api, IMPORT, body).await?.refused(400, "BadRequest").saying("no document");
    }
    api.send("POST", IMPORT, &[], vec![b'a', 0xff, 0xfe]).await?.refused(400, "BadRequest").saying("UTF-8");
    api.send("POST", IMPORT, &[], vec![b' '; (32 << 20) + 1]).await?.refused(413, "RequestEntityTooLarge");
    for (method, path) in [("GET", IMPORT), ("PUT", APPLY), ("DELETE", IMPORT)] {
        api.send(method, path, &[], "").await?.refused(405, "MethodNotAllowed");
    }
    let page = [("origin", "http://evil.example"), ("content-type", "text/plain")];
    api.send("POST", IMPORT, &page, "kind: ConfigMap\nmetadata: {name: x}\n").await?.refused(403, "Forbidden");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn apply_takes_away_what_its_owner_took_out_and_leaves_what_others_wrote() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let text = |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata: {data}\n");
    let of = async |text: String| -> anyhow::Result<String> {
        Ok(actions(&post(api, APPLY, text).await?.expect(200))[0].1.clone())
    };
    assert_eq!(of(text("{mine: '1', gone: '1'}")).await?, "created");
    assert_eq!(of(text("{mine: '1', gone: '1'}")).await?, "unchanged");
    api.patch(&format!("{MAPS}/m"), "merge", &json!({"data": {"theirs": "1"}})).await?.expect(200);
    assert_eq!(of(text("{mine: '2'}")).await?, "configured");
    let found = api.get(&format!("{MAPS}/m")).await?.expect(200);
    assert_eq!(found.body["data"], json!({"mine": "2", "theirs": "1"}));
    let stale = "kind: ConfigMap\nmetadata: {name: m, resourceVersion: '1'}\ndata: {mine: '3'}\n";
    let refused = post(api, APPLY, stale).await?.expect(400);
    assert_eq!(refused.body["results"][0]["code"], 409, "a document may insist on a version");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn much_leaves_and_comes_back_in_one_request() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let text: String = (0..1500)
        .map(|n| format!("---\nkind: ConfigMap\nmetadata: {{name: m{n}}}\ndata: {{a: \"{}\"}}\n", "x".repeat(3000)))
        .collect();
    assert!(text.len() > 4 << 20, "more than any other body may be");
    assert_eq!(post(api, IMPORT, text).await?.expect(200).body["configmaps"], 1500);
    let export = api.get(EXPORT).await?.expect(200);
    assert_eq!(export.text.matches("\nkind: ConfigMap\n").count(), 1500);
    assert_eq!(post(api, IMPORT, export.text).await?.expect(200).body["failed"], 0);
    world.stop().await;
    Ok(())
}
