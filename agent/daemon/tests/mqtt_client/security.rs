//! Passwords and TLS.

use std::path::Path;

use millrace_agent::mqtt::{BrokerOptions, BrokerTls, Login};

use crate::bench::{BOTH, connected, options, start};
use crate::mqtt_support::{Mosquitto, publish, soon, stored};

#[tokio::test]
async fn a_wrong_password_is_named_in_the_status_and_the_right_one_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwords");
    let made = tokio::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c", passwords.to_str().unwrap(), "agent", "s3cret"])
        .status();
    assert!(soon(made).await.unwrap().success());
    let broker = Mosquitto::start(dir.path(), "allow_anonymous false\npassword_file {dir}/passwords").await;
    for version in BOTH {
        let login = |password: &str| Some(Login { user: "agent".to_owned(), password: password.to_owned() });
        let bench = start(BrokerOptions { login: login("wrong"), ..options(broker.port, version) });
        soon(async {
            while bench.status.snapshot().last_error.is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let error = bench.status.snapshot().last_error.unwrap();
        assert!(error.contains("check user, password"), "{error}");
        bench.end().await;
        let mut bench =
            connected(BrokerOptions { login: login("s3cret"), ..options(broker.port, version) }).await;
        let arguments = ["-u", "agent", "-P", "s3cret", "-q", "1", "-t", "plant/a", "-m", "x"];
        assert!(publish(broker.port, &arguments).await.success());
        assert_eq!(stored(&mut bench.arrivals).await.1, b"x");
        bench.end().await;
    }
}

/// An authority, a server certificate for `localhost` and a client certificate, as PEM files.
fn certificates(dir: &Path) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).unwrap();
    std::fs::write(dir.join("ca.pem"), certificate.pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    for (file, name) in [("server", "localhost"), ("client", "agent")] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        // OpenSSL takes a certificate for self-signed when its subject equals its issuer.
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join(format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn tls_verifies_the_broker_and_shows_our_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let settings = "allow_anonymous true\ncafile {dir}/ca.pem\ncertfile {dir}/server.pem\n\
                    keyfile {dir}/server.key\nrequire_certificate true";
    let broker = Mosquitto::start(dir.path(), settings).await;
    let tls = BrokerTls {
        ca_file: Some(dir.path().join("ca.pem")),
        client_files: Some((dir.path().join("client.pem"), dir.path().join("client.key"))),
        server_name: None,
    };
    for version in BOTH {
        let secure = BrokerOptions {
            host: "localhost".to_owned(),
            tls: Some(tls.clone()),
            ..options(broker.port, version)
        };
        let mut bench = connected(secure.clone()).await;
        let files: Vec<String> =
            ["ca.pem", "client.pem", "client.key"].map(|f| dir.path().join(f).display().to_string()).into();
        let arguments = [
            "--cafile",
            &files[0],
            "--cert",
            &files[1],
            "--key",
            &files[2],
            "-h",
            "localhost",
            "-q",
            "2",
            "-t",
            "plant/a",
            "-m",
            "x",
        ];
        assert!(publish(broker.port, &arguments).await.success());
        assert_eq!(stored(&mut bench.arrivals).await.1, b"x");
        bench.end().await;
        // An authority that did not sign this broker, and a name that the certificate does not carry.
        let elsewhere = tempfile::tempdir().unwrap();
        certificates(elsewhere.path());
        let strange = BrokerTls { ca_file: Some(elsewhere.path().join("ca.pem")), ..tls.clone() };
        let misnamed = BrokerTls { server_name: Some("other.example".to_owned()), ..tls.clone() };
        for wrong in [strange, misnamed] {
            let bench = start(BrokerOptions { tls: Some(wrong), ..secure.clone() });
            soon(async {
                while bench.status.snapshot().last_error.is_none() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert!(bench.status.snapshot().last_error.unwrap().contains("TLS"));
            assert_eq!(bench.status.snapshot().received_total, 0);
            bench.end().await;
        }
    }
}
