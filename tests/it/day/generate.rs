//! A day of a point, made from a seed: 10,000 parcels of 3,000 customers, with
//! 50 bad rows of 10 kinds among them.

use std::fmt::Write as _;

use chrono::{DateTime, Duration, SecondsFormat, Utc};

pub const PARCELS: usize = 10_000;
pub const CUSTOMERS: u64 = 3_000;
const BAD_OF_A_KIND: usize = 5;

/// The kinds of bad rows, and the reason that each is refused with.
pub const BAD_KINDS: [(&str, &str); 10] = [
    ("no order id", "VALIDATION_FAILED"),
    ("an order id with a space", "VALIDATION_FAILED"),
    ("no customer id", "VALIDATION_FAILED"),
    ("a deadline that is no instant", "VALIDATION_FAILED"),
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
    /// The index of its kind, if it is bad.
    pub bad: Option<usize>,
}

/// The day.
pub struct Day {
    pub rows: Vec<Row>,
}

/// Marsaglia's xorshift64*: small, and the same on every machine for ever.
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
    /// The day that begins at `now`, from a seed.
    pub fn generate(seed: u64, now: DateTime<Utc>) -> Self {
        let mut random = Random(seed | 1);
        let mut rows: Vec<Row> = (0..PARCELS).map(|n| parcel(&mut random, n, now)).collect();
        for kind in 0..BAD_KINDS.len() {
            for n in 0..BAD_OF_A_KIND {
                let place = usize::try_from(random.below(rows.len() as u64)).unwrap();
                let row = parcel(&mut random, PARCELS + kind * BAD_OF_A_KIND + n, now);
                rows.insert(place, spoil(row, kind, now));
            }
        }
        Self { rows }
    }

    pub fn good(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.bad.is_none())
    }

    /// How many bad rows are refused with that reason.
    pub fn refused_with(&self, reason: &str) -> usize {
        self.rows.iter().filter_map(|row| row.bad).filter(|kind| BAD_KINDS[*kind].1 == reason).count()
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

/// Most parcels are light and cheap, some heavy and dear; a third has no
/// packaging, and what weighs much is not put into a bag.
fn parcel(random: &mut Random, n: usize, now: DateTime<Utc>) -> Row {
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
    let dear = random.below(20) == 0;
    Row {
        order_id: format!("{:08}-{:04}-{}", 40_000_000 + random.below(9_999_999), n, 1 + random.below(9)),
        customer_id: format!("{}", 100_000 + random.below(CUSTOMERS)),
        storage_until: instant(now + Duration::days(days)),
        weight_grams: (packaging.contains("ba") || packaging.contains("bo") || random.below(3) > 0)
            .then_some(grams),
        price_minor: 100 * (if dear { 5_000 + random.below(90_000) } else { 99 + random.below(4_900) }) - 1,
        packaging,
        bad: None,
    }
}

fn spoil(row: Row, kind: usize, now: DateTime<Utc>) -> Row {
    let row = Row { bad: Some(kind), ..row };
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
