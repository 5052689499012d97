//! The origins of `server.cors_origins`.

use pvz::config::Config;

use super::env;

#[test]
fn origins_are_those_that_a_browser_can_send() {
    let origins = |value: &str| Config::load(&env(&[("PVZ_SERVER_CORS_ORIGINS", value)]));
    for valid in [
        "*",
        "https://shop.example",
        "http://localhost:3000",
        "http://127.0.0.1",
        "http://[::1]:8080",
        "https://xn--e1afmkfd.example,https://a_b.example:8443",
    ] {
        assert!(origins(valid).is_ok(), "{valid}");
    }
    for malformed in [
        "http://*",
        "https://*.shop.example",
        "https://shop.example:*",
        "*,https://shop.example",
        "shop.example",
        "//shop.example",
        "null",
        "ftp://shop.example",
        "https://",
        "https://:8443",
        "https://shop.example/",
        "https://shop.example/path",
        "https://shop.example?a",
        "https://shop.example#a",
        "https://user@shop.example",
        "https://user:hunter2@shop.example",
        "https://Shop.example",
        "HTTPS://shop.example",
        "https://shop.example:443",
        "http://shop.example:80",
        "https://shop.example:0",
        "https://shop.example:65536",
        "https://shop.example:",
        "https://shop..example",
        "https://shop example",
        "https://пвз.example",
        "http://::1",
        "http://[::1",
        "http://[shop]",
    ] {
        let faults = origins(malformed).unwrap_err().to_string();
        assert!(faults.contains("must be origins as browsers send them"), "{malformed}: {faults}");
        assert!(!faults.contains("hunter2"), "{faults}");
    }
}
