//! Generates the import file of a day from a seed: 10,000 valid orders of 3,000
//! customers and 50 invalid rows of 10 kinds.

use std::fmt::Write as _;

use chrono::{DateTime, Duration, SecondsFormat, Utc};

pub const ORDERS: usize = 10_000;
pub const CUSTOMERS: u64 = 3_000;
const ROWS_PER_KIND: usize = 5;

/// The kinds of invalid rows, and the reason of their refusal.
pub const INVALID_KINDS: [(&str, &str); 10] = [
    ("no order id", "VALIDATION_FAILED"),
    ("an order id with a space", "VALIDATION_FAILED"),
    ("no customer id", "VALIDATION_FAILED"),
    ("a malformed deadline", "VALIDATION_FAILED"),
    ("a deadline without an offset", "VALIDATION_FAILED"),
    ("a deadline in the past", "VALIDATION_FAILED"),
    ("a deadline in two years", "VALIDATION_FAILED"),
    ("a box of unknown weight", "VALIDATION_FAILED"),
    ("a bag of exactly 10 kg", "WEIGHT_TOO_HEAVY"),
    ("a box in a bag", "INVALID_PACKAGING"),
];

/// A row of the file.
#[derive(Debug, Clone)]
pub struct Row {
    pub order_id: String,
    pub customer_id: String,
    pub storage_until: String,
    pub weight_grams: Option<u64>,
    pub price_minor: u64,
    pub packaging: &'static str,
    /// The index in [`INVALID_KINDS`] of an invalid row.
    pub invalid_kind: Option<usize>,
}

/// The rows of a day.
pub struct Day {
    pub rows: Vec<Row>,
}

/// Marsaglia's xorshift64* generator, so that a seed always gives the same rows.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 33) % bound
    }
}

impl Day {
    /// Generates the day that begins at `now`.
    pub fn generate(seed: u64, now: DateTime<Utc>) -> Self {
        let mut random = Random(seed | 1);
        let mut rows: Vec<Row> = (0..ORDERS).map(|n| order(&mut random, n, now)).collect();
        for kind in 0..INVALID_KINDS.len() {
            for n in 0..ROWS_PER_KIND {
                let index = usize::try_from(random.below(rows.len() as u64)).unwrap();
                let row = order(&mut random, ORDERS + kind * ROWS_PER_KIND + n, now);
                rows.insert(index, invalidate(row, kind, now));
            }
        }
        Self { rows }
    }

    /// Returns the valid rows.
    pub fn valid(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.invalid_kind.is_none())
    }

    /// Returns the number of rows that are refused with a reason.
    pub fn count_refused_with(&self, reason: &str) -> usize {
        self.rows
            .iter()
            .filter_map(|row| row.invalid_kind)
            .filter(|kind| INVALID_KINDS[*kind].1 == reason)
            .count()
    }

    pub fn csv(&self) -> String {
        let mut text =
            String::from("order_id,customer_id,storage_until,weight_grams,price_minor,packaging\n");
        for row in &self.rows {
            let weight = row.weight_grams.map(|grams| grams.to_string()).unwrap_or_default();
            let Row { order_id, customer_id, storage_until, price_minor, packaging, .. } = row;
            writeln!(text, "{order_id},{customer_id},{storage_until},{weight},{price_minor},{packaging}")
                .unwrap();
        }
        text
    }

    pub fn ndjson(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let packaging: Vec<&str> = row.packaging.split('+').filter(|code| !code.is_empty()).collect();
            let mut json = serde_json::json!({
                "orderId": row.order_id,
                "customerId": row.customer_id,
                "storageUntil": row.storage_until,
                "priceMinor": row.price_minor.to_string(),
                "packaging": packaging,
            });
            if let Some(grams) = row.weight_grams {
                json["weightGrams"] = grams.to_string().into();
            }
            writeln!(text, "{json}").unwrap();
        }
        text
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Generates a valid order. One in ten is heavy and one in twenty expensive; a third
/// has no packaging, and heavy orders are never in a bag.
fn order(random: &mut Random, n: usize, now: DateTime<Utc>) -> Row {
    let heavy = random.below(10) == 0;
    let grams = if heavy { 10_000 + random.below(19_000) } else { 50 + random.below(9_000) };
    let packaging = match (random.below(6), heavy) {
        (0 | 1, _) => "",
        (2, false) => "bag",
        (3, false) => "bag+film",
        (4, _) => "film",
        (5, _) => "box+film",
        _ => "box",
    };
    let days = i64::try_from(3 + random.below(12)).unwrap();
    let expensive = random.below(20) == 0;
    Row {
        order_id: format!("{:08}-{:04}-{}", 40_000_000 + random.below(9_999_999), n, 1 + random.below(9)),
        customer_id: format!("{}", 100_000 + random.below(CUSTOMERS)),
        storage_until: instant(now + Duration::days(days)),
        weight_grams: (packaging.contains("ba") || packaging.contains("bo") || random.below(3) > 0)
            .then_some(grams),
        price_minor: 100 * (if expensive { 5_000 + random.below(90_000) } else { 99 + random.below(4_900) })
            - 1,
        packaging,
        invalid_kind: None,
    }
}

fn invalidate(row: Row, kind: usize, now: DateTime<Utc>) -> Row {
    let row = Row { invalid_kind: Some(kind), ..row };
    match kind {
        0 => Row { order_id: String::new(), ..row },
        1 => Row { order_id: format!("{} x", row.order_id), ..row },
        2 => Row { customer_id: String::new(), ..row },
        3 => Row { storage_until: "tomorrow".to_owned(), ..row },
        4 => Row { storage_until: "2099-01-01T10:00:00".to_owned(), ..row },
        5 => Row { storage_until: instant(now - Duration::hours(1)), ..row },
        6 => Row { storage_until: instant(now + Duration::days(730)), ..row },
        7 => Row { packaging: "box", weight_grams: None, ..row },
        8 => Row { packaging: "bag", weight_grams: Some(10_000), ..row },
        _ => Row { packaging: "box+bag", weight_grams: Some(100), ..row },
    }
}
