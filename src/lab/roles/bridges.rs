//! What the host knows of a bridge's ports, and what is published on its loopback.

use std::{fs, net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

/// One entry of a bridge's forwarding table, as the kernel's `struct __fdb_entry` has it.
const ENTRY: usize = 16;

/// Hardware addresses the bridge has learned on its ports; its own and its ports' are not among them.
pub(super) fn learned(bridge: &str) -> Result<Vec<[u8; 6]>> {
    if bridge.is_empty() || bridge.contains(['/', '.']) {
        bail!("{bridge:?} is not a bridge's name")
    }
    let path = format!("/sys/class/net/{bridge}/brforward");
    let table = fs::read(&path).with_context(|| path)?;
    Ok(parse(&table))
}

/// Address, port, whether it is a port's own, age.
fn parse(table: &[u8]) -> Vec<[u8; 6]> {
    let foreign = table.chunks_exact(ENTRY).filter(|entry| entry[7] == 0);
    foreign.filter_map(|entry| entry[..6].try_into().ok()).collect()
}

/// What is said on a port of 127.0.0.1, up to a line's length.
pub(super) async fn knock(port: u16) -> Result<String> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut stream = timeout(PATIENCE, TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
        .await
        .context("no connection within 10 s")?
        .with_context(|| format!("connect to port {port} of 127.0.0.1"))?;
    let mut said = [0; 64];
    let n = timeout(PATIENCE, stream.read(&mut said)).await.context("nothing said within 10 s")?.context("read")?;
    if n == 0 {
        bail!("port {port} was closed without a word")
    }
    Ok(String::from_utf8_lossy(&said[..n]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_learned_counts() {
        let mut table = [0; 2 * ENTRY];
        table[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        table[7] = 1;
        table[ENTRY..ENTRY + 6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        assert_eq!(parse(&table), [[2, 0, 0, 0, 0, 2]]);
        assert!(learned("../../etc").is_err());
    }
}
