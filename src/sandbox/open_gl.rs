//! What OpenGL needs of the system: Mesa's and virglrenderer's libraries, with a GPU or in software.
//!
//! The lists were made by strace of the backend that starts OpenGL and draws, and by the kernel's
//! records of what was refused.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::Gid;

use super::system_calls::Rules;
use crate::render_nodes;

/// What is read below: libraries and their data, how the loader finds them, what drivers want to know of
/// processors and GPUs.
pub(super) const READ: [&str; 13] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/glvnd",
    "/etc/egl",
    "/etc/drirc",
    "/etc/vulkan",
    "/proc/self",
    "/proc/cpuinfo",
    "/sys/devices",
    "/sys/dev/char",
];

/// What is listed, to find GPUs.
pub(super) const DIRECTORIES: [&str; 2] = ["/dev/dri", "/sys/class/drm"];

/// What is written to.
pub(super) fn devices(render_node: Option<&Path>) -> Vec<PathBuf> {
    let mut devices = vec!["/dev/null".into(), "/dev/zero".into(), "/dev/udmabuf".into()];
    match render_node {
        Some(node) => devices.push(node.to_owned()),
        None => devices.extend(render_nodes::find().gpus),
    }
    devices
}

/// Groups, none of them root's, whose members may open devices that others may not: `render` as a rule,
/// and for `/dev/udmabuf` `kvm`.
pub(super) fn groups(render_node: Option<&Path>) -> Vec<Gid> {
    let mut groups: Vec<_> = devices(render_node).iter().filter_map(|path| group(path)).collect();
    groups.sort_unstable();
    groups.dedup();
    groups.into_iter().map(Gid::from_raw).collect()
}

/// The group that opens a device, if there is the device and not everybody may.
fn group(device: &Path) -> Option<u32> {
    const READ_AND_WRITE: u32 = 0o6;
    let metadata = std::fs::metadata(device).ok()?;
    let allowed = |shift: u32| metadata.mode() >> shift & READ_AND_WRITE == READ_AND_WRITE;
    let device = metadata.file_type().is_char_device();
    (device && metadata.gid() != 0 && allowed(3) && !allowed(0)).then_some(metadata.gid())
}

/// Calls that may be made with any arguments.
const ANYTHING: &[libc::c_long] = &[
    // Files, of those that Landlock leaves.
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_getcwd,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_flock,
    // Memory: also code that is made at run time.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    libc::SYS_mbind,
    // The GPU, and descriptors of what it has.
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_kcmp,
    // Threads.
    libc::SYS_exit,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_get_priority_max,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_getcpu,
    libc::SYS_tgkill,
    libc::SYS_prctl,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_clock_getres,
    libc::SYS_times,
    libc::SYS_getrusage,
    // Who and where this is.
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getppid,
    libc::SYS_prlimit64,
    libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
];

/// System calls of threads, of the loader, and of what drivers do, besides those of every backend.
pub(super) fn allowed() -> Result<Rules, seccompiler::BackendError> {
    use super::system_calls::rule;
    use seccompiler::SeccompCmpArgLen::{Dword, Qword};
    use seccompiler::SeccompCmpOp::{Eq, MaskedEq};

    // A thread, never a process.
    let flag = libc::CLONE_THREAD as u64;
    let thread = rule(&[(0, Qword, MaskedEq(flag), flag)])?;
    // virglrenderer's look at the socket of its render server.
    let (level, name) = (libc::SOL_SOCKET as u64, libc::SO_TYPE as u64);
    let socket_type = rule(&[(1, Dword, Eq, level), (2, Dword, Eq, name)])?;
    let mut rules =
        Rules::from([(libc::SYS_clone, vec![thread]), (libc::SYS_getsockopt, vec![socket_type])]);
    rules.extend(ANYTHING.iter().map(|call| (*call, vec![])));
    Ok(rules)
}

/// Calls that are tried, such as for a cache of shaders in the home directory, and have another way.
pub(super) const REFUSED: &[libc::c_long] = &[
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_renameat2,
    libc::SYS_perf_event_open,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
];
