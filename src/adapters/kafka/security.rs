//! TLS and login. Files are read once, at the start, so that a wrong path is
//! reported there.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rskafka::client::{Credentials, SaslConfig};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A failure to set up TLS.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A file does not exist or cannot be read.
    #[error("{} ({key}) cannot be read", path.display())]
    File {
        /// The configuration key of the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// A file does not contain the expected item.
    #[error("{} ({key}) holds no {expected} in PEM", path.display())]
    Pem {
        /// The configuration key of the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The expected item.
        expected: &'static str,
        /// The cause.
        #[source]
        cause: pem::Error,
    },
    /// A certificate or key is in PEM but cannot be used.
    #[error("{} ({key}) cannot be used", path.display())]
    Unfit {
        /// The configuration key of the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: rustls::Error,
    },
    /// There are no trusted authorities.
    #[error("this machine trusts no authority: set events.kafka_ca_file")]
    NoAuthorities,
    /// The library has no protocol version for its ciphers.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// The trusted authorities and the client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The authorities of the brokers' certificates; `None` for those that the
    /// machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The client certificate and its key, if the brokers require one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN, which sends the password.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

/// The credentials of a client.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The user name.
    pub user: String,
    /// The password; never shown.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mechanism, user, password: _ } = self;
        formatter
            .debug_struct("Login")
            .field("mechanism", mechanism)
            .field("user", user)
            .finish_non_exhaustive()
    }
}

/// The TLS configuration and login of connections; by default neither.
#[derive(Debug, Clone, Default)]
pub struct Security {
    pub(super) tls: Option<Arc<ClientConfig>>,
    login: Option<Login>,
}

impl Security {
    /// Reads the files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be used.
    pub fn open(tls: Option<&Tls>, login: Option<Login>) -> Result<Self, SecurityError> {
        Ok(Self { tls: tls.map(client_config).transpose()?.map(Arc::new), login })
    }

    /// Returns the login in the library's type.
    pub(super) fn sasl(&self) -> Option<SaslConfig> {
        let login = self.login.as_ref()?;
        let credentials = Credentials::new(login.user.clone(), login.password.clone());
        Some(match login.mechanism {
            Mechanism::Plain => SaslConfig::Plain(credentials),
            Mechanism::ScramSha256 => SaslConfig::ScramSha256(credentials),
            Mechanism::ScramSha512 => SaslConfig::ScramSha512(credentials),
        })
    }
}

/// Builds the TLS configuration. It names ring as its provider, so it does not
/// depend on the default provider of the process.
fn client_config(tls: &Tls) -> Result<ClientConfig, SecurityError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(SecurityError::Setup)?.with_root_certificates(authorities(tls)?);
    let Some((certificate, private)) = &tls.client else { return Ok(builder.with_no_client_auth()) };
    let (cert_key, key_key) = ("events.kafka_client_cert_file", "events.kafka_client_key_file");
    let chain = certificates(cert_key, certificate)?;
    let parsed = PrivateKeyDer::from_pem_slice(&read(key_key, private)?);
    let pem =
        |cause| SecurityError::Pem { key: key_key, path: private.clone(), expected: "private key", cause };
    let unfit = |cause| SecurityError::Unfit { key: cert_key, path: certificate.clone(), cause };
    builder.with_client_auth_cert(chain, parsed.map_err(pem)?).map_err(unfit)
}

fn authorities(tls: &Tls) -> Result<RootCertStore, SecurityError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = &tls.ca_file {
        let key = "events.kafka_ca_file";
        for certificate in certificates(key, path)? {
            let unfit = |cause| SecurityError::Unfit { key, path: path.clone(), cause };
            store.add(certificate).map_err(unfit)?;
        }
        return Ok(store);
    }
    // The machine's store may contain certificates that cannot be parsed.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() { Err(SecurityError::NoAuthorities) } else { Ok(store) }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let bytes = read(key, path)?;
    let pem = |cause| SecurityError::Pem { key, path: path.to_owned(), expected: "certificate", cause };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(pem)?;
    if found.is_empty() { Err(pem(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, SecurityError> {
    fs::read(path).map_err(|cause| SecurityError::File { key, path: path.to_owned(), cause })
}
