//! awf-probe: what every OCI runtime of a host really does, and which one an agent firewall can trust.
//!
//! The library is the harness. `engine` and `lab` do everything that touches the world and write a journal;
//! `record` and `judge` turn a journal and the catalogue into verdicts, and touch nothing.

pub mod bench;
pub mod cli;
pub mod commands;
pub mod engine;
pub mod entry;
pub mod error;
pub mod event;
pub mod extra;
pub mod fingerprint;
pub mod given;
pub mod inventory;
pub mod journal;
pub mod judge;
pub mod kata;
pub mod lab;
pub mod plan;
pub mod progress;
pub mod record;
pub mod rehearsal;
pub mod sabotage;
pub mod scenario;
pub mod seccomp;
pub mod settings;
pub mod specs;

/// `n` random bytes as hexadecimal digits.
pub fn random_hex(n: usize) -> String {
    let mut bytes = vec![0; n];
    // Only fails on kernels without getrandom; then the process id keeps two runs apart.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        bytes.iter_mut().zip(std::process::id().to_le_bytes()).for_each(|(b, p)| *b = p);
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
