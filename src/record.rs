//! A journal, sorted for judging: who saw what in which scenario, and every packet. Pure.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use awf_probe_matrix::{Fact, Host, Leftovers, Outcome, RunInfo, RuntimeRow, Sent, Source};

use crate::{
    engine::command::UNSUPPORTED,
    event::{Event, PlannedCell},
    lab::roles::wire::{Packet, Process},
};

/// One observation and its line in the journal.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What.
    pub fact: Fact,
    /// Address of the sandbox.
    pub address: Option<IpAddr>,
    /// 1-based line.
    pub line: u64,
}

/// What is known of one scenario of one runtime.
#[derive(Clone, Debug, Default)]
pub struct ScenarioRecord {
    /// Facts by source and name. Of the engine's the later one counts; a guest's that differ are broken.
    pub facts: BTreeMap<(Source, String), Seen>,
    /// Whether the ledgers are complete, in words, and the line that says so.
    pub drained: Option<(bool, String, u64)>,
    /// What went wrong: stage, why, line.
    pub problems: Vec<(String, String, u64)>,
    /// Whether a sandbox started.
    pub started: bool,
    /// Address of the agent.
    pub address: Option<IpAddr>,
    /// Place of its first unexplained packet; asked for by every cell of the scenario.
    unexplained: OnceCell<Option<usize>>,
}

/// A ledger line.
#[derive(Clone, Debug)]
pub struct LedgerLine {
    /// `witness`, `proxy`, `tap`.
    pub at: String,
    /// The packet.
    pub packet: Packet,
    /// 1-based line.
    pub line: u64,
}

/// A request that the witness's server, a sidecar's or the host's door answered: client, host header, path, line.
pub type HttpLine = (IpAddr, String, String, u64);

/// A name the witness's resolver was asked for: client, resolver, name, line.
pub type DnsLine = (IpAddr, IpAddr, String, u64);

/// A decision of the proxy.
#[derive(Clone, Debug)]
pub struct DecisionLine {
    /// Who asked.
    pub client: IpAddr,
    /// Method and target.
    pub target: String,
    /// Status.
    pub status: u16,
    /// The decision.
    pub decision: String,
    /// 1-based line.
    pub line: u64,
}

/// Everything a run observed.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The run.
    pub run: RunInfo,
    /// The host.
    pub host: Host,
    /// Runtimes asked for.
    pub runtimes: Vec<RuntimeRow>,
    /// Cells that must get a verdict.
    pub plan: Vec<PlannedCell>,
    /// By runtime and scenario.
    pub scenarios: BTreeMap<(String, String), ScenarioRecord>,
    /// Host processes by runtime.
    pub processes: BTreeMap<String, Vec<Process>>,
    /// All packets.
    pub packets: Vec<LedgerLine>,
    /// All requests.
    pub http: Vec<HttpLine>,
    /// All decisions.
    pub decisions: Vec<DecisionLine>,
    /// All names asked for.
    pub dns: Vec<DnsLine>,
    /// Places of packets with a nonce.
    by_nonce: HashMap<String, Vec<usize>>,
    /// Places of packets by source.
    by_source: HashMap<IpAddr, Vec<usize>>,
    /// The proxy's addresses.
    pub proxies: Vec<IpAddr>,
    /// The approved resolver.
    pub resolver: Option<IpAddr>,
    /// What allowed names resolve to.
    pub allowed: Option<IpAddr>,
    /// Lab frames where none belong.
    pub tripwire: Vec<(Packet, u64)>,
    /// What is left on the host.
    pub leftovers: Leftovers,
}

impl Record {
    /// Sorts a journal.
    pub fn new(events: &[Event]) -> Self {
        let mut record = Self::default();
        for (i, event) in events.iter().enumerate() {
            record.take(event, i as u64 + 1);
        }
        record
    }

    fn scenario(&mut self, runtime: &str, scenario: &str) -> &mut ScenarioRecord {
        self.scenarios.entry((runtime.to_owned(), scenario.to_owned())).or_default()
    }

