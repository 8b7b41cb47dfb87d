//! Where the server's certificate comes from: files the owner gave, or an authority of our own that is kept and signs anew in time.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use ring::rand::SecureRandom;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use crate::durable::write_file;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an authority lasts.
const AUTHORITY_DAYS: u32 = 10 * 365;
/// How long before its end it is signed anew, with the same key.
const AUTHORITY_EARLY_DAYS: u32 = 365;
/// How long a server certificate lasts.
const SERVER_DAYS: u32 = 397;
/// How long before its end another one is made.
const SERVER_EARLY_DAYS: u32 = 130;
/// A clock may be a little behind ours.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// PEM files that somebody else renews.
    Given {
        /// Chain, the server's own certificate first.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// `ca.crt`, `ca.key`, `tls.crt`, `tls.key` in a directory; made here when they are not there.
    Own {
        /// The directory; made when missing.
        directory: PathBuf,
        /// DNS names and addresses clients use.
        names: Vec<String>,
    },
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFault {
    /// A file cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause in words.
        cause: String,
    },
    /// The certificate could not be made.
    #[error("a certificate cannot be made: {0}")]
    Make(String),
}

fn file_fault(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> CertificateFault {
    let path = path.to_owned();
    move |cause| CertificateFault::File { path: path.clone(), cause: cause.to_string() }
}

fn make_fault(cause: impl std::fmt::Display) -> CertificateFault {
    CertificateFault::Make(cause.to_string())
}

/// Reads the pair, after making or renewing it where that is ours to do.
pub(crate) fn load(source: &CertificateSource, now: Timestamp) -> Result<CertifiedKey, CertificateFault> {
    match source {
        CertificateSource::Given { certificate, key } => read_pair(certificate, key),
        CertificateSource::Own { directory, names } => own(directory, names, now),
    }
}

/// A certificate and the key that fits it.
fn read_pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateFault> {
    let fault = file_fault(certificate);
    let text = std::fs::read(certificate).map_err(|error| fault(&error))?;
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| fault(&error))?;
    if chain.is_empty() {
        return Err(fault(&"holds no certificate in PEM form"));
    }
    let key_fault = file_fault(key);
    let text = std::fs::read(key).map_err(|error| key_fault(&error))?;
    // What the parser says of a key is not repeated: it may hold a piece of it.
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|_| key_fault(&"holds no private key in PEM form"))?;
    CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider()).map_err(|error| {
        key_fault(&format_args!(
            "does not fit the certificate {}, or is of no known kind ({error})",
            certificate.display()
        ))
    })
}

fn own(directory: &Path, names: &[String], now: Timestamp) -> Result<CertifiedKey, CertificateFault> {
    std::fs::create_dir_all(directory).map_err(|error| file_fault(directory)(&error))?;
    let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    let present = read_pair(&certificate, &key);
    let authority = match read_authority(directory, now)? {
        Some(authority) => authority,
        // The Go installer signed with an authority whose key it threw away: what it made is served for as long as it is good.
        None => match present {
            Ok(pair) if end_of(&pair).is_some_and(|end| end > now) => {
                warn_of_the_end(&certificate, &pair, now);
                return Ok(pair);
            }
            _ => make_authority(directory, now)?,
        },
    };
    if let Ok(pair) = present
        && authority.vouches_for(&pair, names, now)
    {
        return Ok(pair);
    }
    let (chain, private) = authority.sign(names, now)?;
    // The key first: a crash in between leaves a pair that does not fit, and the next start makes another.
    write_file(&key, private.as_bytes(), 0o600).map_err(|error| file_fault(&key)(&error))?;
    write_file(&certificate, chain.as_bytes(), 0o644).map_err(|error| file_fault(&certificate)(&error))?;
    tracing::info!(file = %certificate.display(), names = %names.join(", "), "made a server certificate");
    read_pair(&certificate, &key)
}

fn warn_of_the_end(certificate: &Path, pair: &CertifiedKey, now: Timestamp) {
    let early = now.checked_add(SERVER_EARLY_DAYS * DAY).unwrap_or(Timestamp::MAX);
    if let Some(end) = end_of(pair).filter(|end| *end < early) {
        tracing::warn!(
            file = %certificate.display(), ends = %end,
            "the certificate ends soon and the key of its authority is not here: after that, another authority is made and clients \
             have to trust ca.crt"
        );
    }
}

/// When a certificate ends.
fn end_of(pair: &CertifiedKey) -> Option<Timestamp> {
    end_of_der(pair.cert.first()?)
}

fn end_of_der(der: &[u8]) -> Option<Timestamp> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

/// An authority of ours, with its key.
struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

