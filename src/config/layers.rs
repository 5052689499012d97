//! The layers: defaults < file < environment < flags. A key takes its value from
//! the highest layer that sets it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::Path;

use super::fault::{Fault, Origin, Warning};
use super::keys::{self, CLIENT_VARIABLES, FILE_VARIABLE, Key, nearest};
use super::setting::Setting;
use super::{Sources, file};

/// The merged settings, with the errors and warnings found while merging.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) settings: BTreeMap<String, Setting>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Warning>,
}

impl Layers {
    pub(super) fn merge(sources: &Sources, keys: &[Key]) -> Self {
        let mut layers = Self::default();
        layers.defaults(keys);
        let environment = layers.environment(&sources.env, keys);
        if let Some((path, origin)) = file_of(sources, &environment) {
            match file::read(Path::new(path), keys, &mut layers.faults) {
                Ok(settings) => layers.settings.extend(settings),
                Err(problem) => layers.faults.push(Fault::new(path, problem).from(origin)),
            }
        }
        layers.variables(environment, keys);
        layers.flags(&sources.flags);
        layers
    }

    fn defaults(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(value) = default_of(key) {
                self.settings.insert(key.path(), Setting { value, origin: Origin::Default });
            }
        }
    }

    /// Returns the `PVZ_` variables. An empty variable counts as unset, because
    /// some orchestrators cannot unset a variable.
    fn environment(&mut self, env: &[(OsString, OsString)], keys: &[Key]) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for (name, value) in env {
            let Some(name) = name.to_str().filter(|name| name.starts_with("PVZ_")) else { continue };
            let is_key = keys.iter().any(|key| key.variable == name);
            if !is_key && name != FILE_VARIABLE {
                self.unknown_variable(name, keys);
                continue;
            }
            match value.to_str() {
                Some("") => {}
                Some(value) => drop(variables.insert(name.to_owned(), value.to_owned())),
                None => self.faults.push(Fault::new(name, "is not UTF-8")),
            }
        }
        variables
    }

    /// Warns only: orchestrators inject variables of their own, such as
    /// `PVZ_SERVICE_HOST`. The message does not contain the value.
    fn unknown_variable(&mut self, name: &str, keys: &[Key]) {
        if CLIENT_VARIABLES.contains(&name) {
            return;
        }
        let known = keys.iter().map(|key| key.variable).chain([FILE_VARIABLE]).chain(CLIENT_VARIABLES);
        let hint = nearest(name, known);
        self.warnings.push(Warning(format!("unknown environment variable {name} is ignored{hint}")));
    }

    fn variables(&mut self, variables: BTreeMap<String, String>, keys: &[Key]) {
        let paths: HashMap<&str, String> = keys.iter().map(|key| (key.variable, key.path())).collect();
        for (name, text) in variables {
            if let Some(path) = paths.get(name.as_str()) {
                let setting = Setting { value: from_text(&text), origin: Origin::Variable(name) };
                self.settings.insert(path.clone(), setting);
            }
        }
    }

    fn flags(&mut self, flags: &[(&'static str, String)]) {
        for (flag, text) in flags {
            if let Some((_, path)) = keys::FLAGS.iter().find(|(name, _)| name == flag) {
                let setting = Setting { value: from_text(text), origin: Origin::Flag(flag) };
                self.settings.insert((*path).to_owned(), setting);
            } else if *flag != "--config" {
                self.faults.push(Fault::new(*flag, "is not a configuration flag"));
            }
        }
    }
}

/// Returns the path of the configuration file and the flag or variable that set
/// it.
fn file_of<'a>(sources: &'a Sources, variables: &'a BTreeMap<String, String>) -> Option<(&'a str, Origin)> {
    let flag = sources.flags.iter().rev().find(|(flag, _)| *flag == "--config");
    flag.map(|(flag, path)| (path.as_str(), Origin::Flag(flag))).or_else(|| {
        let path = variables.get(FILE_VARIABLE)?;
        Some((path.as_str(), Origin::Variable(FILE_VARIABLE.to_owned())))
    })
}

/// Returns the default value of a key.
pub(super) fn default_of(key: &Key) -> Option<toml::Value> {
    match toml::Value::try_from(key.default?) {
        Ok(toml::Value::String(text)) => Some(from_text(&text)),
        value => value.ok(),
    }
}

/// Parses a text as a TOML array if it starts with `[`; any other text stays a
/// string.
fn from_text(text: &str) -> toml::Value {
    let array = text
        .trim_start()
        .starts_with('[')
        .then(|| toml::from_str::<toml::Table>(&format!("value = {text}")).ok())
        .flatten()
        // More than one key means that the text contained another line of TOML.
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"));
    array.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}
