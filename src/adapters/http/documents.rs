//! The documents for users, which `build/documents.rs` renders from `docs/`.

/// A document as HTML.
pub(super) struct Document {
    /// The last segment of its address.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// True for a guide, false for a reference.
    pub is_guide: bool,
    /// The content of the page.
    pub html: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/documents.rs"));

/// Returns the documents: the guides in reading order, then the references by name.
pub(super) fn all() -> &'static [Document] {
    &DOCUMENTS
}
