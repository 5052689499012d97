//! TLS as libpq has it: each `sslmode` against each kind of certificate, by the
//! released binary and a server that lets nobody in unencrypted.

use std::path::Path;
use std::process::Output;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::cluster::Cluster;
use crate::process::{eventually, pvz};
use crate::support::runtime::block_on;

const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];
const PLAIN: &str = "no encryption";
const STRANGER: &str = "the certificate of the server is not signed by an authority in sslrootcert";
const FORGED: &str = "the certificate of the server has an invalid signature";
const EXPIRED: &str = "the certificate of the server has expired";
const ELSEWHERE: &str = "the certificate of the server is for another host";
const UNABLE: &str = "server does not support TLS";

/// An authority of our own, and what it signs.
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

    /// A certificate for that host, and its key.
    fn certify(&self, host: &str, expired: bool) -> (String, String) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        // Its own name: of its authority's, OpenSSL takes it for self-signed.
        params.distinguished_name.push(DnType::CommonName, host);
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A server with every certificate at hand: `secured` is for encrypted
/// connections only, `mutual` for those with a certificate, `postgres` for all.
fn server(authority: &Authority) -> Cluster {
    let cluster = Cluster::start();
    let own_key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    own.distinguished_name.push(DnType::CommonName, "localhost");
    let own = own.self_signed(&own_key).unwrap();
    for (name, (certificate, key)) in [
        ("right", authority.certify("localhost", false)),
        ("elsewhere", authority.certify("elsewhere.example", false)),
        ("expired", authority.certify("localhost", true)),
        // By an authority of the same name, and another key.
        ("forged", Authority::new().certify("localhost", false)),
        ("own", (own.pem(), own_key.serialize_pem())),
    ] {
        cluster.install(&format!("{name}.crt"), &certificate);
        cluster.install(&format!("{name}.key"), &key);
    }
    cluster.install("ca.crt", &authority.pem);
    cluster.install(
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

/// Shows that certificate from now on, or speaks no TLS.
fn show(cluster: &Cluster, certificate: Option<&str>) {
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
    eventually("the server has its new certificate", || {
        let now = block_on(async {
            let query = "SELECT current_setting('ssl') || CASE current_setting('ssl') WHEN 'on' \
                         THEN ' ' || current_setting('ssl_cert_file') ELSE '' END";
            cluster.shell().await.query_one(query, &[]).await.unwrap().get::<_, String>(0)
        });
        now == wanted
    });
}

fn ask(cluster: &Cluster, database: &str, parameters: &str) -> Output {
    let url = format!("postgres://pvz:hunter2@localhost:{}/{database}?{parameters}", cluster.port);
    pvz().args(["migrate", "status", "--store", &url]).output().unwrap()
}

/// Lets us in, or says that.
#[track_caller]
fn expect(output: &Output, refused: Option<&str>, case: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!error.contains("hunter2"), "{case}: {error}");
    match refused {
        None => assert_eq!(output.status.code(), Some(0), "{case}: {error}"),
        Some(why) => {
            assert_ne!(output.status.code(), Some(0), "{case} must be refused");
            assert!(error.contains(why), "{case}: {error}");
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
fn each_mode_takes_the_certificates_that_libpq_would() {
    let authority = Authority::new();
    let cluster = server(&authority);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let unable = [None, None, Some(UNABLE), Some(UNABLE), Some(UNABLE)];
    for (certificate, database, refused) in [
        (None, "postgres", unable),
        (Some("right"), "secured", [Some(PLAIN), None, None, None, None]),
        (Some("own"), "secured", [Some(PLAIN), None, None, Some(STRANGER), Some(STRANGER)]),
        (Some("forged"), "secured", [Some(PLAIN), None, None, Some(FORGED), Some(FORGED)]),
        (Some("elsewhere"), "secured", [Some(PLAIN), None, None, None, Some(ELSEWHERE)]),
        (Some("expired"), "secured", [Some(PLAIN), None, None, Some(EXPIRED), Some(EXPIRED)]),
    ] {
        show(&cluster, certificate);
        for (mode, refused) in MODES.into_iter().zip(refused) {
            let output = ask(&cluster, database, &parameters(mode, folder.path()));
            expect(&output, refused, &format!("{mode} and {certificate:?}"));
        }
    }
    // As in libpq, a file of authorities makes `require` check by it.
    show(&cluster, Some("own"));
    let checked = format!("sslmode=require&sslrootcert={}", folder.path().join("ca.pem").display());
    expect(&ask(&cluster, "secured", &checked), Some(STRANGER), "require with a file");

    show(&cluster, Some("right"));
    let (certificate, key) = authority.certify("pvz", false);
    std::fs::write(folder.path().join("pvz.pem"), certificate).unwrap();
    std::fs::write(folder.path().join("pvz.key"), key).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let ours = format!("sslmode=require&sslcert={}&sslkey={}", path("pvz.pem"), path("pvz.key"));
    expect(&ask(&cluster, "mutual", "sslmode=require"), Some("client certificate"), "without ours");
    expect(&ask(&cluster, "mutual", &ours), None, "with ours");
    let missing = format!("sslmode=verify-full&sslrootcert={}", path("nowhere.pem"));
    expect(&ask(&cluster, "secured", &missing), Some("(sslrootcert) cannot be read"), "no such file");
    let empty = format!("sslmode=verify-full&sslrootcert={}", path("pvz.key"));
    expect(&ask(&cluster, "secured", &empty), Some("(sslrootcert) holds no certificate"), "a key");
}