    fn take(&mut self, event: &Event, line: u64) {
        match event {
            Event::RunStarted { run, host, runtimes, plan, .. } => {
                self.run = run.clone();
                self.host = host.clone();
                self.runtimes = runtimes.clone();
                self.plan = plan.clone();
            }
            Event::LabUp { document, lab, proxy, proxy_addresses, resolver, allowed } => {
                self.allowed = *allowed;
                self.resolver = Some(*resolver);
                self.run.document_range.clone_from(document);
                self.run.lab.clone_from(lab);
                self.run.proxy.clone_from(proxy);
                self.proxies.clone_from(proxy_addresses);
            }
            Event::SandboxStarted { runtime, scenario, role, address, create_ms, start_ms, .. } => {
                let s = self.scenario(runtime, scenario);
                if role == "agent" {
                    s.started = true;
                    s.address = *address;
                }
                *self.run.timings.entry("create".to_owned()).or_default() += create_ms.saturating_sub(*start_ms);
                *self.run.timings.entry("start".to_owned()).or_default() += start_ms;
            }
            Event::SandboxDied { runtime, scenario, why, .. } => {
                self.scenario(runtime, scenario).problems.push(("died".to_owned(), why.clone(), line));
            }
            Event::Observed { runtime, scenario, source, fact, address } => {
                let source = match source.as_str() {
                    "guest" => Source::Guest,
                    "engine" => Source::Engine,
                    "host" => Source::Host,
                    _ => return,
                };
                let mut seen = Seen { fact: fact.clone(), address: *address, line };
                let facts = &mut self.scenario(runtime, scenario).facts;
                let key = (source, fact.name.clone());
                // A guest that contradicts itself is believed neither time; what the first report sent is still its.
                if let (Source::Guest, Some(first)) = (source, facts.get(&key))
                    && first.fact != *fact
                {
                    let outcome =
                        Outcome::broken(format!("reported twice: {}, then {}", first.fact.outcome, fact.outcome));
                    seen = Seen { fact: Fact { outcome, ..first.fact.clone() }, ..first.clone() };
                }
                facts.insert(key, seen);
            }
            Event::Phase { phase, ms, .. } => *self.run.timings.entry(phase.clone()).or_default() += ms,
            Event::HostProcesses { runtime, chain } => {
                self.processes.insert(runtime.clone(), chain.clone());
            }
            Event::Packet { at, packet } if at == "tripwire" => self.tripwire.push((packet.clone(), line)),
            Event::Packet { at, packet } => {
                let place = self.packets.len();
                if !packet.nonce.is_empty() {
                    self.by_nonce.entry(packet.nonce.clone()).or_default().push(place);
                }
                self.by_source.entry(packet.src).or_default().push(place);
                self.packets.push(LedgerLine { at: at.clone(), packet: packet.clone(), line });
            }
            Event::Dns { client, server, name, .. } => self.dns.push((*client, *server, name.clone(), line)),
            Event::Http { client, host, path, .. } => {
                self.http.push((*client, host.clone(), path.clone(), line));
            }
            Event::Decision { client, method, target, status, decision } => {
                let target = format!("{method} {target}");
                self.decisions.push(DecisionLine {
                    client: *client,
                    target,
                    status: *status,
                    decision: decision.clone(),
                    line,
                });
            }
            Event::Drained { runtime, scenario, ok, why } => {
                self.scenario(runtime, scenario).drained = Some((*ok, why.clone(), line));
            }
            Event::Problem { runtime, scenario, stage, why } => {
                self.scenario(runtime, scenario).problems.push((stage.clone(), why.clone(), line));
            }
            Event::Cleaned { leftovers } => self.leftovers = leftovers.clone(),
            Event::RunFinished { elapsed_ms, complete, .. } => {
                self.run.elapsed_ms = *elapsed_ms;
                self.run.complete = *complete;
            }
        }
    }

    /// A scenario's record, if it took place.
    pub fn get(&self, runtime: &str, scenario: &str) -> Option<&ScenarioRecord> {
        self.scenarios.get(&(runtime.to_owned(), scenario.to_owned()))
    }

    /// Why the engine cannot make a scenario, if so: then nothing in it says anything of the runtime.
    pub fn unsupported(&self, runtime: &str, scenario: &str) -> Option<(&str, u64)> {
        let problems = &self.get(runtime, scenario)?.problems;
        problems.iter().find(|(stage, ..)| stage == UNSUPPORTED).map(|(_, why, line)| (why.as_str(), *line))
    }

