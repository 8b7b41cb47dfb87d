//! `?prune=` of apply: what is in no document any more goes, and nothing of anybody else.

use mkube_scenarios::{Answer, Api};
use serde_json::json;

use crate::{MAPS, map, quiet};

fn documents(names: &[&str], data: &str) -> String {
    let one = |name: &&str| {
        format!("---\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{app: shop}}}}\ndata: {{a: {data:?}}}\n")
    };
    names.iter().map(one).collect()
}

async fn apply(api: &Api, query: &str, text: impl Into<String>) -> anyhow::Result<Answer> {
    api.send("POST", &format!("/api/v1/apply?{query}"), &[("content-type", "application/yaml")], text.into()).await
}

fn told(answer: &Answer) -> Vec<String> {
    let rows = answer.body["results"].as_array().into_iter().flatten();
    rows.map(|one| format!("{} {}", one["name"], one["action"]).replace('"', "")).collect()
}

#[actix_rt::test]
async fn what_is_in_no_document_any_more_goes_and_nothing_of_anybody_else() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    apply(api, "prune=app%3Dshop", documents(&["a", "b", "c"], "1")).await?.expect(200);
    // Made by somebody else, with the same label.
    let mut theirs = map("theirs", json!({}));
    theirs["metadata"]["labels"] = json!({"app": "shop"});
    api.post(MAPS, &theirs).await?.expect(201);
    let before = world.stored();
    let dry = apply(api, "prune=app%3Dshop&dryRun=All", documents(&["a", "b"], "2")).await?.expect(200);
    assert_eq!(told(&dry), ["a configured", "b configured", "c pruned"], "{}", dry.text);
    assert_eq!(world.stored(), before, "a dry run changes nothing");
    let done = apply(api, "prune=app%3Dshop", documents(&["a", "b"], "2")).await?.expect(200);
    assert_eq!(told(&done), ["a configured", "b configured", "c pruned"], "{}", done.text);
    assert_eq!(
        done.body["prune"],
        json!({"selector": "app=shop", "applied": 3, "going": 1, "needsConfirmation": false})
    );
    api.get(&format!("{MAPS}/c")).await?.refused(404, "NotFound");
    api.get(&format!("{MAPS}/theirs")).await?.expect(200);
    let again = apply(api, "prune=app%3Dshop", documents(&["a", "b"], "2")).await?.expect(200);
    assert_eq!(told(&again), ["a unchanged", "b unchanged"]);
    let stranger = apply(api, "prune=app%3Dother", documents(&["a"], "2")).await?.expect(200);
    assert!(stranger.text.contains("has not the labels"), "{}", stranger.text);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn most_objects_go_only_when_their_number_is_confirmed_and_none_when_a_document_is_bad() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    apply(api, "", documents(&["a", "b", "c"], "1")).await?.expect(200);
    let before = world.stored();
    for (query, text, words) in [
        ("prune=app%3Dshop", documents(&["a"], "2"), "2 of 3 objects with app=shop"),
        ("prune=app%3Dshop", String::new(), "there is no document, so all 3 objects"),
        ("prune=app%3Dshop&confirm=1", documents(&["a"], "2"), "2 objects would be deleted, not the 1"),
    ] {
        apply(api, query, text).await?.refused(409, "Conflict").saying(words);
        assert_eq!(world.stored(), before, "{words}");
    }
    for query in ["prune=", "prune=!app", "prune=app%3Dshop&confirm=all", "prune=app%3Da%20b"] {
        apply(api, query, documents(&["a"], "2")).await?.refused(422, "Invalid");
        assert_eq!(world.stored(), before, "{query}");
    }
    api.send("POST", "/api/v1/import?prune=app", &[], documents(&["a"], "2")).await?.refused(422, "Invalid");
    assert_eq!(world.stored(), before);
    let bad = format!("{}---\nkind: Gadget\nmetadata: {{name: g}}\n", documents(&["a"], "1"));
    let answer = apply(api, "prune=app%3Dshop&confirm=2", bad).await?.expect(207);
    assert!(answer.body["prune"]["skipped"].is_string(), "{}", answer.text);
    assert_eq!(world.stored(), before);
    let listed = apply(api, "prune=app%3Dshop&dryRun=All", documents(&["a"], "1")).await?.expect(200);
    assert_eq!(told(&listed), ["a unchanged", "b pruned", "c pruned"]);
    assert_eq!(listed.body["prune"]["needsConfirmation"], true);
    let done = apply(api, "prune=app%3Dshop&confirm=2", documents(&["a"], "1")).await?.expect(200);
    assert_eq!(told(&done), ["a unchanged", "b pruned", "c pruned"], "{}", done.text);
    let last = apply(api, "prune=app%3Dshop&confirm=1", "").await?.expect(200);
    assert_eq!(told(&last), ["a pruned"], "{}", last.text);
    world.stop().await;
    Ok(())
}
