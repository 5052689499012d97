use std::time::Duration;

use serde::Deserialize;
use serde::de::Error;

use super::text;
use crate::domain::{self, Catalogue, Currency, Grams, Kind, Money, PackagingCode, PickupPointId, Role};

/// The rules of the point. Replicas must share them.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Policy {
    /// How long after it was issued a customer may bring an order back; at
    /// exactly that age it is too late.
    #[config(
        env = "PVZ_POLICY_RETURN_WINDOW",
        default = "48h",
        deserialize_with = text::duration::<_, 0, { text::TEN_YEARS }>
    )]
    pub return_window: Duration,

    /// How far ahead the storage deadline of an order may be.
    #[config(
        env = "PVZ_POLICY_MAX_STORAGE",
        default = "365d",
        deserialize_with = text::duration::<_, 1, { text::TEN_YEARS }>
    )]
    pub max_storage: Duration,

    /// The pickup point of a command that names none.
    #[config(env = "PVZ_POLICY_PICKUP_POINT", default = "main", deserialize_with = pickup_point)]
    pub pickup_point: PickupPointId,

    /// The currency of new orders: an ISO 4217 code.
    #[config(env = "PVZ_POLICY_CURRENCY", default = "RUB", deserialize_with = currency)]
    pub currency: Currency,

    /// How long a repeated request id gets its stored answer.
    #[config(
        env = "PVZ_POLICY_IDEMPOTENCY_RETENTION",
        default = "7d",
        deserialize_with = text::duration::<_, 1, { text::TEN_YEARS }>
    )]
    pub idempotency_retention: Duration,

    /// The packaging on offer: a code, the role ("container" or "wrap"), the
    /// weight in grams that the order must be below (optional), and the
    /// surcharge in minor units. In the environment: the same array.
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
    /// As the domain takes it.
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

/// One row of the catalogue, as written.
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

/// Reads row by row, so that every wrong row is named.
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
