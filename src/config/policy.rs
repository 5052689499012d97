use std::time::Duration;

use serde::Deserialize;
use serde::de::Error;

use super::text;
use crate::domain::{self, Catalogue, Currency, Grams, Kind, Money, PackagingCode, PickupPointId, Role};

/// Business rules. All replicas must have the same ones.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Policy {
    /// Return window: time after issuing during which a customer may return an
    /// order. At exactly this age the window is closed.
    #[config(
        env = "PVZ_POLICY_RETURN_WINDOW",
        default = "48h",
        deserialize_with = text::duration::<_, 0, { text::TEN_YEARS }>
    )]
    pub return_window: Duration,

    /// Maximum time from now to the storage deadline of a new order.
    #[config(
        env = "PVZ_POLICY_MAX_STORAGE",
        default = "365d",
        deserialize_with = text::duration::<_, 1, { text::TEN_YEARS }>
    )]
    pub max_storage: Duration,

    /// Default pickup point of commands that do not name one.
    #[config(env = "PVZ_POLICY_PICKUP_POINT", default = "main", deserialize_with = pickup_point)]
    pub pickup_point: PickupPointId,

    /// Currency of new orders: an ISO 4217 code.
    #[config(env = "PVZ_POLICY_CURRENCY", default = "RUB", deserialize_with = currency)]
    pub currency: Currency,

    /// Time for which the answer to a request_id is stored and returned again.
    #[config(
        env = "PVZ_POLICY_IDEMPOTENCY_RETENTION",
        default = "7d",
        deserialize_with = text::duration::<_, 1, { text::TEN_YEARS }>
    )]
    pub idempotency_retention: Duration,

    /// Packaging catalogue: code, role ("container" or "wrap"), exclusive weight
    /// limit in grams (optional) and surcharge in minor units. In the environment
    /// variable, write the same array.
    #[config(
        env = "PVZ_POLICY_PACKAGING",
        default = r#"[
            { code = "bag", role = "container", weight_below_grams = 10000, surcharge_minor = 500 },
            { code = "box", role = "container", weight_below_grams = 30000, surcharge_minor = 2000 },
            { code = "film", role = "wrap", surcharge_minor = 100 },
        ]"#,
        deserialize_with = packaging
    )]
    pub packaging: Catalogue,
}

impl Policy {
    /// Converts it to the domain's policy.
    pub fn to_domain(&self) -> domain::Policy {
        domain::Policy {
            return_window: self.return_window,
            max_storage: self.max_storage,
            pickup_point: self.pickup_point.clone(),
            currency: self.currency,
            idempotency_retention: self.idempotency_retention,
            catalogue: self.packaging.clone(),
        }
    }
}

fn pickup_point<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PickupPointId, D::Error> {
    text::read(deserializer, PickupPointId::parse)
}

fn currency<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
    text::read(deserializer, Currency::parse)
}

/// A row of the catalogue.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    code: String,
    role: RowRole,
    weight_below_grams: Option<i64>,
    surcharge_minor: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RowRole {
    Container,
    Wrap,
}

impl Row {
    fn into_kind(self) -> Result<Kind, String> {
        let weight_below = self
            .weight_below_grams
            .map(Grams::new)
            .transpose()
            .map_err(|why| format!("weight_below_grams {why}"))?;
        let surcharge = Money::price(self.surcharge_minor).map_err(|why| format!("surcharge_minor {why}"))?;
        let role = match self.role {
            RowRole::Container => Role::Container,
            RowRole::Wrap => Role::Wrap,
        };
        Ok(Kind { code: PackagingCode::new(&self.code), role, weight_below, surcharge })
    }
}

/// Reads row by row, so that every invalid row is reported.
fn packaging<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Catalogue, D::Error> {
    let toml::Value::Array(rows) = toml::Value::deserialize(deserializer)? else {
        return Err(D::Error::custom("must be an array of tables with code, role and surcharge_minor"));
    };
    let (mut kinds, mut problems) = (Vec::new(), Vec::new());
    for (index, row) in rows.into_iter().enumerate() {
        let kind = row.try_into::<Row>().map_err(|error| error.message().to_owned()).and_then(Row::into_kind);
        match kind {
            Ok(kind) => kinds.push(kind),
            Err(problem) => problems.push(format!("row {}: {}", index + 1, problem.trim_end())),
        }
    }
    if !problems.is_empty() {
        return Err(D::Error::custom(problems.join("; ")));
    }
    Catalogue::new(kinds).map_err(D::Error::custom)
}