/// The authority that is there; `None` when there is no key. One whose key cannot be read is a fault: it is never replaced, clients
/// trust it.
fn read_authority(directory: &Path, now: Timestamp) -> Result<Option<Authority>, CertificateFault> {
    let (certificate, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
    let key_fault = file_fault(&key_file);
    let text = match std::fs::read_to_string(&key_file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(key_fault(&error)),
    };
    let key = KeyPair::from_pem(&text).map_err(|_| {
        key_fault(&"holds no private key that can sign; put the right one back, or move it away with ca.crt")
    })?;
    let early = now.checked_add(AUTHORITY_EARLY_DAYS * DAY).unwrap_or(Timestamp::MAX);
    let pem = std::fs::read_to_string(&certificate).unwrap_or_default();
    let good = CertificateDer::from_pem_slice(pem.as_bytes()).ok().filter(|der| {
        let same_key = x509_parser::parse_x509_certificate(der)
            .is_ok_and(|(_, parsed)| parsed.public_key().raw == rcgen::PublicKeyData::subject_public_key_info(&key));
        same_key && end_of_der(der).is_some_and(|end| end > early)
    });
    match good {
        Some(der) => Ok(Some(Authority { certificate: der, pem, key })),
        None => Ok(Some(sign_authority(&certificate, key, now)?)),
    }
}

fn make_authority(directory: &Path, now: Timestamp) -> Result<Authority, CertificateFault> {
    let (certificate, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
    let key = KeyPair::generate().map_err(make_fault)?;
    write_file(&key_file, key.serialize_pem().as_bytes(), 0o600).map_err(|error| file_fault(&key_file)(&error))?;
    let authority = sign_authority(&certificate, key, now)?;
    tracing::info!(file = %certificate.display(), "made a certificate authority; clients trust this file");
    Ok(authority)
}

fn sign_authority(file: &Path, key: KeyPair, now: Timestamp) -> Result<Authority, CertificateFault> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "mkube-registry-ca");
    params.distinguished_name.push(DnType::OrganizationName, "mkube");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasts(&mut params, now, AUTHORITY_DAYS)?;
    let signed = params.self_signed(&key).map_err(make_fault)?;
    write_file(file, signed.pem().as_bytes(), 0o644).map_err(|error| file_fault(file)(&error))?;
    Ok(Authority { certificate: signed.der().clone(), pem: signed.pem(), key })
}

fn lasts(params: &mut CertificateParams, now: Timestamp, days: u32) -> Result<(), CertificateFault> {
    let since = u64::try_from(now.as_second()).map_err(|_| make_fault("the clock stands before 1970"))?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since);
    params.not_before = now - BACKDATED;
    params.not_after = now + days * DAY;
    let mut serial = [0u8; 16];
    ring::rand::SystemRandom::new().fill(&mut serial).map_err(|_| make_fault("the machine gives no random numbers"))?;
    // Positive, as the standard wants it.
    serial[0] &= 0x7f;
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    Ok(())
}

impl Authority {
    /// Whether a certificate is ours, is for all the names, and is good now and for some time.
    fn vouches_for(&self, pair: &CertifiedKey, names: &[String], now: Timestamp) -> bool {
        let Some(certificate) = pair.cert.first() else { return false };
        let mut roots = rustls::RootCertStore::empty();
        if roots.add(self.certificate.clone()).is_err() {
            return false;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build() else {
            return false;
        };
        let Ok(since) = u64::try_from(now.as_second()) else { return false };
        let moments = [Duration::ZERO, SERVER_EARLY_DAYS * DAY].map(|later| Duration::from_secs(since) + later);
        names.iter().all(|name| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| {
                moments.iter().all(|moment| {
                    let moment = UnixTime::since_unix_epoch(*moment);
                    verifier.verify_server_cert(certificate, &[], &name, &[], moment).is_ok()
                })
            })
        })
    }

    /// A new certificate and key, PEM. The authority's own certificate follows the server's, for clients that show the chain.
    fn sign(&self, names: &[String], now: Timestamp) -> Result<(String, String), CertificateFault> {
        let mut params = CertificateParams::new(names.to_vec()).map_err(make_fault)?;
        let first_name =
            names.iter().find(|name| name.parse::<IpAddr>().is_err()).map_or("registry.gt.lo", String::as_str);
        params.distinguished_name.push(DnType::CommonName, first_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lasts(&mut params, now, SERVER_DAYS)?;
        let key = KeyPair::generate().map_err(make_fault)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(make_fault)?;
        let signed = params.signed_by(&key, &issuer).map_err(make_fault)?;
        Ok((format!("{}{}", signed.pem(), self.pem), key.serialize_pem()))
    }
}

#[cfg(test)]
mod tests;
