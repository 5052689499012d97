//! The URL of a PostgreSQL database. The driver's parser does not know libpq's
//! TLS parameters, so they are parsed here and removed first.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::Host;

use super::redact::redact;

/// A PostgreSQL URL in libpq's syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// The driver's connection parameters.
    pub server: Box<tokio_postgres::Config>,
    /// The TLS parameters.
    pub tls: PostgresTls,
    /// The URL for display, with `***` for its password.
    pub(super) shown: String,
}

/// The first `@` ends the user and the password, so that a second one would be part of the host.
const UNENCODED_AT: &str = "the password contains '@': write it as %40, or leave the password out and set \
                            store.password_file (of the consumer: consumer.password_file)";

/// `sslmode` and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresTls {
    /// `sslmode`.
    pub mode: PostgresSslMode,
    /// `sslrootcert`.
    pub authorities: Option<PostgresAuthorities>,
    /// `sslcert` and `sslkey`.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// libpq's `sslmode` values, except `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresSslMode {
    /// Not encrypted.
    Disable,
    /// Encrypted if the server supports it.
    Prefer,
    /// Encrypted. With a file of authorities, the same as `VerifyCa`.
    Require,
    /// Encrypted, with a certificate from a trusted authority.
    VerifyCa,
    /// Encrypted, with a certificate from a trusted authority for this host name.
    VerifyFull,
}

/// The trusted certificate authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresAuthorities {
    /// The system's authorities: `sslrootcert=system`.
    Machine,
    /// The authorities in a PEM file.
    File(PathBuf),
}

impl PostgresUrl {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let form = "must be postgres://user:password@host:port/database, with special characters \
                    percent-encoded and only parameters that the driver supports";
        let (user_info, address) = text.split_once('@').unwrap_or(("", text));
        let path = address.split('?').next().unwrap_or_default();
        if !user_info.is_empty() && path.contains('@') {
            return Err(UNENCODED_AT);
        }
        let mut tls = Parameters::default();
        let rest = tls.take_from(text)?;
        let server: tokio_postgres::Config =
            rest.parse().map_err(|_| if address.contains('@') { UNENCODED_AT } else { form })?;
        if server.get_hosts().is_empty() {
            return Err("must name a host");
        }
        let mut tls = tls.check()?;
        // As in libpq: a Unix socket does not use TLS.
        if server.get_hosts().iter().all(|host| !matches!(host, Host::Tcp(_))) {
            tls.mode = PostgresSslMode::Disable;
        }
        Ok(Self { server: Box::new(server), tls, shown: redact(text) })
    }

    /// Returns the URL without its password, for a command that people type.
    pub fn without_password(&self) -> String {
        let (address, query) = self.shown.split_once('?').unwrap_or((&self.shown, ""));
        let parameters = query.split('&').filter(|parameter| !parameter.ends_with("=***"));
        let query = parameters.filter(|parameter| !parameter.is_empty()).collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{mark}{query}", address.replacen(":***@", "@", 1))
    }
}

/// The TLS parameters of a URL.
#[derive(Default)]
struct Parameters {
    mode: Option<PostgresSslMode>,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Parameters {
    /// Removes them from a URL and returns the rest.
    fn take_from(&mut self, url: &str) -> Result<String, &'static str> {
        // A password may hold a question mark.
        let host = url.find('@').unwrap_or(0);
        let Some(query) = url[host..].find('?').map(|at| host + at) else { return Ok(url.to_owned()) };
        let mut others = Vec::new();
        for parameter in url[query + 1..].split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let target = match name {
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
            let decoded = decoded.map_err(|_| "must name certificate files in UTF-8")?;
            *target = Some(decoded.into_owned()).filter(|path| !path.is_empty());
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
                return Err(
                    "must have sslmode=verify-full, verify-ca or require, because it has sslrootcert",
                );
            }
            // Anybody can get a certificate from a public authority, so the host
            // name must be verified.
            (Mode::Require | Mode::VerifyCa, Some(PostgresAuthorities::Machine)) => {
                return Err("must have sslmode=verify-full, because it has sslrootcert=system");
            }
            (Mode::VerifyCa, None) => return Err("must have sslrootcert, because it has sslmode=verify-ca"),
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
