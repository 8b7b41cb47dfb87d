//! `GET …/pods/{name}/log`.

use actix_web::HttpResponse;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use mkube_model::neighbours::pod_logs::LogOptions;
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use tokio_stream::wrappers::ReceiverStream;

use crate::parameters::says_yes;
use crate::parts::{HttpParts, Query, Target};
use crate::{containers, respond};

pub async fn answer(parts: &HttpParts, target: &Target, query: &Query) -> Result<HttpResponse, Status> {
    let container = containers::chosen(parts, target, query)?;
    // Whoever stands by does not look at the device, and would take every container for one that is still to come.
    if let Some(lease) = parts.lease.as_ref().map(|lease| lease.borrow().clone()).filter(|lease| !lease.drives()) {
        let why = format!(
            "output is read by the controller that drives the device, and this one is not it: {}",
            lease.sentence()
        );
        return Err(Status::unavailable(why, 5));
    }
    let options = options(query, parts.clock.now())?;
    let (chunks, warning) = parts.logs.open(&container, options).await?;
    let body = ReceiverStream::new(chunks).map(Ok::<_, actix_web::Error>);
    let mut response = HttpResponse::Ok().content_type("text/plain; charset=utf-8").streaming(body);
    respond::warn(&mut response, &warning.into_iter().collect::<Vec<_>>());
    Ok(response)
}

fn options(query: &Query, now: Timestamp) -> Result<LogOptions, Status> {
    let flag = |name: &str| says_yes(query, name);
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
