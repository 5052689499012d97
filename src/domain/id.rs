//! Keys: strings of 1 to 64 characters from `[A-Za-z0-9._-]`, the first a
//! letter or a digit, compared byte by byte.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

const MAX_LENGTH: usize = 64;
const MAX_REQUEST_ID: usize = 128;

/// Checks the syntax of a key. The error is a predicate of the field's name: "must be …".
fn check(text: &str) -> Result<(), Cow<'static, str>> {
    let Some(first) = text.chars().next() else {
        return Err("is required".into());
    };
    if text.len() > MAX_LENGTH {
        return Err("must be at most 64 characters long".into());
    }
    if !first.is_ascii_alphanumeric() {
        return Err(format!("must begin with a letter from A to Z or a digit, not {first:?}").into());
    }
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    // Debug shows a character that cannot be seen as an escape.
    match text.chars().find(|character| !is_allowed(*character)) {
        None => Ok(()),
        Some(other) => {
            Err(format!("may hold only the letters A to Z, digits, '.', '_' and '-'; it holds {other:?}")
                .into())
        }
    }
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the key.
            ///
            /// # Errors
            /// Returns a predicate of the field's name: "must be …".
            pub fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
                check(text).map(|()| Self(text.into()))
            }

            /// Returns the key as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&$name> for String {
            fn from(key: &$name) -> Self {
                key.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

key! {
    /// The key of an order.
    OrderId
}
key! {
    /// The key of a customer.
    CustomerId
}
key! {
    /// The key of a pickup point.
    PickupPointId
}
key! {
    /// The id of an actor, unique among the actors of its kind.
    ActorId
}

impl ActorId {
    /// Returns the id of the actor of a command that names none.
    pub fn anonymous() -> Self {
        Self("anonymous".into())
    }
}

/// The `request_id` of a command: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Parses the id.
    ///
    /// # Errors
    /// Returns a predicate of the field's name: "must be …".
    pub fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        if text.is_empty() || text.len() > MAX_REQUEST_ID {
            return Err("must be 1 to 128 characters long".into());
        }
        match text.chars().find(|character| !character.is_ascii_graphic()) {
            None => Ok(Self(text.into())),
            Some(other) => {
                Err(format!("may hold only visible ASCII characters, no spaces; it holds {other:?}").into())
            }
        }
    }

    /// Returns the id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&RequestId> for String {
    fn from(request_id: &RequestId) -> Self {
        request_id.as_str().to_owned()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
