//! `GET …/pods/{name}/log`.

use actix_web::HttpResponse;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use mkube_model::neighbours::pod_logs::{ContainerRef, LogOptions};
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;

use crate::parts::{HttpParts, Query, Target};
use crate::read::{key_of, loaded_view};
use crate::respond;

pub async fn answer(parts: &HttpParts, target: &Target, query: &Query) -> Result<HttpResponse, Status> {
    let view = loaded_view(parts)?;
    let key = key_of(target);
    let object = view.get(&target.kind.id(), &key).ok_or_else(|| Status::not_found(&target.kind, &key.name))?;
    let pod = object.value();
    if !parts.objects.is_here(&target.kind.id(), &key) {
        let node = target.kind.home.of(&pod).unwrap_or("that is not known yet");
        let why = format!(
            "pod {} runs on node {node}: its containers' output is read through the API of that node",
            key.name
        );
        return Err(Status::bad_request(why));
    }
    let containers: Vec<&str> = pod
        .pointer("/spec/containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("name")?.as_str())
        .collect();
    let wanted = query.get("container").map(String::as_str).filter(|name| !name.is_empty());
    let container = match (wanted, containers.as_slice()) {
        (Some(name), all) if all.contains(&name) => name,
        (Some(name), _) => {
            return Err(Status::bad_request(format!("container {name} is not valid for pod {}", key.name)));
        }
        (None, [only]) => only,
        (None, all) => {
            let message =
                format!("a container name must be specified for pod {}, choose one of: [{}]", key.name, all.join(" "));
            return Err(Status::bad_request(message));
        }
    };
    let options = options(query, parts.clock.now())?;
    let container = ContainerRef { namespace: key.namespace, pod: key.name, container: container.to_owned() };
    let (chunks, warning) = parts.logs.open(&container, options).await?;
    let body = ReceiverStream::new(chunks).map(Ok::<_, actix_web::Error>);
    let mut response = HttpResponse::Ok().content_type("text/plain; charset=utf-8").streaming(body);
    respond::warn(&mut response, &warning.into_iter().collect::<Vec<_>>());
    Ok(response)
}

fn options(query: &Query, now: Timestamp) -> Result<LogOptions, Status> {
    let flag = |name: &str| query.get(name).is_some_and(|value| value == "true" || value == "1");
    let number = |name: &str| match query.get(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => {
            let number = text.parse::<u32>();
            number.map(Some).map_err(|_| {
                let problem = Problem::invalid(name, text.as_str(), "must be a number greater than or equal to 0");
                Status::invalid_option("PodLogOptions", &problem)
            })
        }
    };
    let since_seconds = number("sinceSeconds")?.map(|seconds| now - SignedDuration::from_secs(i64::from(seconds)));
    let since_time = match query.get("sinceTime").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let time = text.parse::<Timestamp>();
            Some(time.map_err(|_| Status::bad_request(format!("sinceTime {text:?} is not an RFC 3339 time")))?)
        }
    };
    Ok(LogOptions {
        follow: flag("follow"),
        tail_lines: number("tailLines")?.map(|lines| lines as usize),
        since: since_time.or(since_seconds),
        timestamps: flag("timestamps"),
        previous: flag("previous"),
        limit_bytes: number("limitBytes")?.map(|bytes| bytes as usize),
    })
}
