//! `/api/v1/consistency` and its repair over real HTTP, in the shape that was always served.

use mkube_scenarios::World;
use serde_json::{Value, json};

use crate::{PODS, pod, quiet};

const PATH: &str = "/api/v1/consistency";
const REPAIR: &str = "/api/v1/consistency/repair";

fn check<'a>(report: &'a Value, section: &str, name: &str) -> &'a Value {
    let checks = report["checks"][section].as_array().expect("a list");
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[actix_rt::test]
async fn the_report_has_the_original_shape_and_says_how_bad_it_is_who_repairs_it_and_since_when() -> anyhow::Result<()>
{
    let world = World::start().await?;
    world.api().post(PODS, &pod("web")).await?.expect(201);
    world.until_pod("web", "Running").await?;
    let report = world.api().get("/api/v1/consistency?refresh=true").await?.expect(200).body;
    assert!(report["timestamp"].as_str().is_some_and(|text| text.ends_with('Z')), "{report:#}");
    let container = check(&report, "containers", "container/web/c");
    assert_eq!((&container["status"], &container["message"]), (&json!("pass"), &json!("running")));
    assert!(container["details"].as_str().is_some_and(|details| details.starts_with("id=*")));
    assert_eq!((&container["severity"], &container["repairable"]), (&json!("info"), &json!(false)));
    assert_eq!(container["object"], "default/web");
    assert_eq!(check(&report, "ipam", "ipam/veth_default_web_0")["status"], "pass");
    assert_eq!(check(&report, "network", "network/default/web/veth_default_web_0")["status"], "pass");
    let dns = check(&report, "dns", "dns-client");
    assert_eq!((&dns["status"], &dns["severity"], &dns["details"]), (&json!("warn"), &json!("warning"), &Value::Null));
    assert_eq!(check(&report, "manifest", "manifest-load")["status"], "warn");
    assert_eq!(report["checks"]["deployments"], Value::Null, "left out when empty");
    let mut counts = [("pass", 0), ("warn", 0), ("fail", 0)];
    for one in
        report["checks"].as_object().expect("sections").values().flat_map(|list| list.as_array().expect("a list"))
    {
        counts.iter_mut().filter(|(status, _)| one["status"] == *status).for_each(|(_, count)| *count += 1);
        assert!(one["since"].is_string() && one["message"].is_string(), "{one}");
    }
    for (status, count) in counts {
        assert_eq!(report["summary"][status], count, "{status}");
    }
    assert_eq!(report["repair"], json!({"mode": "report", "stopped": null, "actions": []}));
    // The same check ends the same way since then, and the report is kept until something changes.
    let later = world.api().get("/api/v1/consistency?refresh=1").await?.expect(200).body;
    assert_eq!(check(&later, "containers", "container/web/c")["since"], container["since"]);
    assert_eq!(world.api().get(PATH).await?.expect(200).body, later);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_repair_answers_in_the_original_shape_and_bad_ones_change_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let nothing = json!({"count": 0, "released": [], "actions": []});
    for path in [REPAIR, "/api/v1/consistency/repair?dryRun=All"] {
        assert_eq!(world.api().send("POST", path, &[], "").await?.expect(200).body, nothing);
    }
    let before = world.stored();
    let bad = world.api().send("POST", "/api/v1/consistency/repair?dryRun=yes", &[], "").await?;
    let bad = bad.refused(422, "Invalid");
    assert_eq!(bad.fields(), ["dryRun"]);
    world.api().send("POST", REPAIR, &[], r#"{"dryRun": "All"}"#).await?.refused(422, "Invalid");
    world.api().send("POST", REPAIR, &[], r#"{"force": true}"#).await?.refused(400, "BadRequest").saying("force");
    world.api().send("POST", REPAIR, &[], "[").await?.refused(400, "BadRequest");
    for (method, path) in [("POST", PATH), ("GET", REPAIR), ("DELETE", PATH)] {
        world.api().send(method, path, &[], "").await?.refused(405, "MethodNotAllowed");
    }
    world.api().send("GET", "/api/v1/consistency/more", &[], "").await?.refused(404, "NotFound");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}
