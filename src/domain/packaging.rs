//! The packaging catalogue. It is data, so that a new kind or another limit
//! touches no code.

use std::fmt;
use std::sync::Arc;

use super::{Grams, Money, Order, Reason, Refusal};

/// The largest surcharge of a kind, in minor units.
const MAX_SURCHARGE: i64 = 1_000_000_000;

/// The code of a kind of packaging, as a request names it. Any string: whether
/// it is known is for the catalogue to say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackagingCode(Arc<str>);

impl PackagingCode {
    /// Takes the code as it is.
    pub fn new(code: &str) -> Self {
        Self(code.into())
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackagingCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a kind of packaging is: an order has at most one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The parcel is in it.
    Container,
    /// It is around the parcel.
    Wrap,
}

impl Role {
    /// The name on the wire.
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
    /// The code that requests name.
    pub code: PackagingCode,
    /// Container or wrap.
    pub role: Role,
    /// The order must weigh less than this; `None`: not checked.
    pub weight_below: Option<Grams>,
    /// What it adds to the price.
    pub surcharge: Money,
}

/// The kinds on offer, containers first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue(Vec<Kind>);

/// Why a list of kinds is no catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Codes are letters, digits, '-' and '_', so that `box+film` can be
    /// taken apart.
    #[error("the packaging code {0:?} must be 1 to 32 letters, digits, '-' or '_'")]
    Code(String),
    /// A code stands twice.
    #[error("the packaging code {0:?} occurs twice")]
    Twice(String),
    /// A surcharge is so large that the sum of two would be no amount.
    #[error("the surcharge of {0:?} must be at most 1000000000 minor units")]
    Surcharge(String),
}

impl Catalogue {
    /// Checks the codes and puts containers first.
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

    /// The default catalogue (`docs/domain.md`, Accept): bag, box, film.
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

    /// The kinds, containers first.
    pub fn kinds(&self) -> &[Kind] {
        &self.0
    }

    fn find(&self, code: &PackagingCode) -> Option<&Kind> {
        self.0.iter().find(|kind| kind.code == *code)
    }

    /// The codes with known containers in front, otherwise in the order given.
    pub fn container_first(&self, codes: &[PackagingCode]) -> Vec<PackagingCode> {
        let is_container =
            |code: &&PackagingCode| self.find(code).is_some_and(|kind| kind.role == Role::Container);
        let (mut containers, others): (Vec<_>, Vec<_>) = codes.iter().partition(is_container);
        containers.extend(others);
        containers.into_iter().cloned().collect()
    }

    /// The kinds that the codes name: at most one container and one wrap.
    pub fn resolve(&self, codes: &[PackagingCode]) -> Result<Vec<&Kind>, Refusal> {
        let mut kinds: Vec<&Kind> = Vec::with_capacity(2);
        for code in codes {
            let Some(kind) = self.find(code) else {
                let known: Vec<&str> = self.0.iter().map(|kind| kind.code.as_str()).collect();
                let (code, known) = (super::echo(code.as_str()), known.join(", "));
                return Err(invalid(codes, &format!("{code:?} is not on offer ({known})"))
                    .with("known_codes", known)
                    .with("code", code));
            };
            if let Some(other) = kinds.iter().find(|other| other.role == kind.role) {
                let why = if other.code == kind.code {
                    format!("{code} stands twice")
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
    // More codes than an order can have are not worth repeating.
    let shown: Vec<&str> = codes.iter().take(8).map(PackagingCode::as_str).collect();
    Refusal::new(Reason::InvalidPackaging, format!("the packaging is not valid: {why}"))
        .with("packaging", shown.join("+"))
}

/// Checks a weight against the limits of its packaging. Limits are strict: the
/// weight must be below them.
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
                    format!("{weight} g are too heavy for {}: it must be below {limit} g", kind.code),
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
    /// The packaging as people write it: `box+film`.
    pub fn packaging_text(&self) -> String {
        let codes: Vec<&str> = self.packaging.iter().map(PackagingCode::as_str).collect();
        codes.join("+")
    }
}
