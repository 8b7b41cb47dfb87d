//! Sizes with their unit: `512Ki`, `256Mi`, `16Gi`, as Kubernetes writes them; `GiB`, `GB` and `G` as people do.

const UNITS: [(&str, u64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
/// Thousands, as disks are sold.
const DECIMAL: [(&str, u64); 8] = [
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// Reads `16Gi`, `16GiB`, `500MB`, `4096`. `None` when the unit is unknown, nothing is there, or it is more than 64 bits hold.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let binary = UNITS.iter().find(|(name, _)| *name == unit.strip_suffix('B').unwrap_or(unit));
    let bytes = match binary.or_else(|| DECIMAL.iter().find(|(name, _)| *name == unit)) {
        Some((_, bytes)) => *bytes,
        None if unit.is_empty() || unit == "B" => 1,
        None => return None,
    };
    number.checked_mul(bytes)
}

/// The shortest text that [`parse_size`] reads back.
pub fn print_size(bytes: u64) -> String {
    match UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Serialises as text with a unit.
pub(super) fn as_size<S: serde::Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print_size(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_their_unit() {
        for (text, bytes) in [
            ("4096", 4096),
            ("256Mi", 256 << 20),
            ("16GiB", 16 << 30),
            (" 1Ki ", 1024),
            ("7B", 7),
            ("20 GiB", 20 << 30),
            ("500MB", 500_000_000),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["", "Gi", "1.5Gi", "-1", "1X", "99999999999999999999", "99999999999Ti"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        for same in ["16Gi", "256Mi", "1000", "0", "1537Ki"] {
            assert_eq!(parse_size(same).map(print_size).as_deref(), Some(same));
        }
    }
}
