//! How RouterOS reads and writes values.

use std::time::Duration;

use serde_json::Value;

/// A JSON value as RouterOS takes it: strings, numbers and booleans are all text.
pub fn to_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `yes`, `true` to `true`; anything else that is not a boolean is nothing.
pub fn boolean(text: &str) -> Option<&'static str> {
    match text {
        "true" | "yes" => Some("true"),
        "false" | "no" => Some("false"),
        _ => None,
    }
}

/// Bytes: plain, `unlimited`, or with a binary suffix.
pub fn bytes(text: &str) -> Option<String> {
    if text == "unlimited" || text == "0" {
        return Some("unlimited".to_owned());
    }
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    Some(number.checked_mul(factor)?.to_string())
}

/// `1w2d3h4m5s600ms`, `HH:MM:SS`, or bare seconds.
pub fn duration(text: &str) -> Option<Duration> {
    if text.contains(':') {
        let parts: Vec<u64> = text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let [hours, minutes, seconds] = parts.as_slice() else { return None };
        return Some(Duration::from_secs(
            hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(*seconds)?,
        ));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let number: u64 = number.parse().ok()?;
        total = total.checked_add(match unit {
            "w" => Duration::from_secs(number.checked_mul(604_800)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            "h" => Duration::from_secs(number.checked_mul(3_600)?),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "s" | "" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        })?;
        rest = tail;
    }
    Some(total)
}

/// As RouterOS prints durations.
pub fn format_duration(value: Duration) -> String {
    let mut seconds = value.as_secs();
    let mut text = String::new();
    for (unit, length) in [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= length {
            text += &format!("{}{unit}", seconds / length);
            seconds %= length;
        }
    }
    if seconds > 0 {
        text += &format!("{seconds}s");
    }
    if value.subsec_millis() > 0 {
        text += &format!("{}ms", value.subsec_millis());
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// `02:00:00:AB:CD:EF` in any case, to capitals.
pub fn mac(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split(':').collect();
    let good = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    (parts.len() == 6 && parts.iter().all(good)).then(|| text.to_ascii_uppercase())
}

/// A path with a leading slash.
pub fn path(text: &str) -> String {
    if text.is_empty() || text.starts_with('/') { text.to_owned() } else { format!("/{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_bytes_read_and_print_as_on_the_device() {
        for (text, seconds) in [("10s", 10), ("1d2h3m4s", 93_784), ("00:01:30", 90), ("45", 45)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("soon"), None);
        assert_eq!(duration("99999999999999999999s"), None);
        assert_eq!(duration("18446744073709551615:59:59"), None);
        assert_eq!(mac("02:00:00:ab:Cd:ef").as_deref(), Some("02:00:00:AB:CD:EF"));
        assert_eq!(mac("02:00:00:ab:cd"), None);
        assert_eq!(format_duration(Duration::from_secs(93_784)), "1d2h3m4s");
        assert_eq!(format_duration(Duration::ZERO), "0s");
        assert_eq!(bytes("200M").as_deref(), Some("209715200"));
        assert_eq!(bytes("lots"), None);
    }
}
