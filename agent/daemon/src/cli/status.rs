//! `status`: what the running agent does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use clap::Args;
use millrace_host::terminal::{self, Align, Table};
use millrace_host::{Exit, Failure};
use serde_json::Value;

use super::DataArgument;
use crate::places::Places;

const EXAMPLES: &str = "\
Examples:
  millrace-agent status
  millrace-agent status --data ./press-7 --json";

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Show what the running agent does.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusCommand {
    #[command(flatten)]
    data: DataArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl StatusCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// When no agent runs here, or it does not answer.
    pub fn run(self) -> Result<(), Failure> {
        let places = Places::new(&self.data.directory);
        let running = places.running().map_err(|_| {
            let what = format!("no agent runs in {}", places.root().display());
            Failure::new(Exit::Unavailable, what)
                .hint("name its directory with --data, or see `systemctl status millrace-agent`")
        })?;
        let status = ask(running.http).map_err(|error| {
            let what = format!("the agent (process {}) does not answer: {error}", running.pid);
            Failure::new(Exit::Unavailable, what).hint("see its log: journalctl -u millrace-agent")
        })?;
        if self.json {
            println!("{status}");
        } else {
            print!("{}", picture(&status));
        }
        Ok(())
    }
}

/// One request to loopback. HTTP/1.0, so that the answer ends with the connection.
fn ask(address: std::net::SocketAddr) -> std::io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /status HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let malformed = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| malformed("its answer is no HTTP"))?;
    if !head.lines().next().is_some_and(|line| line.contains(" 200 ")) {
        return Err(malformed(body.trim()));
    }
    Ok(serde_json::from_str(body)?)
}

fn picture(status: &Value) -> String {
    let text = |key: &str| status.pointer(key).and_then(Value::as_str).unwrap_or("–").to_owned();
    let number = |key: &str| status.pointer(key).and_then(Value::as_u64).unwrap_or(0);
    let yes = |key: &str| status.pointer(key).and_then(Value::as_bool).unwrap_or(false);
    let session = match text("/session").as_str() {
        "open" => format!("open with {} ({})", text("/hub"), text("/region")),
        other => match text("/trouble").as_str() {
            "–" => other.to_owned(),
            trouble => format!("{other}: {trouble}"),
        },
    };
    let mqtt = if yes("/mqtt/connected") { "connected".to_owned() } else { text("/mqtt/last_error") };
    let disk = format!(
        "{} of {}",
        terminal::bytes(number("/disk_used_bytes")),
        terminal::bytes(number("/disk_budget_bytes"))
    );
    let mut out = format!(
        "device   {} ({})\nsession  {session}\nmqtt     {mqtt}\ndisk     {disk}\nledger   {}\n\n",
        text("/name"),
        text("/device"),
        if yes("/balanced") { "balanced" } else { "DOES NOT BALANCE: report this as a bug" },
    );
    let columns = ["ingested", "acked", "pending", "evicted", "rejected"];
    let mut heads = vec![("lane", Align::Left)];
    heads.extend(columns.map(|column| (column, Align::Right)));
    let mut table = Table::new(&heads);
    for lane in status.get("lanes").and_then(Value::as_array).into_iter().flatten() {
        let name = lane.get("lane").and_then(Value::as_str).unwrap_or("–").to_owned();
        let count =
            |column: &str| lane.pointer(&format!("/ledger/{column}")).and_then(Value::as_u64).unwrap_or(0);
        table.row(std::iter::once(name).chain(columns.map(|column| count(column).to_string())));
    }
    out += &table.to_string();
    out
}
