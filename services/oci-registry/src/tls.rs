//! The certificate being served: read again while the server runs, so that a renewed one needs no restart.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use mkube_model::neighbours::wall_clock::WallClock;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificates::{self, CertificateFault, CertificateSource};

/// Pause between two looks at the files.
pub const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The certificate being served.
pub struct TlsIdentity {
    source: CertificateSource,
    clock: Arc<dyn WallClock>,
    current: RwLock<Arc<CertifiedKey>>,
    /// The fault that was logged last, so that one that lasts is one line.
    told: Mutex<String>,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsIdentity").field("source", &self.source).finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads the certificate, or makes it. Blocks on the disk.
    ///
    /// # Errors
    /// A pair that cannot be read, or an authority that cannot be kept.
    pub fn open(source: CertificateSource, clock: Arc<dyn WallClock>) -> Result<Arc<Self>, CertificateFault> {
        let current = RwLock::new(Arc::new(certificates::load(&source, clock.now())?));
        Ok(Arc::new(Self { source, clock, current, told: Mutex::default() }))
    }

    /// For the listener: HTTP/1.1 only, TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// The TLS library refuses its own versions.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files again and renews what is due. What cannot be read is logged and the present certificate goes on. Blocks on
    /// the disk.
    pub fn refresh(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match certificates::load(&self.source, self.clock.now()) {
            Ok(pair) => {
                told.clear();
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                if pair.cert != current.cert {
                    tracing::info!("another certificate is served from now on");
                    *current = Arc::new(pair);
                }
            }
            Err(fault) => {
                let text = fault.to_string();
                if *told != text {
                    tracing::error!(fault = %text, "the certificate cannot be read again; the present one goes on");
                    *told = text;
                }
            }
        }
    }

    /// Refreshes for ever.
    pub async fn keep_fresh(self: Arc<Self>, pause: Duration) {
        loop {
            tokio::time::sleep(pause).await;
            let this = self.clone();
            if tokio::task::spawn_blocking(move || this.refresh()).await.is_err() {
                tracing::error!("looking after the certificate failed");
            }
        }
    }
}

/// Gives each new connection what is current.
#[derive(Debug)]
struct Resolver(Arc<TlsIdentity>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
