//! The command that migrates a store, for messages.

use std::borrow::Cow;

use super::StartError;
use crate::adapters::postgres;
use crate::adapters::sqlite::OpenError;
use crate::config::{Config, StoreUrl};

/// Returns the command that migrates the store of the configuration, to be copied into a shell. It
/// never has the password.
pub fn migrate_command(config: &Config) -> String {
    let (url, has_password) = match &config.store.url {
        StoreUrl::Postgres(url) => (url.without_password(), url.server.get_password().is_some()),
        other => (other.to_string(), false),
    };
    let variable = if has_password { "PGPASSWORD='…' " } else { "" };
    format!("{variable}pvz migrate --store={}", quoted(&url))
}

/// Adds the command to an error that it resolves.
pub(super) fn with_command(error: StartError, config: &Config) -> StartError {
    match error {
        StartError::Postgres(postgres::OpenError::Missing | postgres::OpenError::Older)
        | StartError::Open(OpenError::Older(_)) => {
            StartError::Schema { problem: Box::new(error), command: migrate_command(config) }
        }
        other => other,
    }
}

/// Returns true if the store, or its schema, does not exist.
pub(super) fn is_missing(error: &StartError) -> bool {
    match error {
        StartError::Schema { problem, .. } => is_missing(problem),
        StartError::Open(OpenError::Missing(_)) | StartError::Postgres(postgres::OpenError::Missing) => true,
        _ => false,
    }
}

/// Quotes a text for a shell, if it has characters that a shell interprets.
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:=._@%,+-".contains(&byte);
    if text.bytes().all(is_plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::migrate_command;
    use crate::config::{Config, Sources};

    #[test]
    fn command_names_the_store_and_never_its_password() {
        for (store, command) in [
            ("postgres://pvz@db:5433/pvz", "pvz migrate --store=postgres://pvz@db:5433/pvz"),
            (
                "postgres://pvz:hunter2@db/pvz?sslmode=disable&application_name=a",
                "PGPASSWORD='…' pvz migrate --store='postgres://pvz@db/pvz?sslmode=disable&application_name=a'",
            ),
            (
                "postgres://db/pvz?user=pvz&password=hunter2",
                "PGPASSWORD='…' pvz migrate --store='postgres://db/pvz?user=pvz'",
            ),
            ("sqlite:/srv/it's here.db", "pvz migrate --store='sqlite:/srv/it'\\''s here.db'"),
        ] {
            let flags = vec![("--store", store.to_owned())];
            let sources = Sources { flags, data_dir: Some("/srv".into()), ..Sources::default() };
            assert_eq!(migrate_command(&Config::load(&sources).unwrap().0), command);
        }
    }
}
