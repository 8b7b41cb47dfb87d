//! TLS: whose certificates are believed, and which one is ours.

use std::path::Path;
use std::sync::Arc;

use mkube_model::settings::NatsTlsSettings;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

pub(crate) fn client_config(settings: &NatsTlsSettings) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(file) => {
            for authority in certificates("nats.tls.caFile", file)? {
                roots.add(authority).map_err(|error| said("nats.tls.caFile", file, &error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => {
            let ours = certificates("nats.tls.certFile", cert)?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| said("nats.tls.keyFile", key, &error))?;
            builder.with_client_auth_cert(ours, secret).map_err(|error| said("nats.tls.certFile", cert, &error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| said(setting, file, &error))?;
    if found.is_empty() {
        return Err(said(setting, file, &"no certificate is in it"));
    }
    Ok(found)
}

fn said(setting: &str, file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{setting} {}: {error}", file.display())
}
