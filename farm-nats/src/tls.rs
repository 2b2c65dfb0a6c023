//! TLS: whom we trust, and our own certificate. Files that cannot be used are found before the
//! first connection, which would only say that the handshake failed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::ConnectOptions;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::access::AccessError;
use crate::secret::{is_there, unreadable};

const CA: &str = "farm-nats-ca.pem";
const CERTIFICATE: &str = "farm-nats-cert.pem";
const KEY: &str = "farm-nats-key.pem";

/// The TLS files of a secrets folder.
pub(crate) struct Tls {
    ca: Option<PathBuf>,
    own: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    pub fn read(folder: &Path) -> Result<Self, AccessError> {
        let there = |name: &str| {
            let file = folder.join(name);
            Ok(is_there(&file)?.then_some(file))
        };
        let ca = there(CA)?;
        let half = |present, missing| AccessError::Incomplete {
            folder: folder.display().to_string(),
            present,
            missing,
        };
        let own = match (there(CERTIFICATE)?, there(KEY)?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => return Err(half(CERTIFICATE, KEY)),
            (None, Some(_)) => return Err(half(KEY, CERTIFICATE)),
        };
        let tls = Self { ca, own };
        tls.check()?;
        Ok(tls)
    }

    fn check(&self) -> Result<(), AccessError> {
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &self.ca {
            for certificate in certificates(ca)? {
                roots
                    .add(certificate)
                    .map_err(|error| malformed(ca, format!("no usable authority: {error}")))?;
            }
        }
        let Some((certificate, key)) = &self.own else {
            return Ok(());
        };
        let chain = certificates(certificate)?;
        let private = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| malformed(key, "no private key in PEM".to_owned()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable = |error: rustls::Error| {
            malformed(
                certificate,
                format!("cannot be used with {}: {error}", key.display()),
            )
        };
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private)
            .map(drop)
            .map_err(unusable)
    }

    /// The client reads the files itself at every connection; TLS is then not up to the server.
    pub fn apply(self, mut options: ConnectOptions) -> ConnectOptions {
        if self.ca.is_some() || self.own.is_some() {
            options = options.require_tls(true);
        }
        if let Some(ca) = self.ca {
            options = options.add_root_certificates(ca);
        }
        match self.own {
            Some((certificate, key)) => options.add_client_certificate(certificate, key),
            None => options,
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let none = || malformed(file, "no certificate in PEM".to_owned());
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(none()),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, AccessError> {
    std::fs::read(file).map_err(|error| unreadable(file, &error))
}

fn malformed(file: &Path, expected: String) -> AccessError {
    AccessError::Malformed {
        file: file.display().to_string(),
        expected,
    }
}
