//! The host that a request names (RFC 9110 section 7.2, RFC 9112 section 3.2).

use std::net::Ipv6Addr;

use http::header::HOST;
use http::uri::Authority;
use http::{Request, Version};

/// Checks that a request names one valid host: in `Host`, in the request target, or the same one in
/// both. Only HTTP/1.0 may omit it.
///
/// # Errors
/// Returns a sentence about the request, for an answer with status 400.
pub fn check_host<B>(request: &Request<B>) -> Result<(), &'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().map(|host| host.to_str().unwrap_or_default());
    if hosts.next().is_some() {
        return Err("the request has more than one Host header");
    }
    let target = request.uri().authority().map(Authority::as_str);
    match (host, target) {
        (None, None) if request.version() <= Version::HTTP_10 => Ok(()),
        (None, Some(target)) if request.version() != Version::HTTP_11 => {
            is_host(target).then_some(()).ok_or("the request target must have a host and an optional port")
        }
        (None, _) => Err("the request has no Host header"),
        (Some(host), _) if !is_host(host) => Err("the Host header must be a host and an optional port"),
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
            Err("the Host header differs from the host in the request target")
        }
        (Some(_), _) => Ok(()),
    }
}

/// Returns true for `uri-host [":" port]` of RFC 3986, with a host that is not empty.
fn is_host(text: &str) -> bool {
    let end = match text.strip_prefix('[') {
        Some(address) => match address.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => return is_port(port),
            _ => return false,
        },
        None => text.find(':').unwrap_or(text.len()),
    };
    let (name, port) = text.split_at(end);
    !name.is_empty() && is_name(name) && is_port(port)
}

/// Returns true for a `reg-name` or an IPv4 address.
fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    let mut parts = text.split('%');
    parts.next().is_some_and(|part| part.bytes().all(legal))
        && parts.all(|part| {
            let bytes = part.as_bytes();
            bytes.len() >= 2
                && bytes[..2].iter().all(u8::is_ascii_hexdigit)
                && bytes.iter().copied().all(legal)
        })
}

/// Returns true for nothing, or for a colon and a port, which may be empty.
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some(port) => {
            port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Version};

    use super::check_host;

    fn checked(version: Version, target: &str, hosts: &[&str]) -> Result<(), &'static str> {
        let builder = Request::get(target).version(version);
        let builder = hosts.iter().fold(builder, |builder, host| builder.header("host", *host));
        check_host(&builder.body(()).unwrap())
    }

    #[test]
    fn valid_hosts_are_accepted() {
        for host in
            ["pvz", "pvz:", "pvz.example:8081", "10.0.0.1:0", "[::1]:8081", "[fe80::1]", "a_b", "caf%C3%A9"]
        {
            assert_eq!(checked(Version::HTTP_11, "/", &[host]), Ok(()), "{host}");
            assert_eq!(checked(Version::HTTP_10, "/", &[host]), Ok(()), "{host}");
        }
        assert_eq!(checked(Version::HTTP_10, "/", &[]), Ok(()));
        assert_eq!(checked(Version::HTTP_11, "http://pvz:81/", &["PVZ:81"]), Ok(()));
        assert_eq!(checked(Version::HTTP_2, "http://pvz:81/", &[]), Ok(()));
        assert_eq!(checked(Version::HTTP_2, "http://pvz:81/", &["pvz:81"]), Ok(()));
    }

    #[test]
    fn malformed_hosts_are_refused() {
        for host in [
            "", ":", ":80", "a b", "a/b", "a?b", "a#b", "u@a", "u:p@a", "a:b", "a:65536", "a:+80", "a:80:80",
            "[::1", "::1", "[::1]80", "[pvz]", "[]", "a%2", "a%zz", "a,b c", "http://a", "\"a\"", "a\\b",
            "é",
        ] {
            let refused = checked(Version::HTTP_11, "/", &[host]);
            assert_eq!(refused, Err("the Host header must be a host and an optional port"), "{host}");
            assert_eq!(checked(Version::HTTP_10, "/", &[host]), refused, "{host}");
        }
    }

    #[test]
    fn host_is_named_once() {
        let (missing, differs) =
            ("the request has no Host header", "the Host header differs from the host in the request target");
        assert_eq!(checked(Version::HTTP_11, "/", &[]), Err(missing));
        assert_eq!(checked(Version::HTTP_11, "http://pvz/", &[]), Err(missing));
        assert_eq!(checked(Version::HTTP_2, "/", &[]), Err(missing));
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            let twice = Err("the request has more than one Host header");
            assert_eq!(checked(version, "/", &["pvz", "pvz"]), twice);
            assert_eq!(checked(version, "http://pvz/", &["other"]), Err(differs));
            assert_eq!(checked(version, "http://u@pvz/", &["pvz"]), Err(differs));
        }
        let target = Err("the request target must have a host and an optional port");
        assert_eq!(checked(Version::HTTP_2, "http://u@pvz/", &[]), target);
    }
}
