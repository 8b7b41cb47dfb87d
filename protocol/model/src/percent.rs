//! Text in addresses: `%41` means `A`.

/// Text as it was before it was put into an address; none where an escape is not complete, or the bytes are not UTF-8.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_broken_ones_are_no_text() {
        assert_eq!(decoded("a%2Fb%c3%A4+").as_deref(), Some("a/b\u{e4}+"));
        assert_eq!(decoded("").as_deref(), Some(""));
        for broken in ["%", "%4", "a%zz", "%+4", "%ff", "%c3"] {
            assert_eq!(decoded(broken), None, "{broken}");
        }
    }
}
