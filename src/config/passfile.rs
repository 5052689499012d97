//! The password file of libpq: `host:port:database:user:password`, one entry a line.

/// The connection that an entry must match.
pub(super) struct Connection<'a> {
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// Returns the password of the first entry that matches. A field `*` matches everything; a
/// backslash escapes a colon or a backslash.
pub(super) fn password(file: &str, connection: &Connection<'_>) -> Option<String> {
    let Connection { host, port, database, user } = *connection;
    let entry = |line: &str| {
        let mut rest = line;
        for value in [host, port, database, user] {
            let (field, after) = split_field(rest)?;
            if field != "*" && unescape(field) != value {
                return None;
            }
            rest = after;
        }
        Some(unescape(rest)).filter(|password| !password.is_empty())
    };
    file.lines().filter(|line| !line.starts_with('#')).find_map(entry)
}

/// Splits a line at its first colon that is not escaped.
fn split_field(line: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let colon = line.find(|character| {
        let ends = character == ':' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    })?;
    Some((&line[..colon], &line[colon + 1..]))
}

fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        let character = if character == '\\' { characters.next() } else { Some(character) };
        text.extend(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Connection, password};

    #[test]
    fn first_matching_entry_has_the_password() {
        let file = "# db:5432:pvz:pvz:comment\n\
                    \n\
                    incomplete:5432:pvz\n\
                    db:5432:pvz:other:not-mine\n\
                    db:5432:*:pvz:a\\:b\\\\c\n\
                    db:5432:pvz:pvz:later\n\
                    \\:\\:1:*:*:*:six:colons\n\
                    empty:*:*:*:\n";
        let found = |host, port, database, user| password(file, &Connection { host, port, database, user });
        assert_eq!(found("db", "5432", "pvz", "pvz").as_deref(), Some("a:b\\c"));
        assert_eq!(found("db", "5433", "pvz", "pvz"), None);
        assert_eq!(found("DB", "5432", "pvz", "pvz"), None);
        assert_eq!(found("::1", "1", "x", "y").as_deref(), Some("six:colons"));
        assert_eq!(found("empty", "1", "x", "y"), None);
        assert_eq!(found("incomplete", "5432", "pvz", "pvz"), None);
    }
}
