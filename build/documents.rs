//! Renders the documents for users as HTML: the guides, the changelog, and the other
//! documents of `docs/`. `src/adapters/http` serves them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

use crate::contract::Result;

/// The guides, in the order of the index.
const GUIDES: [&str; 7] = [
    "docs/guides/getting-started.md",
    "docs/guides/idempotency.md",
    "docs/guides/errors.md",
    "docs/guides/paging.md",
    "docs/guides/events.md",
    "docs/guides/time-and-money.md",
    "CHANGELOG.md",
];

/// Writes the pages to `documents` in the output folder, and returns the Rust text of
/// a table of them: first the guides, then the others by name.
pub fn render(out: &Path) -> Result<String> {
    let folder = out.join("documents");
    fs::create_dir_all(&folder)?;
    let mut files: Vec<PathBuf> = GUIDES.iter().map(PathBuf::from).collect();
    let mut others = Vec::new();
    for entry in fs::read_dir("docs")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            others.push(path);
        }
    }
    others.sort();
    files.extend(others);
    let mut table = format!("const DOCUMENTS: [Document; {}] = [\n", files.len());
    for (index, file) in files.iter().enumerate() {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
        let page = page(&text, |target| link(file, target, &files))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let name = name(file);
        fs::write(folder.join(format!("{name}.html")), page)?;
        writeln!(
            table,
            "    Document {{ name: {name:?}, title: {title:?}, is_guide: {}, \
             html: include_str!(concat!(env!(\"OUT_DIR\"), \"/documents/{name}.html\")) }},",
            index < GUIDES.len()
        )?;
    }
    table.push_str("];\n");
    Ok(table)
}

/// Returns the last segment of the address of a document: `changelog`.
fn name(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// Returns the address for a link in a document: relative for a served document, the
/// same for another site, and none for a file that is not served.
fn link(from: &Path, target: &str, served: &[PathBuf]) -> Option<String> {
    if target.starts_with('#') || target.contains("://") {
        return Some(target.to_owned());
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let mut path = PathBuf::new();
    for part in from.parent()?.join(file).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    let name = name(served.iter().find(|served| **served == path)?);
    Some(if anchor.is_empty() { name } else { format!("{name}#{anchor}") })
}

/// Returns the HTML of a text. Headings get the anchors that GitHub gives them. A
/// link without an address becomes plain text, and comments are dropped.
fn page(text: &str, link: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut events: Vec<Event<'_>> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
    set_anchors(&mut events);
    let mut kept = Vec::with_capacity(events.len());
    let mut inside_link = false;
    for event in events {
        match event {
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let address = link(&dest_url);
                inside_link = address.is_some();
                kept.extend(address.map(|address| {
                    Event::Start(Tag::Link { link_type, dest_url: address.into(), title, id })
                }));
            }
            Event::End(TagEnd::Link) if !inside_link => {}
            Event::Html(html) | Event::InlineHtml(html) if !html.trim_start().starts_with("<!--") => {
                return Err(format!("raw HTML is not supported: {html}").into());
            }
            Event::Html(_) | Event::InlineHtml(_) => {}
            event => kept.push(event),
        }
    }
    let mut page = String::new();
    html::push_html(&mut page, kept.into_iter());
    Ok(page)
}

fn set_anchors(events: &mut [Event<'_>]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for start in 0..events.len() {
        if !matches!(events[start], Event::Start(Tag::Heading { .. })) {
            continue;
        }
        let heading =
            events[start..].iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
        let text: String = heading
            .filter_map(|event| match event {
                Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
                _ => None,
            })
            .collect();
        let anchor = anchor(&text);
        let repeated = seen.entry(anchor.clone()).or_default();
        let unique = if *repeated == 0 { anchor } else { format!("{anchor}-{repeated}") };
        *repeated += 1;
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[start] {
            *id = Some(unique.into());
        }
    }
}

/// Returns the anchor of a heading: `order-of-checks` for "Order of checks".
fn anchor(heading: &str) -> String {
    let kept = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(|letter| kept(*letter)).collect::<String>().replace(' ', "-")
}