    /// Packets of an attempt at one place: by nonce, or by the addresses and ports the guest reported.
    pub fn sightings<'a>(&'a self, at: &'a str, seen: &'a Seen) -> impl Iterator<Item = &'a LedgerLine> {
        let nonce = seen.fact.sent.as_ref().map(|s| s.nonce.as_str()).unwrap_or_default();
        let mut places: Vec<usize> = self.by_nonce.get(nonce).into_iter().flatten().copied().collect();
        places.extend(seen.address.and_then(|a| self.by_source.get(&a)).into_iter().flatten());
        places.sort_unstable();
        places.dedup();
        let lines = places.into_iter().map(|p| &self.packets[p]);
        lines.filter(move |l| l.at == at && is_of(&l.packet, seen, at) && self.is_not_anothers(l, seen))
    }

    /// Packets with this source.
    pub fn from(&self, source: Option<IpAddr>) -> impl Iterator<Item = &LedgerLine> {
        let places = source.and_then(|a| self.by_source.get(&a)).into_iter().flatten();
        places.map(|p| &self.packets[*p])
    }

    /// Packets with this nonce.
    pub fn with_nonce(&self, nonce: &str) -> impl Iterator<Item = &LedgerLine> {
        self.by_nonce.get(nonce).into_iter().flatten().map(|p| &self.packets[*p])
    }

    /// A kernel may use a source port for two destinations at once, and DNAT makes one of them. A flow whose payload
    /// carries another attempt's nonce, and never this one's, is that other attempt's; so is one that acknowledged at
    /// the proxy, where this one's connection timed out.
    fn is_not_anothers(&self, line: &LedgerLine, seen: &Seen) -> bool {
        let Some(sent) = &seen.fact.sent else { return false };
        let (p, mut others) = (&line.packet, false);
        if sent.nonce.is_empty() || p.nonce == sent.nonce {
            return true;
        }
        // At the witness every packet to its destination counts, however late.
        let unanswered = line.at == "proxy" && p.proto == 6 && matches!(seen.fact.outcome, Outcome::TimedOut { .. });
        for l in self.from(Some(p.src)).filter(|l| l.at == line.at) {
            let q = &l.packet;
            if (q.src, q.sport, q.dst, q.dport, q.proto) == (p.src, p.sport, p.dst, p.dport, p.proto) {
                if q.nonce == sent.nonce {
                    return true;
                }
                others |= !q.nonce.is_empty() || unanswered && q.flags.contains('A');
            }
        }
        !others
    }

    /// A packet of a sandbox at the witness that no attempt of its scenario explains.
    pub fn unexplained(&self, scenario: &ScenarioRecord) -> Option<&LedgerLine> {
        let place = scenario.unexplained.get_or_init(|| {
            let sent: Vec<_> = scenario.facts.values().filter_map(|s| s.fact.sent.as_ref()).collect();
            let mut places = self.by_source.get(&scenario.address?)?.iter().copied();
            places.find(|p| self.packets[*p].at == "witness" && !self.explained(&self.packets[*p].packet, &sent))
        });
        place.map(|p| &self.packets[p])
    }

    /// Whether it goes to the approved resolver, or where one of the attempts went.
    fn explained(&self, p: &Packet, sent: &[&Sent]) -> bool {
        // One port, or any of them: a sweep.
        let of = |s: &&Sent| {
            let there = p.proto == s.proto && (p.dport == s.dport || s.dport == 0);
            // A later fragment has no ports.
            let fragment = p.proto == s.proto && (p.sport, p.dport) == (0, 0);
            // An ICMP error about an answer that came too late goes back to where the answer came from.
            p.dst == s.dst && (there || fragment || matches!(p.proto, 1 | 58))
        };
        Some(p.dst) == self.resolver && p.dport == 53 || sent.iter().any(of)
    }

    /// Whether a host-side ledger has seen this sandbox at all, so that its silence elsewhere means something.
    pub fn was_heard(&self, scenario: &ScenarioRecord) -> bool {
        self.from(scenario.address).any(|l| l.at == "proxy" || l.at == "witness")
    }

    /// Why what a scenario's sandbox shows must not be taken for the runtime's, if so: the engine names another
    /// runtime for it, or its kernel is not the one identity was proved for.
    pub fn stranger(&self, runtime: &str, scenario: &ScenarioRecord) -> Option<String> {
        let tasks = |s: &ScenarioRecord| match &s.facts.get(&(Source::Host, "comm.found".to_owned()))?.fact.outcome {
            Outcome::Value { value } => value.parse::<u64>().ok(),
            _ => None,
        };
        match scenario.facts.get(&(Source::Engine, "runtime.asked".to_owned())).map(|s| &s.fact.outcome) {
            Some(Outcome::Allowed { .. }) => {}
            Some(other) => return Some(format!("of this sandbox the engine says: {other}")),
            None => return Some("the engine was not asked which runtime this sandbox has".to_owned()),
        }
        match (tasks(scenario), self.get(runtime, "plain").and_then(tasks)) {
            (Some(a), Some(b)) if (a > 0) == (b > 0) => None,
            (Some(_), Some(_)) => {
                Some("this sandbox has another kernel than the one whose identity was proved".to_owned())
            }
            _ => Some("the host was not asked whose kernel this sandbox has".to_owned()),
        }
    }
}

fn is_of(packet: &Packet, seen: &Seen, at: &str) -> bool {
    let Some(sent) = &seen.fact.sent else { return false };
    if !sent.nonce.is_empty() && packet.nonce == sent.nonce {
        return true;
    }
    // Without a payload (a SYN): the agent's address and its source port; at the witness the destination too.
    // At the proxy the destination has been rewritten.
    let flow =
        seen.address == Some(packet.src) && packet.proto == sent.proto && sent.sport != 0 && packet.sport == sent.sport;
    flow && (at == "proxy" || packet.dst == sent.dst && packet.dport == sent.dport)
}

/// Whether a guest's outcome shows that the attempt was made at all.
pub fn was_made(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Allowed { .. } | Outcome::Refused { .. } | Outcome::TimedOut { .. } => true,
        Outcome::Killed { .. }
        | Outcome::Value { .. }
        | Outcome::Absent { .. }
        | Outcome::Skipped { .. }
        | Outcome::Broken { .. } => false,
    }
}
