//! What records say, as it stands in messages. Names are not compressed: an answer can be copied whole.

use crate::names::{NameFault, target_wire};
use crate::records::{Data, Soa};

/// Numbers of the types this server answers for.
pub mod kinds {
    #![allow(missing_docs, reason = "the names of the types are those of DNS")]
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
    pub const CAA: u16 = 257;
}

/// Longest string of a TXT record.
const STRING: usize = 255;
/// Longest data of one record that still fits an answer with everything around it.
const LONGEST: usize = 60_000;

/// Why a record cannot stand in a message.
#[derive(Debug, thiserror::Error)]
pub enum DataFault {
    /// A name in it is none.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// The zone has its own.
    #[error("data: a zone's SOA is kept by the server; records of this type are not accepted")]
    Soa,
    /// RFC 8659.
    #[error("data.tag: {0:?} is not 1 to 255 letters and digits")]
    Tag(String),
    /// A message has 65,535 bytes.
    #[error("data: it is too long for a message")]
    TooLong,
}

/// Number of the type.
pub fn number(data: &Data) -> u16 {
    match data {
        Data::A(_) => kinds::A,
        Data::AAAA(_) => kinds::AAAA,
        Data::CNAME(_) => kinds::CNAME,
        Data::MX { .. } => kinds::MX,
        Data::NS(_) => kinds::NS,
        Data::PTR(_) => kinds::PTR,
        Data::SOA(_) => kinds::SOA,
        Data::SRV { .. } => kinds::SRV,
        Data::TXT(_) => kinds::TXT,
        Data::CAA { .. } => kinds::CAA,
    }
}

/// The data in a message.
///
/// # Errors
/// It cannot stand there.
pub fn wire(data: &Data) -> Result<Vec<u8>, DataFault> {
    let mut bytes = Vec::new();
    match data {
        Data::A(address) => bytes.extend(address.octets()),
        Data::AAAA(address) => bytes.extend(address.octets()),
        Data::CNAME(name) | Data::NS(name) | Data::PTR(name) => bytes.extend(target_wire(name)?.bytes()),
        Data::MX { preference, exchange } => {
            bytes.extend(preference.to_be_bytes());
            bytes.extend(target_wire(exchange)?.bytes());
        }
        Data::SRV { priority, weight, port, target } => {
            for number in [priority, weight, port] {
                bytes.extend(number.to_be_bytes());
            }
            bytes.extend(target_wire(target)?.bytes());
        }
        Data::TXT(text) => {
            // A text of more than one string is read as their concatenation.
            let mut strings = text.as_bytes().chunks(STRING).peekable();
            if strings.peek().is_none() {
                bytes.push(0);
            }
            for string in strings {
                bytes.push(u8::try_from(string.len()).unwrap_or(u8::MAX));
                bytes.extend(string);
            }
        }
        Data::CAA { flags, tag, value } => {
            let length = u8::try_from(tag.len()).ok().filter(|length| *length > 0);
            let plain = tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let length = length.filter(|_| plain).ok_or_else(|| DataFault::Tag(tag.clone()))?;
            bytes.extend([*flags, length]);
            bytes.extend(tag.as_bytes());
            bytes.extend(value.as_bytes());
        }
        Data::SOA(_) => return Err(DataFault::Soa),
    }
    if bytes.len() > LONGEST { Err(DataFault::TooLong) } else { Ok(bytes) }
}

/// A zone's SOA in a message.
///
/// # Errors
/// A name in it is none.
pub fn soa_wire(soa: &Soa) -> Result<Vec<u8>, NameFault> {
    let mut bytes = target_wire(&soa.mname)?.bytes().to_vec();
    bytes.extend(target_wire(&soa.rname)?.bytes());
    for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] {
        bytes.extend(number.to_be_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_split_into_strings() {
        let bytes = wire(&Data::TXT("x".repeat(300))).expect("it fits");
        assert_eq!((bytes[0], bytes[256], bytes.len()), (255, 45, 302));
        assert_eq!(wire(&Data::TXT(String::new())).expect("it fits"), [0]);
    }

    #[test]
    fn a_caa_record_keeps_its_tag() {
        let caa = |tag: &str| wire(&Data::CAA { flags: 128, tag: tag.into(), value: "x".into() });
        assert_eq!(caa("iodef").expect("fine"), b"\x80\x05iodefx");
        assert!(caa("").is_err() && caa("no dash-").is_err());
    }

    #[test]
    fn targets_are_absolute_and_garbage_is_refused() {
        assert_eq!(wire(&Data::CNAME("web".into())).expect("fine"), b"\x03web\0");
        assert_eq!(wire(&Data::PTR("Web.lab.test.".into())).expect("fine"), b"\x03Web\x03lab\x04test\0");
        for bad in ["", "a..b", "a b"] {
            assert!(wire(&Data::CNAME(bad.into())).is_err(), "{bad:?}");
        }
    }
}
