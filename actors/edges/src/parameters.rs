//! Parameters of a query, read as Kubernetes reads them.

use mkube_model::percent;
use mkube_model::status::Status;

use crate::parts::Query;

/// Query parameters; empty names are skipped. One that cannot be decoded is refused: without a selector, a deletion would
/// mean everything.
pub fn query_of(text: &str) -> Result<Query, Status> {
    let mut query = Query::new();
    let parts = text.split('&').map(|part| part.trim_start_matches('?')).filter(|part| !part.is_empty());
    for (name, value) in parts.map(|part| part.split_once('=').unwrap_or((part, ""))) {
        let decode = |text: &str| percent_decoded(&text.replace('+', " "));
        query.entry(decode(name)?).or_insert(decode(value)?);
    }
    Ok(query)
}

/// Every value of a parameter that may be there several times, in order.
pub fn values_of(text: &str, name: &str) -> Result<Vec<String>, Status> {
    let parts = text.split('&').map(|part| part.trim_start_matches('?'));
    let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| percent_decoded(&value.replace('+', " "))).collect()
}

/// Text as it was before it was put into an address.
pub fn percent_decoded(text: &str) -> Result<String, Status> {
    percent::decoded(text).ok_or_else(|| Status::bad_request("the path or query is not percent-encoded UTF-8"))
}

/// Whether a parameter says yes. As in Kubernetes, whatever is there does, and only `false` and `0` do not; libraries of some
/// languages write them with a capital letter.
pub fn says_yes(query: &Query, name: &str) -> bool {
    query.get(name).is_some_and(|word| yes_or_no(word) != Some(false))
}

/// The word of a parameter of which more depends: `None` if it is neither.
pub fn yes_or_no(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number, if the parameter is there.
pub fn number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Status::bad_request(format!("{name} {text:?} is not a number")))
}

/// How long a client wants a list or watch to take at most; 0 is however long it takes.
pub fn timeout_seconds(query: &Query) -> Result<u64, Status> {
    let seconds = number(query, "timeoutSeconds")?.unwrap_or(0);
    seconds
        .try_into()
        .map_err(|_| Status::bad_request(format!("timeoutSeconds {seconds} must be greater than or equal to 0")))
}

/// The version of a query; `None` asks for the newest, or any.
pub fn version(query: &Query) -> Result<Option<u64>, Status> {
    let Some(text) = query.get("resourceVersion").filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Status::bad_request(format!("resourceVersion {text:?} is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_odd_ones_survive() {
        let query = query_of("?&labelSelector=app%3Dweb&limit=500&watch&x=a+b&limit=1").expect("good");
        assert_eq!(query.get("labelSelector").map(String::as_str), Some("app=web"));
        assert_eq!(query.get("limit").map(String::as_str), Some("500"));
        assert_eq!(query.get("watch").map(String::as_str), Some(""));
        assert_eq!(query.get("x").map(String::as_str), Some("a b"));
        assert_eq!(
            values_of("command=a+b&x=1&?&command=%26&command", "command"),
            Ok(vec!["a b".into(), "&".into(), "".into()])
        );
        assert!(query_of("labelSelector=%zz").is_err());
        assert!(percent_decoded("%zz").is_err());
        assert!(percent_decoded("%ff").is_err());
    }

    #[test]
    fn only_false_and_zero_say_no_however_they_are_written() {
        let query: Query = [("a", "True"), ("b", "False"), ("c", ""), ("d", "0"), ("e", "maybe"), ("f", "FALSE")]
            .map(|(name, word)| (name.to_owned(), word.to_owned()))
            .into();
        let yes: Vec<&str> = ["a", "b", "c", "d", "e", "f", "g"].into_iter().filter(|n| says_yes(&query, n)).collect();
        assert_eq!(yes, ["a", "c", "e"]);
        assert_eq!(["True", "0", "", "maybe"].map(yes_or_no), [Some(true), Some(false), None, None]);
    }
}
