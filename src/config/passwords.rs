//! Passwords outside of URLs: in files that keys name, and for PostgreSQL in the environment
//! variables and the password file of libpq.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio_postgres::config::Host;

use super::fault::{Fault, Origin, Warning};
use super::passfile::{self, Connection};
use super::postgres_url::PostgresUrl;
use super::secret::Secret;
use super::{Config, EventsUrl, Settings, StoreUrl};

/// Longest password in a file, in bytes. Another file would be a mistake.
const MAX_BYTES: u64 = 4096;

/// The default port of PostgreSQL.
const POSTGRES_PORT: u16 = 5432;

/// The folders in which PostgreSQL creates its socket by default. The password file calls such a
/// socket `localhost`.
const SOCKET_FOLDERS: [&str; 3] = ["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// Fills in the passwords of a configuration.
pub(super) struct Passwords<'a> {
    pub(super) env: &'a [(OsString, OsString)],
    pub(super) settings: &'a Settings,
    pub(super) faults: &'a mut Vec<Fault>,
    pub(super) warnings: &'a mut Vec<Warning>,
}

impl Passwords<'_> {
    /// Reads the passwords of the databases and brokers in use.
    pub(super) fn fill(&mut self, config: &mut Config) {
        let Config { store, consumer, events, .. } = config;
        if let StoreUrl::Postgres(url) = &mut store.url {
            let file = ("store.password_file", store.password_file.as_deref());
            self.check_url("store.url", url, file);
            self.fill_url(url, file);
            if let Some(standby) = &mut store.read_url {
                self.fill_url(standby, file);
            }
        }
        if let StoreUrl::Postgres(url) = &mut consumer.store {
            let file = ("consumer.password_file", consumer.password_file.as_deref());
            self.check_url("consumer.store", url, file);
            self.fill_url(url, file);
        }
        if let (EventsUrl::Kafka(_), Some(path)) = (&events.url, &events.kafka_password_file) {
            let key = "events.kafka_password_file";
            if events.kafka_password.is_some() {
                self.fault(key, "has no effect because events.kafka_password is set: remove one of them");
            } else {
                events.kafka_password = self.read(key, path).map(Secret::new);
            }
        }
    }

    /// Refuses two passwords, and warns of one that other users of the machine can see.
    fn check_url(&mut self, key: &str, url: &PostgresUrl, (file_key, file): (&str, Option<&Path>)) {
        if url.server.get_password().is_none() {
            return;
        }
        if file.is_some() {
            let problem = format!("has no effect because {key} has a password: remove one of them");
            self.fault(file_key, &problem);
        }
        if let Some(Origin::Flag(flag)) = self.settings.get(key).map(|setting| &setting.origin) {
            self.warnings.push(Warning(password_in_flag(flag, &format!("{file_key} or PGPASSWORD"))));
        }
    }

    /// Sets the password of a URL that has none, from the first of: the file of the key, PGPASSWORD,
    /// the password file of libpq.
    fn fill_url(&mut self, url: &mut PostgresUrl, (file_key, file): (&str, Option<&Path>)) {
        if url.server.get_password().is_some() {
            return;
        }
        let password = match file {
            Some(path) => self.read(file_key, path).map(String::into_bytes),
            None => match self.variable("PGPASSWORD") {
                Some(password) => Some(password.as_bytes().to_owned()),
                None => self.passfile_password(&url.server).map(String::into_bytes),
            },
        };
        if let Some(password) = password {
            url.server.password(password);
        }
    }

    fn variable(&self, name: &str) -> Option<&OsString> {
        let value = self.env.iter().find(|(variable, _)| variable == name).map(|(_, value)| value);
        value.filter(|value| !value.is_empty())
    }

    /// Looks a password up in the file of PGPASSFILE, or else in `~/.pgpass`. Of several hosts, the
    /// first with an entry counts, because the driver takes one password for all.
    fn passfile_password(&mut self, server: &tokio_postgres::Config) -> Option<String> {
        let path = match self.variable("PGPASSFILE") {
            Some(path) => PathBuf::from(path),
            None => Path::new(self.variable("HOME")?).join(".pgpass"),
        };
        let shown = path.display();
        let file = match private_file(&path) {
            Ok(file) => file?,
            Err(problem) => {
                self.warnings.push(Warning(format!("the password file {shown} is not used: {problem}")));
                return None;
            }
        };
        let own_name = self.variable("USER").and_then(|name| name.to_str()).unwrap_or_default();
        let user = server.get_user().unwrap_or(own_name);
        let database = server.get_dbname().unwrap_or(user);
        let ports = server.get_ports();
        server.get_hosts().iter().enumerate().find_map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(POSTGRES_PORT).to_string();
            let host = match host {
                Host::Tcp(name) => name.as_str(),
                Host::Unix(folder) => {
                    let folder = folder.to_str().unwrap_or_default();
                    if SOCKET_FOLDERS.contains(&folder) { "localhost" } else { folder }
                }
            };
            passfile::password(&file, &Connection { host, port: &port, database, user })
        })
    }

    /// Reads the password in the file of a key.
    fn read(&mut self, key: &str, path: &Path) -> Option<String> {
        password_in(path).map_err(|problem| self.fault(key, &problem)).ok()
    }

    fn fault(&mut self, key: &str, problem: &str) {
        let mut fault = Fault::new(key, problem);
        if let Some(setting) = self.settings.get(key) {
            fault = fault.with_value(&setting.value).from(setting.origin.clone());
        }
        self.faults.push(fault);
    }
}

/// Returns the warning of a password on the command line. It cannot be hidden there without `unsafe`,
/// and it would be in the history of the shell all the same.
pub fn password_in_flag(flag: &str, instead: &str) -> String {
    format!(
        "{flag} has a password, which other users of this machine can see in the list of processes: leave it out and \
         set {instead}"
    )
}

/// Reads the only line of a file. The file may be readable by others, because orchestrators mount
/// secrets like that.
fn password_in(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}"))?;
    let password =
        text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() || password.contains(['\n', '\0']) || text.len() as u64 > MAX_BYTES {
        return Err(format!("must be a file with one line of at most {MAX_BYTES} bytes: the password"));
    }
    Ok(password.to_owned())
}

/// Reads a password file that nobody else may read, as libpq does; `None` if it does not exist.
fn private_file(path: &Path) -> Result<Option<String>, String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if !metadata.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err("its group or others may access it; run: chmod 0600 on it".to_owned());
    }
    fs::read_to_string(path).map(Some).map_err(|error| error.to_string())
}
