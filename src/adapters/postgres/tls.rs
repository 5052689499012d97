//! TLS with the semantics of libpq: which connections are encrypted, and how the
//! certificate of the server is verified. Files are read once, at start, so that a
//! wrong path fails there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;

/// TLS settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file does not exist or cannot be read.
    #[error("{} ({parameter}) cannot be read", path.display())]
    File {
        /// The URL parameter that names the file.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// A file has other content.
    #[error("{} ({parameter}) holds no {wanted} in PEM", path.display())]
    Pem {
        /// The URL parameter that names the file.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// The expected content.
        wanted: &'static str,
        /// The cause.
        #[source]
        cause: pem::Error,
    },
    /// The content of the files cannot be used.
    #[error("{parameter} cannot be used")]
    Unusable {
        /// The URL parameter.
        parameter: &'static str,
        /// The cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no trusted authority.
    #[error("this machine has no trusted certificate authorities: set sslrootcert to a file")]
    NoAuthorities,
}

/// The encryption mode of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Connections are encrypted if the server supports it. A connection is plain only if the
    /// server declines TLS.
    IfOffered,
    /// All connections are encrypted.
    Always,
}

/// Trusted certificate authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    /// The authorities that this machine trusts.
    Machine,
    /// The certificates in a file.
    File(PathBuf),
}

/// The verification of the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// No verification: protects against eavesdropping, but not against a man in the middle.
    Nothing,
    /// It must be signed by one of the authorities.
    Authority(Authorities),
    /// It must be signed by one of the authorities and be for the host of the URL.
    AuthorityAndHost(Authorities),
}

/// The TLS settings of connections. By default connections are plain.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    secured: Option<(Encryption, ClientConfig)>,
}

impl Tls {
    /// Reads the files. `client` has the paths of the client certificate and its
    /// key, for servers that require one.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn open(
        encryption: Encryption,
        check: &Check,
        client: Option<&(PathBuf, PathBuf)>,
    ) -> Result<Self, TlsError> {
        // The provider is explicit, so that no process-wide default is needed.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = verifier(check, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| unusable("sslmode", cause))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("sslcert", certificate)?;
                let key = private_key(key)?;
                builder.with_client_auth_cert(chain, key).map_err(|cause| unusable("sslcert", cause))?
            }
        };
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self { secured: Some((encryption, config)) })
    }

    /// Returns the SSL mode for the driver.
    pub(super) fn mode(&self) -> SslMode {
        match &self.secured {
            None => SslMode::Disable,
            Some((Encryption::IfOffered, _)) => SslMode::Prefer,
            Some((Encryption::Always, _)) => SslMode::Require,
        }
    }

    /// Returns the configuration of handshakes, if connections may be encrypted.
    pub(super) fn config(&self) -> Option<&ClientConfig> {
        self.secured.as_ref().map(|(_, config)| config)
    }
}

/// Describes a certificate error in a sentence. The text of the library is only
/// the name of a variant.
pub(super) fn explain(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    let rustls::Error::InvalidCertificate(why) = inner.downcast_ref::<rustls::Error>()? else { return None };
    let what = match why {
        CertificateError::UnknownIssuer => "is not signed by an authority in sslrootcert",
        CertificateError::BadSignature => "has an invalid signature",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another host"
        }
        _ => return None,
    };
    Some(format!("the certificate of the server {what}"))
}

fn unusable(parameter: &'static str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TlsError {
    TlsError::Unusable { parameter, cause: cause.into() }
}

fn verifier(check: &Check, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let by = |authorities: &Authorities| {
        let roots = Arc::new(roots(authorities)?);
        let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        built.map_err(|cause| unusable("sslrootcert", cause))
    };
    Ok(match check {
        Check::Nothing => Arc::new(UncheckedVerifier { chain: None, provider: Arc::clone(provider) }),
        Check::Authority(authorities) => {
            Arc::new(UncheckedVerifier { chain: Some(by(authorities)?), provider: Arc::clone(provider) })
        }
        Check::AuthorityAndHost(authorities) => by(authorities)?,
    })
}

fn roots(authorities: &Authorities) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match authorities {
        Authorities::File(path) => {
            for certificate in certificates("sslrootcert", path)? {
                store.add(certificate).map_err(|cause| unusable("sslrootcert", cause))?;
            }
        }
        // The store of a machine may have certificates that cannot be parsed; the
        // others are used.
        Authorities::Machine => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if store.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(store) }
}

fn certificates(parameter: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(parameter, path)?;
    let pem = |cause| TlsError::Pem { parameter, path: path.to_owned(), wanted: "certificate", cause };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(pem)?;
    if found.is_empty() { Err(pem(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let parameter = "sslkey";
    let parsed = PrivateKeyDer::from_pem_slice(&read(parameter, path)?);
    parsed.map_err(|cause| TlsError::Pem { parameter, path: path.to_owned(), wanted: "private key", cause })
}

fn read(parameter: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|cause| TlsError::File { parameter, path: path.to_owned(), cause })
}

/// A verifier that does not check the host name. It checks that the server has
/// the key of the certificate, and, with `chain`, that an authority signed it.
#[derive(Debug)]
struct UncheckedVerifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for UncheckedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is checked last, so everything else is valid.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
