//! Tests of TLS with the `pvz` binary: each `sslmode` against each kind of server
//! certificate has the same result as in libpq.

use std::path::Path;
use std::process::Output;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::cluster::Cluster;
use crate::process::{eventually, pvz};
use crate::support::runtime::block_on;

const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];
const NOT_ENCRYPTED: &str = "no encryption";
const UNKNOWN_AUTHORITY: &str = "the certificate of the server is not signed by an authority in sslrootcert";
const INVALID_SIGNATURE: &str = "the certificate of the server has an invalid signature";
const EXPIRED: &str = "the certificate of the server has expired";
const OTHER_HOST: &str = "the certificate of the server is for another host";
const NO_TLS: &str = "server does not support TLS";

/// A certificate authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Issues a certificate for a host. Returns it and its key, in PEM.
    fn issue(&self, host: &str, expired: bool) -> (String, String) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        // The subject must differ from the authority's. Otherwise OpenSSL regards the
        // certificate as self-signed.
        params.distinguished_name.push(DnType::CommonName, host);
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// Starts a server with all certificates installed. The database `secured` requires
/// encryption, `mutual` also a client certificate, and `postgres` nothing.
fn start_server(authority: &Authority) -> Cluster {
    let cluster = Cluster::start();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let self_signed = params.self_signed(&key).unwrap();
    for (name, (certificate, key)) in [
        ("valid", authority.issue("localhost", false)),
        ("other_host", authority.issue("other.example", false)),
        ("expired", authority.issue("localhost", true)),
        // Signed by an authority with the same name and another key.
        ("invalid_signature", Authority::new().issue("localhost", false)),
        ("self_signed", (self_signed.pem(), key.serialize_pem())),
    ] {
        cluster.install_file(&format!("{name}.crt"), &certificate);
        cluster.install_file(&format!("{name}.key"), &key);
    }
    cluster.install_file("ca.crt", &authority.pem);
    cluster.install_file(
        "pg_hba.conf",
        "hostssl secured pvz 127.0.0.1/32 trust\n\
         hostssl mutual pvz 127.0.0.1/32 trust clientcert=verify-ca\n\
         host postgres pvz 127.0.0.1/32 trust\n",
    );
    block_on(async {
        let shell = cluster.shell().await;
        for statement in
            ["CREATE DATABASE secured", "CREATE DATABASE mutual", "ALTER SYSTEM SET ssl_ca_file = 'ca.crt'"]
        {
            shell.batch_execute(statement).await.unwrap();
        }
    });
    cluster
}

/// Sets the server's certificate, or disables TLS, and waits until the setting is active.
fn set_certificate(cluster: &Cluster, certificate: Option<&str>) {
    let wanted = certificate.map_or("off".to_owned(), |name| format!("on {name}.crt"));
    block_on(async {
        let shell = cluster.shell().await;
        if let Some(name) = certificate {
            for (setting, suffix) in [("ssl_cert_file", "crt"), ("ssl_key_file", "key")] {
                let set = format!("ALTER SYSTEM SET {setting} = '{name}.{suffix}'");
                shell.batch_execute(&set).await.unwrap();
            }
        }
        let set = format!("ALTER SYSTEM SET ssl = {}", if certificate.is_some() { "on" } else { "off" });
        shell.batch_execute(&set).await.unwrap();
        shell.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    });
    eventually("the server uses the new setting", || {
        let active = block_on(async {
            let query = "SELECT current_setting('ssl') || CASE current_setting('ssl') WHEN 'on' \
                         THEN ' ' || current_setting('ssl_cert_file') ELSE '' END";
            cluster.shell().await.query_one(query, &[]).await.unwrap().get::<_, String>(0)
        });
        active == wanted
    });
}

/// Runs `pvz migrate status` on a database.
fn connect(cluster: &Cluster, database: &str, parameters: &str) -> Output {
    let url = format!("postgres://pvz:hunter2@localhost:{}/{database}?{parameters}", cluster.port);
    pvz().args(["migrate", "status", "--store", &url]).output().unwrap()
}

/// Asserts that the connection succeeds, or fails with the given error.
#[track_caller]
fn assert_result(output: &Output, expected_error: Option<&str>, case: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!error.contains("hunter2"), "{case}: {error}");
    match expected_error {
        None => assert_eq!(output.status.code(), Some(0), "{case}: {error}"),
        Some(expected) => {
            assert_ne!(output.status.code(), Some(0), "{case} must fail");
            assert!(error.contains(expected), "{case}: {error}");
        }
    }
}

fn parameters(mode: &str, folder: &Path) -> String {
    let root = if mode.starts_with("verify") {
        format!("&sslrootcert={}", folder.join("ca.pem").display())
    } else {
        String::new()
    };
    format!("sslmode={mode}{root}")
}

#[test]
fn each_sslmode_accepts_the_same_certificates_as_in_libpq() {
    let authority = Authority::new();
    let cluster = start_server(&authority);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let no_tls = [None, None, Some(NO_TLS), Some(NO_TLS), Some(NO_TLS)];
    for (certificate, database, errors) in [
        (None, "postgres", no_tls),
        (Some("valid"), "secured", [Some(NOT_ENCRYPTED), None, None, None, None]),
        (
            Some("self_signed"),
            "secured",
            [Some(NOT_ENCRYPTED), None, None, Some(UNKNOWN_AUTHORITY), Some(UNKNOWN_AUTHORITY)],
        ),
        (
            Some("invalid_signature"),
            "secured",
            [Some(NOT_ENCRYPTED), None, None, Some(INVALID_SIGNATURE), Some(INVALID_SIGNATURE)],
        ),
        (Some("other_host"), "secured", [Some(NOT_ENCRYPTED), None, None, None, Some(OTHER_HOST)]),
        (Some("expired"), "secured", [Some(NOT_ENCRYPTED), None, None, Some(EXPIRED), Some(EXPIRED)]),
    ] {
        set_certificate(&cluster, certificate);
        for (mode, error) in MODES.into_iter().zip(errors) {
            let output = connect(&cluster, database, &parameters(mode, folder.path()));
            assert_result(&output, error, &format!("{mode} and {certificate:?}"));
        }
    }
    // As in libpq, `require` verifies the certificate if there is an `sslrootcert`.
    set_certificate(&cluster, Some("self_signed"));
    let with_root = format!("sslmode=require&sslrootcert={}", folder.path().join("ca.pem").display());
    assert_result(&connect(&cluster, "secured", &with_root), Some(UNKNOWN_AUTHORITY), "require with a file");

    set_certificate(&cluster, Some("valid"));
    let (certificate, key) = authority.issue("pvz", false);
    std::fs::write(folder.path().join("pvz.pem"), certificate).unwrap();
    std::fs::write(folder.path().join("pvz.key"), key).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let with_certificate = format!("sslmode=require&sslcert={}&sslkey={}", path("pvz.pem"), path("pvz.key"));
    let output = connect(&cluster, "mutual", "sslmode=require");
    assert_result(&output, Some("client certificate"), "without a client certificate");
    assert_result(&connect(&cluster, "mutual", &with_certificate), None, "with a client certificate");
    let missing = format!("sslmode=verify-full&sslrootcert={}", path("missing.pem"));
    let output = connect(&cluster, "secured", &missing);
    assert_result(&output, Some("(sslrootcert) cannot be read"), "a missing file");
    let key_file = format!("sslmode=verify-full&sslrootcert={}", path("pvz.key"));
    let output = connect(&cluster, "secured", &key_file);
    assert_result(&output, Some("(sslrootcert) holds no certificate"), "a file with a key");
}
