//! `vkube.io/static-ip`: which container of a pod has which address.
//!
//! One address is that of the first container, and those after it have the addresses after it. `web=10.0.0.5,db=10.0.0.6` says
//! it for each by name; a container that is not named gets any.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::metadata;

/// The annotation.
pub const STATIC_IP: &str = "vkube.io/static-ip";

/// The address each container asks for, in their order; an error says what cannot be understood.
pub fn wanted(pod: &Value) -> Result<Vec<Option<Ipv4Addr>>, String> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> =
        containers.iter().map(|one| one.get("name").and_then(Value::as_str).unwrap_or_default()).collect();
    match metadata::annotation(pod, STATIC_IP).map(str::trim).filter(|text| !text.is_empty()) {
        None => Ok(vec![None; names.len()]),
        Some(text) if text.contains('=') => by_name(text, &names),
        Some(text) => consecutive(text, names.len()),
    }
}

fn consecutive(text: &str, containers: usize) -> Result<Vec<Option<Ipv4Addr>>, String> {
    let first: Ipv4Addr = text.parse().map_err(|_| {
        "must be an IPv4 address, or one for each container such as \"web=10.0.0.5,db=10.0.0.6\"".to_owned()
    })?;
    let nth = |index: usize| u32::try_from(index).ok().and_then(|index| u32::from(first).checked_add(index));
    let all = (0..containers).map(|index| nth(index).map(Ipv4Addr::from));
    all.map(|address| address.map(Some).ok_or_else(|| format!("there are no {containers} addresses from {first} on")))
        .collect()
}

fn by_name(text: &str, names: &[&str]) -> Result<Vec<Option<Ipv4Addr>>, String> {
    let mut found = vec![None; names.len()];
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((name, address)) = pair.split_once('=').map(|(name, address)| (name.trim(), address.trim())) else {
            return Err(format!("{pair:?} does not say for which container it is"));
        };
        let address: Ipv4Addr =
            address.parse().map_err(|_| format!("{address:?} of container {name:?} is not an IPv4 address"))?;
        let Some(index) = names.iter().position(|one| *one == name) else {
            return Err(format!("there is no container {name:?}"));
        };
        if found[index].is_some() {
            return Err(format!("container {name:?} is named twice"));
        }
        if found.contains(&Some(address)) {
            return Err(format!("{address} is given to two containers"));
        }
        found[index] = Some(address);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(text: &str) -> Result<Vec<String>, String> {
        let containers = json!([{"name": "web"}, {"name": "db"}, {"name": "log"}]);
        let pod = json!({"metadata": {"annotations": {STATIC_IP: text}}, "spec": {"containers": containers}});
        let all = wanted(&pod)?;
        Ok(all.into_iter().map(|one| one.map(|one| one.to_string()).unwrap_or_default()).collect())
    }

    #[test]
    fn one_address_is_the_first_of_consecutive_ones_and_names_say_it_for_each() {
        assert_eq!(of(""), Ok(vec![String::new(); 3]));
        assert_eq!(of("10.0.0.254"), Ok(vec!["10.0.0.254".into(), "10.0.0.255".into(), "10.0.1.0".into()]));
        assert_eq!(of("db=10.0.0.6, web=10.0.0.9"), Ok(vec!["10.0.0.9".into(), "10.0.0.6".into(), String::new()]));
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        for (text, why) in [
            ("10.0.0", "must be an IPv4 address"),
            ("255.255.255.254", "no 3 addresses"),
            ("web=10.0.0.5,10.0.0.6", "for which container"),
            ("web=x", "not an IPv4 address"),
            ("nope=10.0.0.5", "no container \"nope\""),
            ("web=10.0.0.5,web=10.0.0.6", "named twice"),
            ("web=10.0.0.5,db=10.0.0.5", "given to two"),
        ] {
            assert!(of(text).is_err_and(|told| told.contains(why)), "{text:?}: {:?}", of(text));
        }
    }
}
