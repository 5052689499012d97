//! The address of a PostgreSQL database. The driver's own parser does not know
//! what libpq says of certificates, so that is taken out before.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::Host;

use super::fault;

/// The address of a PostgreSQL database, as libpq writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// What it says.
    pub server: Box<tokio_postgres::Config>,
    /// How connections to it are secured.
    pub tls: PostgresTls,
    /// How it is shown: without its password.
    pub(super) shown: String,
}

/// `sslmode`, and the files that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresTls {
    /// `sslmode`.
    pub mode: PostgresSslMode,
    /// `sslrootcert`; `None` if there is none.
    pub authorities: Option<PostgresAuthorities>,
    /// `sslcert` and `sslkey`.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The modes of libpq, without `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresSslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can.
    Prefer,
    /// Always encrypted; with a file of authorities the same as `VerifyCa`.
    Require,
    /// With a certificate from a known authority.
    VerifyCa,
    /// With a certificate from a known authority for that very host.
    VerifyFull,
}

/// Whose certificates are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresAuthorities {
    /// Those whom this machine trusts: `system`.
    Machine,
    /// The certificates in that file.
    File(PathBuf),
}

impl PostgresUrl {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let form = "must be postgres://user:password@host:port/database, with the parameters of libpq \
                    that the driver knows, and special characters percent-encoded";
        let mut tls = Parameters::default();
        let rest = tls.take_from(text)?;
        let server: tokio_postgres::Config = rest.parse().map_err(|_| form)?;
        if server.get_hosts().is_empty() {
            return Err("must name a host");
        }
        let mut tls = tls.check()?;
        // As in libpq: a socket of this machine needs no TLS, and has none.
        if server.get_hosts().iter().all(|host| !matches!(host, Host::Tcp(_))) {
            tls.mode = PostgresSslMode::Disable;
        }
        Ok(Self { server: Box::new(server), tls, shown: fault::redact(text) })
    }
}

/// What the URL says of TLS.
#[derive(Default)]
struct Parameters {
    mode: Option<PostgresSslMode>,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Parameters {
    /// Takes them out of a URL, and gives back the rest.
    fn take_from(&mut self, url: &str) -> Result<String, &'static str> {
        // A password may hold a question mark.
        let host = url.find('@').unwrap_or(0);
        let Some(query) = url[host..].find('?').map(|at| host + at) else { return Ok(url.to_owned()) };
        let mut others = Vec::new();
        for parameter in url[query + 1..].split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let place = match name {
                "sslmode" => {
                    self.mode = Some(mode(value)?);
                    continue;
                }
                "sslrootcert" => &mut self.root,
                "sslcert" => &mut self.certificate,
                "sslkey" => &mut self.key,
                _ => {
                    others.push(parameter);
                    continue;
                }
            };
            let decoded = percent_decode_str(value).decode_utf8();
            let decoded = decoded.map_err(|_| "names a certificate's file by no valid UTF-8")?;
            *place = Some(decoded.into_owned()).filter(|path| !path.is_empty());
        }
        let mark = if others.is_empty() { "" } else { "?" };
        Ok(format!("{}{mark}{}", &url[..query], others.join("&")))
    }

    fn check(self) -> Result<PostgresTls, &'static str> {
        use PostgresSslMode as Mode;
        let mode = self.mode.unwrap_or(Mode::Prefer);
        let mut authorities = self.root.map(|root| match root.as_str() {
            "system" => PostgresAuthorities::Machine,
            _ => PostgresAuthorities::File(root.into()),
        });
        match (mode, &authorities) {
            (Mode::Disable | Mode::Prefer, Some(_)) => {
                return Err("has sslrootcert, which needs sslmode=verify-full (or verify-ca, or require)");
            }
            // Anybody gets a certificate from one of those, for a host of theirs.
            (Mode::Require | Mode::VerifyCa, Some(PostgresAuthorities::Machine)) => {
                return Err("has sslrootcert=system, which needs sslmode=verify-full");
            }
            (Mode::VerifyCa, None) => return Err("has sslmode=verify-ca, which needs sslrootcert"),
            (Mode::VerifyFull, None) => authorities = Some(PostgresAuthorities::Machine),
            _ => {}
        }
        let client = match (self.certificate, self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            _ => return Err("must have both sslcert and sslkey, or neither"),
        };
        Ok(PostgresTls { mode, authorities, client })
    }
}

fn mode(text: &str) -> Result<PostgresSslMode, &'static str> {
    Ok(match text {
        "disable" => PostgresSslMode::Disable,
        "prefer" => PostgresSslMode::Prefer,
        "require" => PostgresSslMode::Require,
        "verify-ca" => PostgresSslMode::VerifyCa,
        "verify-full" => PostgresSslMode::VerifyFull,
        _ => return Err("must have an sslmode of disable, prefer, require, verify-ca or verify-full"),
    })
}
