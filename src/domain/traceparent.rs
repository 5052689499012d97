//! The W3C Trace Context of a command.

use std::fmt;

/// A valid `traceparent` header. Its content is opaque: it is passed from the caller to the
/// consumers of the event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Traceparent(String);

impl Traceparent {
    /// Length of the header: version, trace id, parent id and flags.
    pub const LENGTH: usize = 55;

    /// Parses the header. Returns `None` if it is malformed; the header is then ignored. Of a
    /// version above 00, the fields of version 00 are used, as the recommendation says.
    pub fn parse(text: &str) -> Option<Self> {
        let (known, more) = text.split_at_checked(Self::LENGTH)?;
        let mut fields = known.split('-');
        let (version, trace, parent, flags) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let hex = |field: &str, length: usize| {
            field.len() == length && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let some = |field: &str| field.bytes().any(|byte| byte != b'0');
        let whole = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
        let follows = more.is_empty() || version != "00" && more.starts_with('-');
        let valid =
            whole && fields.next().is_none() && some(trace) && some(parent) && version != "ff" && follows;
        valid.then(|| Self(format!("00-{trace}-{parent}-{flags}")))
    }

    /// Returns the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Traceparent;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

    #[test]
    fn what_is_valid_is_carried_and_what_is_malformed_is_not_there() {
        let parsed = |text: &str| Traceparent::parse(text).map(|parsed| parsed.to_string());
        for flags in ["00", "01", "ff"] {
            let text = format!("00-{TRACE}-{flags}");
            assert_eq!(parsed(&text), Some(text));
        }
        for later in ["", "-and-more", "-"] {
            assert_eq!(parsed(&format!("01-{TRACE}-01{later}")), Some(format!("00-{TRACE}-01")));
        }
        for malformed in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-01"),
            format!("00-{TRACE}-01-more"),
            format!("01-{TRACE}-01more"),
            format!("00-{TRACE}-0"),
            format!("00-{TRACE}-0é"),
            format!("00-{}-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16)),
            format!("00-{}-01", TRACE.replace('-', "_")),
            format!(" 00-{TRACE}-01"),
            format!("0--{TRACE}-01"),
        ] {
            assert_eq!(parsed(&malformed), None, "{malformed:?}");
        }
    }
}
