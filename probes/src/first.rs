//! The guest as the first process of a machine of its own: what an init does before anything else can be done.

use std::{
    fs::{self, File},
    io,
    mem::zeroed,
    os::fd::AsRawFd,
};

use crate::{guest, setting, sys};

/// Hexadecimal set of capabilities to keep; every one where it is not set.
pub const KEEP_ENV: &str = "AWF_PROBE_KEEP";

/// Mounts what a guest expects, serves batches from the console, and switches the machine off.
///
/// The set of capabilities to keep is given up before the first batch: on a machine of its own nobody outside can.
pub fn serve() -> io::Result<()> {
    for (source, target, flags) in [
        ("proc", "/proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC),
        ("sysfs", "/sys", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC),
        ("devtmpfs", "/dev", libc::MS_NOSUID),
    ] {
        fs::create_dir_all(target)?;
        match sys::mount(source, target, source, flags, "") {
            // The kernel may have mounted it already.
            Err(e) if e.raw_os_error() != Some(libc::EBUSY) => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    for (target, data) in [("/dev/shm", "mode=1777"), ("/tmp", "mode=1777")] {
        fs::create_dir_all(target)?;
        sys::mount("tmpfs", target, "tmpfs", libc::MS_NOSUID | libc::MS_NODEV, data)?;
    }
    raw(0);
    // What a library writes to standard error would end up among the lines of the protocol.
    let nowhere = File::options().write(true).open("/dev/null")?;
    // SAFETY: both descriptors are open.
    unsafe { libc::dup2(nowhere.as_raw_fd(), 2) };
    loopback()?;
    std::env::set_current_dir("/home/agent")?;
    if let Ok(keep) = std::env::var(KEEP_ENV) {
        let keep = u64::from_str_radix(&keep, 16).map_err(|e| io::Error::other(format!("{KEEP_ENV}: {e}")))?;
        setting::keep(keep)?;
    }
    let served = guest::serve();
    // SAFETY: the call takes no pointers. Without SYS_BOOT it is refused, and the kernel ends with its first process.
    unsafe { libc::reboot(libc::LINUX_REBOOT_CMD_POWER_OFF) };
    served
}

/// A terminal hands over bytes as they are, without echo, editing and signals.
fn raw(fd: i32) {
    // SAFETY: the structure is plain data; on a descriptor that is no terminal the calls are refused.
    unsafe {
        let mut settings: libc::termios = zeroed();
        if libc::tcgetattr(fd, &raw mut settings) == 0 {
            libc::cfmakeraw(&raw mut settings);
            libc::tcsetattr(fd, libc::TCSANOW, &raw const settings);
        }
    }
}

fn loopback() -> io::Result<()> {
    // SAFETY: the request is plain data of the size the call wants.
    unsafe {
        let socket =
            sys::check(libc::c_long::from(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)))?
                as i32;
        let mut request: libc::ifreq = zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let set = sys::check(libc::c_long::from(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request)));
        libc::close(socket);
        set.map(drop)
    }
}
