//! The packaging catalogue. It is configuration, so that a new kind or limit needs no code.

use std::fmt;
use std::sync::Arc;

use super::{Grams, Money, Order, Reason, Refusal};

/// The largest surcharge of a kind of packaging, in minor units.
const MAX_SURCHARGE: i64 = 1_000_000_000;

/// The code of a kind of packaging in a request. Any string; the catalogue decides which codes
/// are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackagingCode(Arc<str>);

impl PackagingCode {
    /// Wraps a code without checking it.
    pub fn new(code: &str) -> Self {
        Self(code.into())
    }

    /// Returns the code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackagingCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The role of a kind of packaging. An order has at most one kind of each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A container, such as a box.
    Container,
    /// A wrap around the parcel or its container.
    Wrap,
}

impl Role {
    /// Returns the name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Wrap => "wrap",
        }
    }
}

/// A kind of packaging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The code in requests.
    pub code: PackagingCode,
    /// The role.
    pub role: Role,
    /// The exclusive weight limit; `None` if the weight is not checked.
    pub weight_below: Option<Grams>,
    /// The surcharge.
    pub surcharge: Money,
}

/// The kinds of packaging, containers first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue(Vec<Kind>);

/// An invalid catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// A code is invalid. Codes contain only letters, digits, '-' and '_', so that `box+film`
    /// can be split.
    #[error("the packaging code {0:?} must be 1 to 32 letters, digits, '-' or '_'")]
    Code(String),
    /// A code occurs twice.
    #[error("the packaging code {0:?} occurs twice")]
    Twice(String),
    /// A surcharge is too large: the sum of two must be a valid amount.
    #[error("the surcharge of {0:?} must be at most 1000000000 minor units")]
    Surcharge(String),
}

impl Catalogue {
    /// Validates the kinds and sorts containers first.
    pub fn new(mut kinds: Vec<Kind>) -> Result<Self, CatalogueError> {
        for (index, kind) in kinds.iter().enumerate() {
            let code = kind.code.as_str();
            let well_formed = (1..=32).contains(&code.len())
                && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if !well_formed {
                return Err(CatalogueError::Code(code.to_owned()));
            }
            if kind.surcharge.minor() > MAX_SURCHARGE {
                return Err(CatalogueError::Surcharge(code.to_owned()));
            }
            if kinds[..index].iter().any(|earlier| earlier.code == kind.code) {
                return Err(CatalogueError::Twice(code.to_owned()));
            }
        }
        kinds.sort_by_key(|kind| kind.role);
        Ok(Self(kinds))
    }

    /// Returns the default catalogue (`docs/domain.md`, Accept): bag, box, film.
    pub fn standard() -> Self {
        let kind = |code, role, weight_below, surcharge| Kind {
            code: PackagingCode::new(code),
            role,
            weight_below: Grams::new(weight_below).ok(),
            surcharge: Money::from_minor(surcharge).unwrap_or_default(),
        };
        Self(vec![
            kind("bag", Role::Container, 10_000, 500),
            kind("box", Role::Container, 30_000, 2_000),
            kind("film", Role::Wrap, 0, 100),
        ])
    }

    /// Returns the kinds, containers first.
    pub fn kinds(&self) -> &[Kind] {
        &self.0
    }

    fn find(&self, code: &PackagingCode) -> Option<&Kind> {
        self.0.iter().find(|kind| kind.code == *code)
    }

    /// Returns the codes with known containers first, otherwise in the given order.
    pub fn container_first(&self, codes: &[PackagingCode]) -> Vec<PackagingCode> {
        let is_container =
            |code: &&PackagingCode| self.find(code).is_some_and(|kind| kind.role == Role::Container);
        let (mut containers, others): (Vec<_>, Vec<_>) = codes.iter().partition(is_container);
        containers.extend(others);
        containers.into_iter().cloned().collect()
    }

    /// Returns the kinds of the codes: at most one container and one wrap.
    pub fn resolve(&self, codes: &[PackagingCode]) -> Result<Vec<&Kind>, Refusal> {
        let mut kinds: Vec<&Kind> = Vec::with_capacity(2);
        for code in codes {
            let Some(kind) = self.find(code) else {
                let known: Vec<&str> = self.0.iter().map(|kind| kind.code.as_str()).collect();
                let (code, known) = (super::echo(code.as_str()), known.join(", "));
                return Err(invalid(codes, &format!("{code:?} is not in the catalogue ({known})"))
                    .with("known_codes", known)
                    .with("code", code));
            };
            if let Some(other) = kinds.iter().find(|other| other.role == kind.role) {
                let why = if other.code == kind.code {
                    format!("{code} occurs twice")
                } else {
                    format!("{} and {code} are both a {}", other.code, kind.role.name())
                };
                return Err(invalid(codes, &why).with("code", code));
            }
            kinds.push(kind);
        }
        kinds.sort_by_key(|kind| kind.role);
        Ok(kinds)
    }
}

fn invalid(codes: &[PackagingCode], why: &str) -> Refusal {
    // Echoes at most as many codes as an order can have.
    let shown: Vec<&str> = codes.iter().take(8).map(PackagingCode::as_str).collect();
    Refusal::new(Reason::InvalidPackaging, format!("the packaging is not valid: {why}"))
        .with("packaging", shown.join("+"))
}

/// Checks a weight against the limits of the packaging. The weight must be below them.
pub fn check_weight(kinds: &[&Kind], weight: Option<Grams>) -> Result<(), Refusal> {
    for kind in kinds {
        let Some(limit) = kind.weight_below else { continue };
        match weight {
            None => {
                return Err(Refusal::invalid(
                    "weight_grams",
                    format!("is required, because {} has a weight limit", kind.code),
                )
                .with("packaging", &kind.code));
            }
            Some(weight) if weight >= limit => {
                return Err(Refusal::new(
                    Reason::WeightTooHeavy,
                    format!("{weight} g is too heavy for {}: the weight must be below {limit} g", kind.code),
                )
                .with("weight_grams", weight)
                .with("weight_below_grams", limit)
                .with("packaging", &kind.code));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

impl Order {
    /// Returns the packaging as `box+film`.
    pub fn packaging_text(&self) -> String {
        let codes: Vec<&str> = self.packaging.iter().map(PackagingCode::as_str).collect();
        codes.join("+")
    }
}
