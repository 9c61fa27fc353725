//! HTTPS on HTTP's port: with a certificate of one's own, and with one from an ACME server (Pebble, Let's Encrypt's own for tests), exchanged while the server runs.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use support::{Folder, SOON, Server, lasting_port};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const NAME: &str = "meet.example";
/// For a certificate to be asked for and to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// An authority, and what it gives.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new([]).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// Writes another certificate for `name` and its key.
    fn give(&self, name: &str, certificate: &Path, secret: &Path) {
        let key = KeyPair::generate().expect("a key");
        let given = CertificateParams::new([name.to_owned()]).expect("parameters").signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(certificate, given.pem()).expect("written");
        std::fs::write(secret, key.serialize_pem()).expect("written");
    }
}

/// A TLS connection from whoever trusts `roots`; and the server's certificate.
async fn tls(at: SocketAddr, roots: &[u8], protocols: &[&[u8]]) -> std::io::Result<(TlsStream<TcpStream>, Vec<u8>)> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots) {
        store.add(root.expect("PEM")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(at).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).expect("a name"), stream).await?;
    let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec();
    Ok((stream, shown))
}

async fn ask<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S, path: &str, host: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("answered in time").expect("answered");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A WebSocket that is in a room.
struct Guest(WebSocketStream<TlsStream<TcpStream>>);

impl Guest {
    async fn join(at: SocketAddr, roots: &[u8]) -> Self {
        let (stream, _) = tls(at, roots, &[b"http/1.1"]).await.expect("TLS");
        let mut request = format!("wss://{NAME}:{}/v1/ws", at.port()).into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", "switchyard.v1.json".parse().expect("a value"));
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("accepted");
        let mut guest = Self(socket);
        let reply = guest.ask(r#"{"type":"join","id":1,"room":"a","name":"Ada"}"#, r#""id":1"#).await;
        assert!(reply.contains(r#""joined""#), "{reply}");
        guest
    }

    /// Asks, and waits for a message with `sign` in it.
    async fn ask(&mut self, request: &str, sign: &str) -> String {
        self.0.send(Message::text(request)).await.expect("sent");
        let answer = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) if text.contains(sign) => return text.to_string(),
                    Some(Ok(_)) => {}
                    ended => panic!("{ended:?}"),
                }
            }
        };
        tokio::time::timeout(SOON, answer).await.expect("answered in time")
    }

    /// The connection is there.
    async fn pings(&mut self) {
        self.ask(r#"{"type":"ping","id":7}"#, r#""id":7"#).await;
    }
}

fn hang_up(server: &Server) {
    let pid = i32::try_from(server.child.id().expect("running")).expect("a process");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGHUP).expect("sent");
}

type Log = Lines<BufReader<ChildStderr>>;

/// What a server logs whose stderr is piped.
fn log(server: &mut Server) -> Log {
    BufReader::new(server.child.stderr.take().expect("piped")).lines()
}

/// Waits for a line of the log with `sign` in it.
async fn says(log: &mut Log, sign: &str) -> String {
    let said = async {
        loop {
            let line = log.next_line().await.expect("read").expect("the server goes on");
            if line.contains(sign) {
                return line;
            }
        }
    };
    tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("nobody says {sign}"))
}

