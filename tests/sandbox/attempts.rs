//! What somebody who has taken over the backend would try, call by call.

use std::io;

/// One call, by number and arguments, and whether it succeeds for an ordinary user who is not
/// confined. Those that need root, a device or luck do not.
pub struct Attempt {
    pub name: &'static str,
    pub ordinary: bool,
    run: fn() -> io::Result<i64>,
}

/// A system call.
///
/// Every pointer in `arguments` is to memory that lives until it returns.
fn call(number: libc::c_long, arguments: &[usize]) -> io::Result<i64> {
    let argument = |index| arguments.get(index).copied().unwrap_or(0);
    let (a, b, c) = (argument(0), argument(1), argument(2));
    let (d, e, f) = (argument(3), argument(4), argument(5));
    // SAFETY: pointers are as the kernel wants them, see above; what a call does to this process is
    // what it is made for, and the process ends after it.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// A call that makes another process: the other one ends at once.
fn fork(number: libc::c_long, arguments: &[usize]) -> io::Result<i64> {
    let result = call(number, arguments);
    if matches!(result, Ok(0)) {
        std::process::exit(0);
    }
    result
}

fn path(text: &'static std::ffi::CStr) -> usize {
    text.as_ptr() as usize
}

fn parent() -> usize {
    std::os::unix::process::parent_id() as usize
}

const HERE: usize = libc::AT_FDCWD as usize;
const PASSWD: &std::ffi::CStr = c"/etc/passwd";
const PAGE: usize = 4096;

macro_rules! attempts {
    ($($kind:ident $name:literal: $run:expr;)*) => {
        /// All of them.
        pub const ATTEMPTS: &[Attempt] = &[$(Attempt {
            name: $name,
            ordinary: stringify!($kind).len() == "ordinary".len(),
            run: || $run,
        }),*];
    };
}

attempts! {
    // Files.
    ordinary "open a file": call(libc::SYS_openat, &[HERE, path(PASSWD)]);
    special "open one by its number": call(libc::SYS_openat2, &[HERE, path(PASSWD), 0, 24]);
    special "open the memory": call(libc::SYS_openat, &[HERE, path(c"/dev/mem"), libc::O_RDWR as usize]);
    special "open the module": call(libc::SYS_openat, &[HERE, path(c"/dev/virtio-loopback"), libc::O_RDWR as usize]);
    ordinary "open its own memory map": call(libc::SYS_openat, &[HERE, path(c"/proc/self/maps")]);
    ordinary "make a file": call(libc::SYS_openat, &[HERE, path(c"/tmp"), (libc::O_TMPFILE | libc::O_RDWR) as usize, 0o600]);
    ordinary "look at a file": call(libc::SYS_faccessat, &[HERE, path(PASSWD)]);
    ordinary "read a link": call(libc::SYS_readlinkat, &[HERE, path(c"/proc/self/exe"), [0_u8; 64].as_mut_ptr() as usize, 64]);
    special "make a directory": call(libc::SYS_mkdirat, &[HERE, path(c"/tmp/of-the-sandbox")]);
    special "remove a file": call(libc::SYS_unlinkat, &[HERE, path(c"/tmp/of-the-sandbox")]);
    special "change a mode": call(libc::SYS_fchmodat, &[HERE, path(PASSWD), 0o777]);
    ordinary "change the directory": call(libc::SYS_chdir, &[path(c"/tmp")]);
    special "change the root": call(libc::SYS_chroot, &[path(c"/tmp")]);
    special "mount": call(libc::SYS_mount, &[path(c"none"), path(c"/mnt"), path(c"tmpfs")]);
    special "open a mount": call(libc::SYS_open_tree, &[HERE, path(c"/"), 1]);
    ordinary "watch files": call(libc::SYS_inotify_init1, &[0]);
    // Network.
    ordinary "a Unix socket": call(libc::SYS_socket, &[libc::AF_UNIX as usize, libc::SOCK_STREAM as usize]);
    ordinary "an internet socket": call(libc::SYS_socket, &[libc::AF_INET as usize, libc::SOCK_STREAM as usize]);
    ordinary "a netlink socket": call(libc::SYS_socket, &[libc::AF_NETLINK as usize, libc::SOCK_RAW as usize]);
    ordinary "a pair of sockets": call(libc::SYS_socketpair, &[libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, [0_i32; 2].as_mut_ptr() as usize]);
    special "connect": call(libc::SYS_connect, &[0, [0_u8; 16].as_ptr() as usize, 16]);
    special "accept": call(libc::SYS_accept4, &[0]);
    // Programs and code.
    ordinary "execute a program": call(libc::SYS_execve, &[path(c"/bin/false"), [0_usize; 1].as_ptr() as usize, [0_usize; 1].as_ptr() as usize]);
    special "execute a descriptor": call(libc::SYS_execveat, &[0, path(c""), 0, 0, libc::AT_EMPTY_PATH as usize]);
    ordinary "map code": call(libc::SYS_mmap, &[0, PAGE, (libc::PROT_READ | libc::PROT_EXEC) as usize, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize, usize::MAX]);
    ordinary "make memory code": {
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        let page = call(libc::SYS_mmap, &[0, PAGE, libc::PROT_READ as usize, flags, usize::MAX])?;
        call(libc::SYS_mprotect, &[page as usize, PAGE, (libc::PROT_READ | libc::PROT_EXEC) as usize])
    };
    // Processes.
    ordinary "make a process": fork(libc::SYS_clone, &[libc::SIGCHLD as usize]);
    special "make a process, the new way": fork(libc::SYS_clone3, &[[0_u64; 8].as_ptr() as usize, 64]);
    special "leave for a user namespace": call(libc::SYS_unshare, &[libc::CLONE_NEWUSER as usize]);
    special "enter a namespace": call(libc::SYS_setns, &[0]);
    special "debug the parent": call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE as usize, parent()]);
    special "read the parent's memory": call(libc::SYS_process_vm_readv, &[parent(), [0_usize; 2].as_ptr() as usize, 1, [0_usize; 2].as_ptr() as usize, 1]);
    ordinary "hold the parent": call(libc::SYS_pidfd_open, &[parent()]);
    special "take the parent's descriptors": call(libc::SYS_pidfd_getfd, &[0, 0]);
    ordinary "signal the parent": call(libc::SYS_kill, &[parent(), 0]);
    ordinary "signal a thread of the parent": call(libc::SYS_tgkill, &[parent(), parent(), 0]);
    ordinary "signal everybody": call(libc::SYS_kill, &[usize::MAX, 0]);
    ordinary "limit the parent": call(libc::SYS_prlimit64, &[parent(), libc::RLIMIT_CORE as usize]);
    ordinary "change its priority": call(libc::SYS_setpriority, &[0, 0, 19]);
    ordinary "have a descriptor signal": call(libc::SYS_fcntl, &[2, libc::F_SETOWN as usize, parent()]);
    // Privileges.
    special "become root": call(libc::SYS_setuid, &[0]);
    special "take capabilities": call(libc::SYS_capset, &[0, 0]);
    ordinary "be dumpable again": call(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as usize, 1]);
    ordinary "outlive the adapter": call(libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG as usize, 0]);
    // Parts of the kernel that are large.
    special "type into a terminal": call(libc::SYS_ioctl, &[2, libc::TIOCSTI as usize, path(c"x")]);
    special "another request of a device": call(libc::SYS_ioctl, &[0, 0x4030_4200]);
    special "bpf": call(libc::SYS_bpf, &[0, [0_u64; 16].as_ptr() as usize, 128]);
    special "performance events": call(libc::SYS_perf_event_open, &[[0_u64; 16].as_ptr() as usize]);
    special "rings of system calls": call(libc::SYS_io_uring_setup, &[1, [0_u64; 15].as_mut_ptr() as usize]);
    special "page faults": call(libc::SYS_userfaultfd, &[1]);
    special "keys": call(libc::SYS_keyctl, &[0, 1]);
    special "a module": call(libc::SYS_finit_module, &[0]);
    special "another kernel": call(libc::SYS_kexec_load, &[]);
    special "restart the machine": call(libc::SYS_reboot, &[0]);
    ordinary "shared memory": call(libc::SYS_shmget, &[0, PAGE, 0o600]);
    special "another filter": call(libc::SYS_seccomp, &[1, 0, [0_usize; 2].as_ptr() as usize]);
    special "a call that does not exist": call(1 << 20, &[]);
    // The other calls of a 64-bit machine, with pointers of 32 bits.
    special "x32": call(0x4000_0000 | libc::SYS_getpid, &[]);
}

/// Makes the attempt: 0 if it failed, 1 if it succeeded.
pub fn make(name: &str) -> i32 {
    let attempt = ATTEMPTS.iter().find(|attempt| attempt.name == name).expect("a known attempt");
    i32::from((attempt.run)().is_ok())
}
