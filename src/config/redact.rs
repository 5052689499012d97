//! Hides the passwords in a text before it is shown.

use percent_encoding::percent_decode_str;

use super::secret::HIDDEN;

/// Replaces the passwords in a URL, or in a list of `name=value`. The text may be malformed, so what
/// could be a password is hidden too.
pub fn redact(text: &str) -> String {
    hide_values(&hide_user_info(text))
}

/// Replaces everything between the first colon after the scheme and the last `@`. Without an `@`,
/// replaces what is in the place of a port and is not a number.
fn hide_user_info(text: &str) -> String {
    let scheme =
        text.find(":/").filter(|colon| text[..*colon].ends_with(|last: char| last.is_ascii_alphanumeric()));
    let start = scheme.map_or(0, |colon| text.len() - text[colon + 1..].trim_start_matches('/').len());
    if let Some(at) = text[start..].rfind('@').map(|at| start + at) {
        return match text[start..at].find(':') {
            Some(colon) => format!("{}{HIDDEN}{}", &text[..=start + colon], &text[at..]),
            None => text.to_owned(),
        };
    }
    if scheme.is_none() {
        return text.to_owned();
    }
    let is_end = |character: char| character.is_whitespace() || "/?#\"'".contains(character);
    let end = text[start..].find(is_end).map_or(text.len(), |end| start + end);
    let hosts = text[start..end].split(',').map(|host| match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') && port.parse::<u16>().is_err() && !port.is_empty() => {
            format!("{host}:{HIDDEN}")
        }
        _ => host.to_owned(),
    });
    format!("{}{}{}", &text[..start], hosts.collect::<Vec<_>>().join(","), &text[end..])
}

/// Replaces the values of names that mean a password, in the query of a URL or in a connection string
/// of libpq, where values may be quoted.
fn hide_values(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(equals) = rest.find('=') {
        let (before, after) = rest.split_at(equals + 1);
        shown.push_str(before);
        rest = after;
        if is_secret_name(before) {
            let in_query = shown.contains('?');
            let value = rest.trim_start();
            let length = value_length(value, in_query);
            if length > 0 {
                shown.push_str(&rest[..rest.len() - value.len()]);
                shown.push_str(HIDDEN);
                rest = &value[length..];
            }
        }
    }
    shown + rest
}

/// Returns true if the name that ends before the last `=` means a password.
fn is_secret_name(before: &str) -> bool {
    let name = before.trim_end_matches('=').trim_end();
    let separator = |character: char| character.is_whitespace() || "?&;,{[".contains(character);
    let name = name.rfind(separator).map_or(name, |at| &name[at..]);
    let name = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
    !name.contains("file") && ["pass", "pwd", "secret"].iter().any(|word| name.contains(word))
}

/// Returns the length of a value, up to its closing quote, its separator or the end.
fn value_length(value: &str, in_query: bool) -> usize {
    if let Some(quote) = value.chars().next().filter(|first| matches!(first, '\'' | '"')) {
        let mut escaped = false;
        let end = value[1..].find(|character| {
            let ends = character == quote && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        return end.map_or(value.len(), |end| end + 2);
    }
    let ends = |character: char| if in_query { character == '&' } else { character.is_whitespace() };
    value.find(ends).unwrap_or(value.len())
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn passwords_are_hidden_and_nothing_else() {
        for (given, shown) in [
            ("postgres://pvz:hunter2@db:5432/pvz", "postgres://pvz:***@db:5432/pvz"),
            ("postgres://pvz:a@b/c?d:e@db/pvz", "postgres://pvz:***@db/pvz"),
            ("redis://:hunter2@cache", "redis://:***@cache"),
            (
                "postgres://db/pvz?sslmode=on&Password=x y&user=y",
                "postgres://db/pvz?sslmode=on&Password=***&user=y",
            ),
            ("postgres://db/pvz?p%61ssword=x", "postgres://db/pvz?p%61ssword=***"),
            ("postgres://pvz@db/pvz", "postgres://pvz@db/pvz"),
            ("kafka://one:9092,two:9092/topic", "kafka://one:9092,two:9092/topic"),
            ("kafka://[::1]:9092,[::2]/topic", "kafka://[::1]:9092,[::2]/topic"),
            ("sqlite:/srv/a@b.db", "sqlite:/srv/a@b.db"),
            ("sqlite:/srv/10:00.db", "sqlite:/srv/10:00.db"),
            ("/srv/password_file=1", "/srv/password_file=1"),
        ] {
            assert_eq!(redact(given), shown);
        }
    }

    #[test]
    fn passwords_of_malformed_values_are_hidden() {
        for (given, shown) in [
            ("host=db password=hunter2 user=pvz", "host=db password=*** user=pvz"),
            ("host=db password = 'hun\\'ter2 x' user=pvz", "host=db password = *** user=pvz"),
            ("host=db PASSWORD=hun&ter2", "host=db PASSWORD=***"),
            ("password='hunter2", "password=***"),
            ("kafka:/u:hunter2@one:9092", "kafka:/u:***@one:9092"),
            ("kafka:u:hunter2@one:9092", "kafka:***@one:9092"),
            ("postgres//u:hunter2@db/pvz", "postgres//u:***@db/pvz"),
            ("u:hunter2@db/pvz", "u:***@db/pvz"),
            ("postgres://u:hunter2", "postgres://u:***"),
            ("unexpected argument \"postgres://u:hunter2\"", "unexpected argument \"postgres://u:***\""),
            ("unexpected argument \"kafka:/u:hunter2@a:1\"", "unexpected argument \"kafka:/u:***@a:1\""),
            ("postgres:///u:hun/ter2@db", "postgres:///u:***@db"),
        ] {
            assert_eq!(redact(given), shown);
        }
    }
}
