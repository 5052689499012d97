//! Page tokens: opaque, authenticated, bound to the filter of their list, and valid on every
//! replica and after restarts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::domain::{OrderId, Refusal, Timestamp};

const DEFAULT_PAGE: usize = 50;
/// The largest page, also the largest `last_n` (`docs/domain.md`, Reads).
pub const MAX_PAGE: i32 = 1_000;
const TAG: usize = 16;

/// Returns the number of items on a page: 50 for a `page_size` of 0, at most 1,000.
///
/// # Errors
/// Returns an error for a negative size.
pub fn page_limit(page_size: i32) -> Result<usize, &'static str> {
    match usize::try_from(page_size.min(MAX_PAGE)) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size),
        Err(_) => Err("must not be negative"),
    }
}

/// Encodes and decodes page tokens.
#[derive(Clone)]
pub struct PageTokens {
    key: [u8; 32],
}

/// The content of a token: the position of the next page and the time of the first page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PagePosition {
    pub now: Timestamp,
    /// An instant in microseconds, or a sequence.
    pub key: i64,
    /// Empty if the key alone is unique.
    pub order_id: String,
}

impl PageTokens {
    /// Returns tokens authenticated with a secret that all replicas share.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { key: secret }
    }

    /// Encodes a position in the list that `filter` describes.
    pub(super) fn encode(&self, filter: &str, position: &PagePosition) -> String {
        let mut bytes = Vec::with_capacity(16 + position.order_id.len() + TAG);
        bytes.extend_from_slice(&position.now.micros().to_be_bytes());
        bytes.extend_from_slice(&position.key.to_be_bytes());
        bytes.extend_from_slice(position.order_id.as_bytes());
        let tag = self.tag(filter, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..TAG]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes a token.
    pub(super) fn decode(&self, filter: &str, token: &str) -> Result<PagePosition, Refusal> {
        self.read(filter, token).ok_or_else(|| {
            Refusal::invalid("page_token", "was not issued for this list, or the filter has changed")
        })
    }

    fn read(&self, filter: &str, token: &str) -> Option<PagePosition> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        self.tag(filter, body).verify_truncated_left(tag).ok()?;
        let (now, rest) = body.split_first_chunk::<8>()?;
        let (key, order_id) = rest.split_first_chunk::<8>()?;
        Some(PagePosition {
            now: Timestamp::from_micros(i64::from_be_bytes(*now))?,
            key: i64::from_be_bytes(*key),
            order_id: std::str::from_utf8(order_id).ok()?.to_owned(),
        })
    }

    fn tag(&self, filter: &str, body: &[u8]) -> Hmac<Sha256> {
        // HMAC pads a short key with zeros.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.key);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        // The length separates the filter from the body.
        mac.update(&u64::try_from(filter.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(filter.as_bytes());
        mac.update(body);
        mac
    }
}

impl PagePosition {
    /// Returns the key of a list that is ordered by instant and id.
    pub(super) fn below(&self) -> Option<(Timestamp, OrderId)> {
        Some((Timestamp::from_micros(self.key)?, OrderId::parse(&self.order_id).ok()?))
    }
}
