//! TLS as libpq speaks it: whether a connection is encrypted, and how much of
//! the server's certificate is checked. Files are read once, at the start, so
//! that a wrong path is found out there.

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

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not ours to read.
    #[error("{} ({parameter}) cannot be read", path.display())]
    File {
        /// The parameter of the URL that names it.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file holds something else.
    #[error("{} ({parameter}) holds no {wanted} in PEM", path.display())]
    Pem {
        /// The parameter of the URL that names it.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// Why it was not found.
        #[source]
        cause: pem::Error,
    },
    /// What the files hold is of no use.
    #[error("{parameter} cannot be used")]
    Unfit {
        /// The parameter of the URL.
        parameter: &'static str,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody is trusted.
    #[error("this machine trusts no authority: name a file by sslrootcert")]
    NoAuthorities,
}

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// If the server can. Only its own word that it cannot makes them plain.
    IfOffered,
    /// Always.
    Always,
}

/// Whose certificates are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    /// Those by whom this machine trusts.
    Machine,
    /// The certificates in that file, and what they signed.
    File(PathBuf),
}

/// What is checked of a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Nothing: who listens learns nothing, who stands between everything.
    Nothing,
    /// That it comes from one of them.
    Authority(Authorities),
    /// That, and that it is for the host of the URL.
    AuthorityAndHost(Authorities),
}

/// How connections are secured. By default they are not.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    secured: Option<(Encryption, ClientConfig)>,
}

impl Tls {
    /// Reads the files. `client` is our certificate and its key, if the server
    /// asks for one.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(
        encryption: Encryption,
        check: &Check,
        client: Option<&(PathBuf, PathBuf)>,
    ) -> Result<Self, TlsError> {
        // With ring, named here: other parts of the process may have a default
        // of their own, and none is installed twice.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = verifier(check, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| unfit("sslmode", cause))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("sslcert", certificate)?;
                let key = private_key(key)?;
                builder.with_client_auth_cert(chain, key).map_err(|cause| unfit("sslcert", cause))?
            }
        };
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self { secured: Some((encryption, config)) })
    }

    /// The same, as the driver has it.
    pub(super) fn mode(&self) -> SslMode {
        match &self.secured {
            None => SslMode::Disable,
            Some((Encryption::IfOffered, _)) => SslMode::Prefer,
            Some((Encryption::Always, _)) => SslMode::Require,
        }
    }

    /// What handshakes are made with.
    pub(super) fn config(&self) -> Option<&ClientConfig> {
        self.secured.as_ref().map(|(_, config)| config)
    }
}

/// Says in a sentence what is wrong with a certificate, where the library has
/// only the name of a case.
pub(super) fn explain(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    let rustls::Error::InvalidCertificate(why) = inner.downcast_ref::<rustls::Error>()? else { return None };
    let what = match why {
        CertificateError::UnknownIssuer => "is from nobody whom sslrootcert names",
        CertificateError::BadSignature => "is not signed by who it says",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another host"
        }
        _ => return None,
    };
    Some(format!("the certificate of the server {what}"))
}

fn unfit(parameter: &'static str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TlsError {
    TlsError::Unfit { parameter, cause: cause.into() }
}

fn verifier(check: &Check, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let by = |authorities: &Authorities| {
        let roots = Arc::new(roots(authorities)?);
        let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        built.map_err(|cause| unfit("sslrootcert", cause))
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
                store.add(certificate).map_err(|cause| unfit("sslrootcert", cause))?;
            }
        }
        // A machine's store may hold what nobody can read; the rest counts.
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

/// Checks less than all: that the server has the certificate's key always, and
/// that it comes from an authority if there is a chain to check.
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
            // The name is looked at last, when all else is right.
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
