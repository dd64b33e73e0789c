//! AWF's rules on the host: a chain of the run's own for each guarded bridge, jumped to from DOCKER-USER.
//!
//! By the host's own `iptables`, which is the one the engine uses; where it has no DOCKER-USER the engine uses another
//! one or none, and nothing is made. Every jump names a bridge of the run, so no other traffic sees a rule of ours.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::wire::HostChain;

/// Commands that take away what was made, in order.
#[derive(Default)]
pub(super) struct HostRules(Vec<String>);

impl HostRules {
    /// Removes everything. The first failure is told, after all was tried.
    pub(super) fn remove(&mut self) -> Result<()> {
        let mut first = None;
        while let Some(command) = self.0.pop() {
            if let Err(e) = iptables(&command) {
                first = first.or(Some(e));
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Makes the rules of one bridge; what was made by a step is remembered before the next.
    pub(super) fn make(&mut self, run: &str, nth: usize, chain: &HostChain) -> Result<()> {
        let redirect = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").unwrap_or_default();
        if chain.redirect && redirect.trim() != "1" {
            bail!(
                "net.bridge.bridge-nf-call-iptables is not 1, so answers of the proxy would pass the host's \
                 translation by: load br_netfilter and set it to 1"
            );
        }
        iptables("-S DOCKER-USER")
            .context("the host's iptables has no chain DOCKER-USER: the engine does not use it")?;
        let (name, comment) = (format!("AWFP-{run}-{nth}"), format!("-m comment --comment awf-probe-{run}"));
        self.chain("", &name)?;
        for rule in filter(chain) {
            iptables(&format!("-A {name} {rule}"))?;
        }
        let jump = format!("DOCKER-USER -i {} {comment} -j {name}", chain.bridge);
        iptables(&format!("-I {jump}"))?;
        self.0.push(format!("-D {jump}"));
        if chain.redirect {
            self.chain("-t nat ", &name)?;
            for rule in nat(chain) {
                iptables(&format!("-t nat -A {name} {rule}"))?;
            }
            let jump = format!("PREROUTING -i {} -p tcp {comment} -j {name}", chain.bridge);
            iptables(&format!("-t nat -A {jump}"))?;
            self.0.push(format!("-t nat -D {jump}"));
        }
        Ok(())
    }

    /// Sabotage of the way to the witness: drops three of ten packets that are forwarded to this link, or lets them wait.
    pub(super) fn impair(&mut self, run: &str, link: &str, how: &str) -> Result<()> {
        match how {
            "loss" => {
                let name = format!("AWFP-{run}-loss");
                self.chain("", &name)?;
                iptables(&format!("-A {name} -m statistic --mode random --probability 0.3 -j DROP"))?;
                let jump = format!("DOCKER-USER -o {link} -m comment --comment awf-probe-{run} -j {name}");
                iptables(&format!("-I {jump}"))?;
                self.0.push(format!("-D {jump}"));
                Ok(())
            }
            // Goes with the link.
            "delay" => {
                let args =
                    ["qdisc", "add", "dev", link, "root", "tbf", "rate", "256kbit", "burst", "3000", "latency", "2s"];
                let out = Command::new("/usr/sbin/tc").args(args).stdin(Stdio::null()).output();
                let out = out.context("run the host's /usr/sbin/tc")?;
                if !out.status.success() {
                    bail!("tc {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim().replace('\n', "; "));
                }
                Ok(())
            }
            other => bail!("no sabotage of a link is called {other:?}: use loss or delay"),
        }
    }

    fn chain(&mut self, table: &str, name: &str) -> Result<()> {
        iptables(&format!("{table}-N {name}"))?;
        // Popped from the end: emptied first, then removed.
        self.0.push(format!("{table}-X {name}"));
        self.0.push(format!("{table}-F {name}"));
        Ok(())
    }
}

/// AWF's chain, in its order.
fn filter(chain: &HostChain) -> Vec<String> {
    let HostChain { proxy, port, resolver, .. } = chain;
    let mut rules = vec![
        format!("-s {proxy} -j ACCEPT"),
        "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT".to_owned(),
        "-o lo -j ACCEPT".to_owned(),
    ];
    rules.extend(["udp", "tcp"].map(|p| format!("-p {p} -d {resolver} --dport 53 -j ACCEPT")));
    rules.push(format!("-p tcp -d {proxy} --dport {port} -j ACCEPT"));
    rules.extend(chain.sidecars.iter().map(|(a, ports)| format!("-p tcp -d {a} --dport {ports} -j ACCEPT")));
    let reject = "-j REJECT --reject-with icmp-port-unreachable";
    rules.push(format!("-m addrtype --dst-type MULTICAST {reject}"));
    rules.extend(["169.254.0.0/16", "224.0.0.0/4"].map(|to| format!("-d {to} {reject}")));
    let log = "-m limit --limit 5/min --limit-burst 10 -j LOG --log-level 4 --log-prefix";
    rules.push(format!("-p udp {log} [FW_BLOCKED_UDP]"));
    rules.push(format!("-p udp {reject}"));
    rules.push(format!("{log} [FW_BLOCKED_OTHER]"));
    rules.push(reject.to_owned());
    rules
}

fn nat(chain: &HostChain) -> Vec<String> {
    let HostChain { proxy, port, subnet, .. } = chain;
    let mut rules = vec![format!("-s {proxy} -j RETURN"), format!("-d {subnet} -j RETURN")];
    rules.extend([80, 443].map(|p| format!("-p tcp --dport {p} -j DNAT --to-destination {proxy}:{port}")));
    rules
}

/// Every rule of the tables a run adds to, for the snapshot; none where there is no tool.
pub(super) fn listed() -> Vec<String> {
    let mut lines = Vec::new();
    for table in ["filter", "nat"] {
        let text = iptables(&format!("-t {table} -S")).unwrap_or_default();
        lines.extend(text.lines().map(|l| format!("iptables {table} {l}")));
    }
    lines
}

/// Removes chains and jumps of runs whose links are all gone, from what [`listed`] gave. Returns what was removed.
pub(super) fn sweep(listed: &[String], links: &BTreeSet<String>) -> Vec<String> {
    let of_dead = |line: &str| {
        let run = line.split("AWFP-").nth(1).and_then(|r| r.get(..8)).unwrap_or_default();
        run.len() == 8 && !links.iter().any(|l| l.starts_with(&format!("awfp{run}")))
    };
    let mut removed = Vec::new();
    for table in ["filter", "nat"] {
        let start = format!("iptables {table} ");
        let lines: Vec<&str> = listed.iter().filter_map(|l| l.strip_prefix(&start)).filter(|l| of_dead(l)).collect();
        let jumps = lines.iter().filter_map(|l| l.strip_prefix("-A ")).filter(|l| !l.starts_with("AWFP-"));
        let mut commands: Vec<String> = jumps.map(|j| format!("-t {table} -D {}", j.replace('"', ""))).collect();
        for name in lines.iter().filter_map(|l| l.strip_prefix("-N ")) {
            commands.extend(["-F", "-X"].map(|c| format!("-t {table} {c} {name}")));
        }
        removed.extend(commands.into_iter().filter(|c| iptables(c).is_ok()).map(|c| format!("iptables {c}")));
    }
    removed
}

/// One command of the host's iptables; its output.
fn iptables(command: &str) -> Result<String> {
    let args = ["-w", "5"].into_iter().chain(command.split(' '));
    let out = Command::new("/usr/sbin/iptables").args(args).stdin(Stdio::null()).output();
    let out = out.with_context(|| "run the host's /usr/sbin/iptables".to_owned())?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    bail!("iptables {command}: {}", String::from_utf8_lossy(&out.stderr).trim().replace('\n', "; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_denies_what_it_does_not_name() {
        let chain = HostChain {
            bridge: "awfp00000000g".to_owned(),
            subnet: "10.213.4.0/24".to_owned(),
            proxy: [10, 213, 4, 10].into(),
            port: 3128,
            resolver: [203, 0, 113, 53].into(),
            sidecars: vec![([10, 213, 4, 30].into(), "10000:10004".to_owned())],
            redirect: true,
        };
        let rules = filter(&chain);
        assert_eq!(rules.last().map(String::as_str), Some("-j REJECT --reject-with icmp-port-unreachable"));
        assert!(rules.iter().any(|r| r.contains("10000:10004")));
        assert_eq!(nat(&chain).len(), 4);
    }
}
