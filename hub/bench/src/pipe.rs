//! The baseline of shipping: `cat` of raw bytes through TLS 1.3 over loopback into `dd conv=fsync`.
//!
//! The TLS ends are small Python programs around OpenSSL, because this workspace has TLS in one crate alone. Time runs from
//! the end of the handshake until `dd` has flushed and ended; starting the interpreters is not counted.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Accepts one connection and copies what comes to standard output. Prints its port to standard error.
const RECEIVER: &str = r#"
import os, socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], file=sys.stderr, flush=True)
raw, _ = listener.accept()
connection = context.wrap_socket(raw, server_side=True)
buffer = bytearray(1 << 20)
while True:
    count = connection.recv_into(buffer)
    if count == 0:
        break
    view = memoryview(buffer)[:count]
    while view:
        view = view[os.write(1, view):]
"#;

/// Connects, says so on standard error, and sends standard input.
const SENDER: &str = r#"
import os, socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.check_hostname = False
context.load_verify_locations(sys.argv[1])
connection = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[2]))))
print("connected", file=sys.stderr, flush=True)
while True:
    block = os.read(0, 1 << 18)
    if not block:
        break
    connection.sendall(block)
try:
    connection.unwrap()
except OSError:
    pass  # the receiver has everything and is gone
"#;

/// A certificate and its key.
pub(crate) struct Pipe {
    directory: PathBuf,
}

impl Pipe {
    /// Makes a certificate in `directory`.
    pub(crate) async fn new(directory: &Path) -> anyhow::Result<Self> {
        let pipe = Self { directory: directory.to_owned() };
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]);
        openssl.args(["-subj", "/CN=localhost", "-keyout"]).arg(pipe.file("key.pem"));
        openssl.arg("-out").arg(pipe.file("certificate.pem"));
        let made = openssl.stdin(Stdio::null()).output().await.context("openssl is not installed")?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(pipe.file("receiver.py"), RECEIVER)?;
        std::fs::write(pipe.file("sender.py"), SENDER)?;
        Ok(pipe)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// How long `source` takes through it until it is flushed at the far end.
    pub(crate) async fn carry(&self, source: &Path) -> anyhow::Result<Duration> {
        let target = self.file("copy");
        let receiver = r#"exec 3>&2; { python3 "$1" "$2" "$3" 2>&3; } | dd of="$4" bs=1M iflag=fullblock conv=fsync status=none"#;
        let mut receiving = shell(
            receiver,
            &[&self.file("receiver.py"), &self.file("certificate.pem"), &self.file("key.pem"), &target],
        )?;
        let port = line(&mut receiving).await?;
        let sender = r#"cat "$1" | python3 "$2" "$3" "$4""#;
        let mut sending = shell(
            sender,
            &[source, &self.file("sender.py"), &self.file("certificate.pem"), Path::new(port.trim())],
        )?;
        ensure!(line(&mut sending).await?.trim() == "connected", "the sender did not connect");
        let began = Instant::now();
        let ended = receiving.wait().await?;
        let took = began.elapsed();
        ensure!(ended.success() && sending.wait().await?.success(), "the pipe broke");
        let (sent, stored) = (std::fs::metadata(source)?.len(), std::fs::metadata(&target)?.len());
        ensure!(sent == stored, "{sent} bytes were sent, {stored} arrived");
        std::fs::remove_file(target)?;
        Ok(took)
    }
}

fn shell(script: &str, arguments: &[&Path]) -> anyhow::Result<Child> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg("sh").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(command.spawn()?)
}

/// The first line that a child writes to its standard error.
async fn line(child: &mut Child) -> anyhow::Result<String> {
    let stderr = child.stderr.take().context("the child's standard error")?;
    let mut reader = BufReader::new(stderr);
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    // What it says later is an error, and worth seeing; nobody waits for it.
    tokio::spawn(async move {
        let mut more = String::new();
        while matches!(reader.read_line(&mut more).await, Ok(1..)) {
            eprint!("    pipe: {more}");
            more.clear();
        }
    });
    Ok(line)
}
