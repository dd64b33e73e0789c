//! A program of a hundred bytes that exits with its effective user id: whether a file can be executed, and whether its
//! setuid bit counts, at the cost of one execve(2).

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
};

use awf_probe_matrix::Outcome;

use crate::sys;

/// geteuid(2), then exit(2) with what it returned.
#[cfg(target_arch = "x86_64")]
const CODE: &[u8] = &[
    0xb8, 107, 0, 0, 0, // mov eax, 107 (geteuid)
    0x0f, 0x05, // syscall
    0x89, 0xc7, // mov edi, eax
    0xb8, 60, 0, 0, 0, // mov eax, 60 (exit)
    0x0f, 0x05, // syscall
];
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;

/// geteuid(2), then exit(2) with what it returned.
#[cfg(target_arch = "aarch64")]
const CODE: &[u8] = &[
    0xe8, 0x15, 0x80, 0xd2, // mov x8, 175 (geteuid)
    0x01, 0x00, 0x00, 0xd4, // svc 0
    0xa8, 0x0b, 0x80, 0xd2, // mov x8, 93 (exit)
    0x01, 0x00, 0x00, 0xd4, // svc 0
];
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// The file's bytes.
fn image() -> Vec<u8> {
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let total = HEADERS + CODE.len() as u64;
    let half = |out: &mut Vec<u8>, v: &[u16]| v.iter().for_each(|v| out.extend(v.to_le_bytes()));
    let word = |out: &mut Vec<u8>, v: &[u32]| v.iter().for_each(|v| out.extend(v.to_le_bytes()));
    let long = |out: &mut Vec<u8>, v: &[u64]| v.iter().for_each(|v| out.extend(v.to_le_bytes()));
    half(&mut out, &[2, MACHINE]);
    word(&mut out, &[1]);
    long(&mut out, &[BASE + HEADERS, 64, 0]);
    word(&mut out, &[0]);
    half(&mut out, &[64, 56, 1, 0, 0, 0]);
    // One segment: readable and executable.
    word(&mut out, &[1, 5]);
    long(&mut out, &[0, BASE, BASE, total, total, 0x1000]);
    out.extend(CODE);
    out
}

/// Writes it with this mode.
pub(crate) fn write(path: &str, mode: u32) -> io::Result<()> {
    fs::write(path, image())?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Executes it as a user. The exit status is the lowest byte of the effective user id.
pub(crate) fn run_as(path: &str, uid: u32) -> io::Result<Option<i32>> {
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).uid(uid).gid(uid);
    command.status().map(|s| s.code())
}

/// Whether it can be executed at all.
pub(crate) fn executes(path: &str) -> Outcome {
    match write(path, 0o755).and_then(|()| run_as(path, 0)) {
        Ok(Some(0)) => Outcome::allowed(format!("{path} runs")),
        Ok(other) => Outcome::broken(format!("{path} exited with {other:?}")),
        Err(e) => sys::refused(&e, format!("execve {path}")),
    }
}

/// Whether its setuid bit makes another user root.
pub(crate) fn gains(path: &str) -> Outcome {
    const USER: u32 = 1001;
    match write(path, 0o4755).and_then(|()| run_as(path, USER)) {
        Ok(Some(0)) => Outcome::allowed("effective user 0"),
        Ok(Some(n)) if n == (USER & 0xff) as i32 => {
            Outcome::refused(format!("euid {USER}"), "the setuid bit gained nothing")
        }
        Ok(other) => Outcome::broken(format!("{path} exited with {other:?}")),
        Err(e) => Outcome::broken(format!("execve {path}: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_and_says_who_it_is() {
        let path = std::env::temp_dir().join(format!("awf-probe-tiny-{}", std::process::id()));
        let path = path.to_str().expect("a path");
        write(path, 0o755).expect("written");
        let own = rustix::process::geteuid().as_raw();
        let status = Command::new(path).status().expect("executed").code();
        fs::remove_file(path).expect("removed");
        assert_eq!(status, Some((own & 0xff) as i32));
    }
}
