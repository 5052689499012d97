//! TLS and the login: how a broker is known, and how it knows us. Files are
//! read once, at the start, so that a wrong path is found out there.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rskafka::client::{Credentials, SaslConfig};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A file is not there, or not ours to read.
    #[error("{} ({key}) cannot be read", path.display())]
    File {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file holds something else.
    #[error("{} ({key}) holds no {wanted} in PEM", path.display())]
    Pem {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// Why it was not found.
        #[source]
        cause: pem::Error,
    },
    /// A certificate or key is in PEM, and of no use.
    #[error("{} ({key}) cannot be used", path.display())]
    Unfit {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: rustls::Error,
    },
    /// Nobody is trusted.
    #[error("this machine trusts no authority: name one by events.kafka_ca_file")]
    NoAuthorities,
    /// The library has no protocol versions for its own ciphers.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Who is trusted, and who we are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The authorities that brokers' certificates come from; `None`: those of
    /// the machine.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key, if brokers ask for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// By sending it.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

/// A name, a password, and how it is proved.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// How.
    pub mechanism: Mechanism,
    /// The name.
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

/// What connections are secured with. By default, nothing.
#[derive(Debug, Clone, Default)]
pub struct Security {
    pub(super) tls: Option<Arc<ClientConfig>>,
    login: Option<Login>,
}

impl Security {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(tls: Option<&Tls>, login: Option<Login>) -> Result<Self, SecurityError> {
        Ok(Self { tls: tls.map(client_config).transpose()?.map(Arc::new), login })
    }

    /// The login as the library wants it.
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

/// With ring, named here: other parts of the process may have a default of
/// their own, and none is installed twice.
fn client_config(tls: &Tls) -> Result<ClientConfig, SecurityError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(SecurityError::Setup)?.with_root_certificates(authorities(tls)?);
    let Some((certificate, private)) = &tls.client else { return Ok(builder.with_no_client_auth()) };
    let (cert_key, key_key) = ("events.kafka_client_cert_file", "events.kafka_client_key_file");
    let chain = certificates(cert_key, certificate)?;
    let parsed = PrivateKeyDer::from_pem_slice(&read(key_key, private)?);
    let pem =
        |cause| SecurityError::Pem { key: key_key, path: private.clone(), wanted: "private key", cause };
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
    // A machine's store may hold what nobody can read; the rest counts.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() { Err(SecurityError::NoAuthorities) } else { Ok(store) }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let bytes = read(key, path)?;
    let pem = |cause| SecurityError::Pem { key, path: path.to_owned(), wanted: "certificate", cause };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(pem)?;
    if found.is_empty() { Err(pem(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, SecurityError> {
    fs::read(path).map_err(|cause| SecurityError::File { key, path: path.to_owned(), cause })
}
