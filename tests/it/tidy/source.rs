//! A small Rust lexer: the code without comments and strings, and the paths that it names.

/// Returns the source with blanks in place of comments, strings and character literals. Lines keep
/// their numbers.
pub fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = skipped_length(rest, code.chars().next_back()).unwrap_or(0);
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// Returns the length of the comment, string or character literal that begins here.
fn skipped_length(rest: &str, before: Option<char>) -> Option<usize> {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if rest.starts_with('\'') {
        return character_literal(rest);
    }
    let prefix = if in_word { None } else { ["br", "cr", "r"].into_iter().find(|p| rest.starts_with(p)) }?;
    let after = &rest[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') {
        return None;
    }
    let begin = prefix.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len()))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Returns the length of a character literal; `None` for a lifetime.
fn character_literal(rest: &str) -> Option<usize> {
    let mut inner = rest[1..].chars();
    match (inner.next()?, inner.next()) {
        ('\\', _) => Some(quoted(rest, '\'')),
        (c, Some('\'')) => Some(2 + c.len_utf8()),
        _ => None,
    }
}

/// Returns every path in the code, with groups expanded: `a::{b, c::d}` becomes `a::b` and `a::c::d`.
/// A single name is a path of one segment.
pub fn paths(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let after_dot = at > 0 && tokens[at - 1] == ".";
        if is_word(tokens[at]) && !after_dot {
            at = path(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads a path that begins at a word, and returns the index of the token after it.
fn path(tokens: &[&str], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        path.push(tokens[at].to_owned());
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        match tokens.get(at + 1) {
            Some(&"{") => return group(tokens, at + 2, &path, found),
            Some(next) if is_word(next) || *next == "*" => at += 1,
            _ => break,
        }
    }
    found.push(path);
    at
}

fn group(tokens: &[&str], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    while at < tokens.len() && tokens[at] != "}" {
        if tokens[at] == "as" {
            at += 2;
        } else if is_word(tokens[at]) || tokens[at] == "*" {
            at = path(tokens, at, prefix, found);
        } else {
            at += 1;
        }
    }
    at + 1
}

fn is_word(token: &str) -> bool {
    token.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("::") {
            2
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

#[test]
fn code_excludes_comments_and_strings() {
    // Blanks have the length of the text that they replace; here a run of blanks is one.
    let words = |code: String| code.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    for (source, code) in [
        ("a // diesel::x\nb", "a \nb"),
        ("a /* x /* y */ z */ b", "a b"),
        (r#"f("tonic::\"y", 1)"#, "f( , 1)"),
        ("f(r#\"a\"b\"#)", "f( )"),
        ("let c = '\"'; g::<'a>()", "let c = ; g::<'a>()"),
        (r"let c = '\''; d", "let c = ; d"),
        ("/// docs: `diesel`\nfn x() {}", " \nfn x() {}"),
    ] {
        assert_eq!(code_only(source).len(), source.len());
        assert_eq!(words(code_only(source)), words(code.to_owned()), "{source}");
    }
}

#[test]
fn paths_are_found_in_imports_expressions_and_types() {
    let found = |code: &str| -> Vec<String> { paths(code).iter().map(|path| path.join("::")).collect() };
    assert_eq!(found("use a::{b, c::{d, e as f}};"), ["use", "a::b", "a::c::d", "a::c::e"]);
    assert_eq!(found("x.y(::tonic::Status::new(3))"), ["x", "tonic::Status::new"]);
    assert_eq!(found("Vec::<crate::adapters::X>::new()"), ["Vec", "crate::adapters::X", "new"]);
    assert_eq!(found("use crate::*;"), ["use", "crate::*"]);
}