/// Waits until new connections are shown a certificate, another than `before`; which it is.
async fn another(at: SocketAddr, roots: &[u8], before: Option<&[u8]>) -> Vec<u8> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = None;
    while Instant::now() < deadline {
        match tls(at, roots, &[]).await {
            Ok((_, shown)) if before.is_none_or(|before| before != shown) => return shown,
            other => last = Some(other.map(|_| "the same")),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no other certificate in {PATIENCE:?}: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ones_own_is_shown_and_exchanged_without_anybody_noticing() {
    let folder = Folder::new("tls");
    let (certificate, key) = (folder.0.join("certificate.pem"), folder.0.join("key.pem"));
    let authority = Authority::new();
    authority.give(NAME, &certificate, &key);
    let options = ["--tls-certificate", certificate.to_str().expect("a path"), "--tls-key", key.to_str().expect("a path")];
    let mut server = Server::start_with(&[&options[..], &["--silence-timeout-ms", "1000"]].concat(), Stdio::piped()).await;
    let mut log = log(&mut server);
    let roots = authority.pem.as_bytes();

    // A large page, a WebSocket, and whatever protocols a client names.
    let (stream, first) = tls(server.http, roots, &[b"h2", b"http/1.1"]).await.expect("TLS");
    let page = ask(stream, "/r/demo", NAME).await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<html"), "{page}");
    assert!(page.contains("strict-transport-security: max-age="), "{page}");
    tls(server.http, roots, &[b"stun.turn"]).await.expect("TLS for TURN");
    tls(server.http, roots, &[]).await.expect("TLS for whoever says nothing");
    let challenge = tls(server.http, roots, &[b"acme-tls/1"]).await;
    assert!(challenge.is_err(), "nobody has asked for a challenge");
    assert!(server.get("/readyz").await.starts_with("HTTP/1.1 200"), "there is a certificate");
    let mut guest = Guest::join(server.http, roots).await;

    // Without TLS there is nothing but the way to it.
    let at = server.http;
    let plain = |path: &'static str| async move { ask(TcpStream::connect(at).await.expect("reachable"), path, NAME).await };
    let sent_on = plain("/r/demo?x=1").await;
    assert!(sent_on.starts_with("HTTP/1.1 308") && sent_on.contains(&format!("location: https://{NAME}/r/demo?x=1\r\n")), "{sent_on}");
    assert!(plain("/v1/ws").await.starts_with("HTTP/1.1 308"));
    assert!(plain("/healthz").await.starts_with("HTTP/1.1 200"), "a supervisor need not know certificates");

    // Another one.
    authority.give(NAME, &certificate, &key);
    hang_up(&server);
    let second = another(server.http, roots, Some(&first)).await;
    // One that is none, and one that belongs to another key, change nothing.
    std::fs::write(&certificate, "nothing").expect("written");
    hang_up(&server);
    says(&mut log, "stays as it was").await;
    authority.give(NAME, &certificate, &folder.0.join("elsewhere.pem"));
    hang_up(&server);
    assert!(says(&mut log, "stays as it was").await.contains("not the certificate's"));
    assert_eq!(tls(server.http, roots, &[]).await.expect("TLS").1, second);
    guest.pings().await;

    // Who says nothing, or half of something, is not waited for.
    for beginning in [&b""[..], &[22, 3, 1, 2, 0, 1]] {
        let mut silent = TcpStream::connect(server.http).await.expect("reachable");
        silent.write_all(beginning).await.expect("sent");
        let end = tokio::time::timeout(SOON, silent.read(&mut [0; 64])).await.expect("closed in time");
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
}

#[tokio::test]
async fn what_contradicts_itself_or_is_no_certificate_keeps_the_server_from_starting() {
    let folder = Folder::new("tls-wrong");
    let (certificate, key) = (folder.0.join("certificate.pem"), folder.0.join("key.pem"));
    Authority::new().give(NAME, &certificate, &key);
    let (right, secret) = (certificate.to_str().expect("a path"), key.to_str().expect("a path"));
    for (options, why) in [
        (vec!["--tls-certificate", right], "wants a tls_key"),
        (vec!["--tls-certificate", "/nowhere", "--tls-key", secret], "/nowhere"),
        (vec!["--tls-certificate", secret, "--tls-key", secret], "no certificate in it"),
        (vec!["--tls-certificate", right, "--tls-key", right], "no private key in it"),
        (vec!["--redirect-http", "127.0.0.1:0"], "no HTTPS to send anybody on to"),
        (vec!["--acme-domain", NAME], "wants an acme_store"),
        (vec!["--acme-domain", "*.example", "--acme-store", "x"], "no *"),
        (vec!["--acme-domain", NAME, "--acme-store", "/proc/nowhere"], "/proc/nowhere"),
        (vec!["--acme-domain", NAME, "--acme-store", "x", "--acme-challenge", "http-01"], "wants redirect_http"),
        (vec!["--acme-domain", NAME, "--acme-store", "x", "--tls-certificate", right, "--tls-key", secret], "choose one"),
    ] {
        let ended = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["serve", "--dev", "--http", "127.0.0.1:0", "--media-port", "0"])
            .args(&options)
            .current_dir(&folder.0)
            .output();
        let ended = tokio::time::timeout(SOON, ended).await.expect("ends").expect("runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains(why), "{options:?}: {said}");
    }
}

/// An ACME server, and the names that it looks up.
struct Pebble {
    directory: String,
    management: SocketAddr,
    authority: Authority,
    ca: std::path::PathBuf,
    programs: [Child; 2],
}

impl Pebble {
    /// One that looks for challenges at these ports of this machine, and gives certificates that are valid for `seconds`.
    async fn start(folder: &Folder, http: u16, https: u16, seconds: u32) -> Self {
        let port = || SocketAddr::from((Ipv4Addr::LOCALHOST, lasting_port()));
        let (listen, management, dns, names) = (port(), port(), port(), port());
        let (certificate, key) = (folder.0.join("pebble.pem"), folder.0.join("pebble.key"));
        let authority = Authority::new();
        authority.give("localhost", &certificate, &key);
        let ca = folder.0.join("ca.pem");
        std::fs::write(&ca, &authority.pem).expect("written");
        let config = serde_json::json!({ "pebble": {
            "listenAddress": listen.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": certificate,
            "privateKey": key,
            "httpPort": http,
            "tlsPort": https,
            "certificateValidityPeriod": seconds,
        }});
        let file = folder.0.join("pebble.json");
        std::fs::write(&file, config.to_string()).expect("written");
        let start = |program: &str, arguments: &[&str]| {
            Command::new(program)
                .args(arguments)
                .env("PEBBLE_VA_NOSLEEP", "1")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it on Debian (package pebble)"))
        };
        let off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""];
        let at = ["-dns01", &dns.to_string(), "-management", &names.to_string()];
        let resolver = start("pebble-challtestsrv", &[&off[..], &at].concat());
        let server = start("pebble", &["-config", file.to_str().expect("a path"), "-dnsserver", &dns.to_string()]);
        for address in [listen, names] {
            let deadline = Instant::now() + SOON;
            while TcpStream::connect(address).await.is_err() {
                assert!(Instant::now() < deadline, "nothing listens at {address}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Self { directory: format!("https://localhost:{}/dir", listen.port()), management, authority, ca, programs: [resolver, server] }
    }

    /// Whom its certificates come from.
    async fn root(&self) -> String {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let config = config.with_root_certificates(store).with_no_client_auth();
        let stream = TcpStream::connect(self.management).await.expect("reachable");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
        let answer = ask(stream, "/roots/0", "localhost").await;
        answer[answer.find("-----BEGIN").expect("a certificate")..].to_owned()
    }
}

/// A certificate comes, is renewed while a WebSocket stays, and is there at once after a restart.
async fn issue_and_renew(challenge: &str) {
    let folder = Folder::new(&format!("acme-{challenge}"));
    let (https, http) = (lasting_port(), lasting_port());
    let mut pebble = Pebble::start(&folder, http, https, 12).await;
    let directory = pebble.directory.clone();
    let ca = pebble.ca.clone();
    let roots = pebble.root().await;
    let roots = roots.as_bytes();
    let store = folder.0.join("store");
    let redirect = format!("127.0.0.1:{http}");
    let options = [
        ["--acme-domain", NAME],
        ["--acme-directory", &directory],
        ["--acme-ca", ca.to_str().expect("a path")],
        ["--acme-store", store.to_str().expect("a path")],
        ["--acme-challenge", challenge],
        ["--redirect-http", &redirect],
    ]
    .concat();
    let at = format!("127.0.0.1:{https}");
    let mut server = Server::start_at(&at, 0, &options, Stdio::inherit()).await;
    let first = another(server.http, roots, None).await;
    let mut guest = Guest::join(server.http, roots).await;
    let sent_on = ask(TcpStream::connect(&redirect).await.expect("reachable"), "/r/demo", &format!("{NAME}:{http}")).await;
    assert!(sent_on.contains(&format!("location: https://{NAME}:{https}/r/demo\r\n")), "{sent_on}");
    let since = Instant::now();
    let second = another(server.http, roots, Some(&first)).await;
    assert!(since.elapsed() > Duration::from_secs(5), "renewed after {:?}, with 12 s to live", since.elapsed());
    guest.pings().await;

    // What is stored is nobody else's to read, and serves at once.
    use std::os::unix::fs::PermissionsExt;
    let files: Vec<_> = std::fs::read_dir(std::fs::read_dir(&store).expect("there").next().expect("one").expect("read").path())
        .expect("there")
        .map(|file| file.expect("read"))
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| file.metadata().expect("read").permissions().mode() & 0o077 == 0), "{files:?}");
    server.kill().await;
    for program in &mut pebble.programs {
        program.kill().await.expect("killed");
    }
    let server = Server::start_at(&at, 0, &options, Stdio::inherit()).await;
    let (_, stored) = tls(server.http, roots, &[]).await.expect("TLS without an ACME server");
    assert!(stored == second || stored != first, "the newest");
}

#[tokio::test(flavor = "multi_thread")]
async fn acme_by_tls() {
    issue_and_renew("tls-alpn-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acme_by_http() {
    issue_and_renew("http-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acme_server_that_finds_somebody_else_is_reported_with_its_reason() {
    let folder = Folder::new("acme-refused");
    // It looks where nobody listens.
    let pebble = Pebble::start(&folder, lasting_port(), lasting_port(), 3_600).await;
    let store = folder.0.join("store");
    let mut server = Server::start_with(
        &[
            ["--acme-domain", NAME],
            ["--acme-directory", &pebble.directory],
            ["--acme-ca", pebble.ca.to_str().expect("a path")],
            ["--acme-store", store.to_str().expect("a path")],
        ]
        .concat(),
        Stdio::piped(),
    )
    .await;
    let said = says(&mut log(&mut server), "no certificate from").await;
    assert!(said.contains("meet.example is not shown to be this server's") && said.contains("again_in=1m"), "{said}");
    assert!(tls(server.http, pebble.root().await.as_bytes(), &[]).await.is_err());
    assert!(server.get("/healthz").await.starts_with("HTTP/1.1 200"));
}
