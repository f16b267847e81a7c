//! Seccomp: the system calls of a running 2D backend, and no others.
//!
//! The list was made by strace of the backend under all tests of this program, from the first
//! request of a front-end on, and has what a panic and an abort need besides. Any other call kills
//! the process (SIGSYS; the kernel logs its number as audit type 1326): whoever makes it is not the
//! program that was started, and must not get to try the next one. Only what libraries look for in
//! passing, such as files for a backtrace, is answered with an error instead.

use std::collections::BTreeMap;

use rustix::process::getpid;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::{Lacking, Lackings, Needs, SandboxError, open_gl, render_server, sys};

/// By call, what its arguments must meet: one of the rules; no rules for anything.
pub(super) type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// `PR_SET_VMA` of `linux/prctl.h`.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Leaves the process the calls it needs.
pub(super) fn restrict(needs: &Needs, lacking: &mut Lackings) -> Result<(), SandboxError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok();
    let (Some(arch), true) = (arch, sys::has_seccomp_filters()) else {
        return lacking.add(Lacking::Seccomp);
    };
    // Of all filters' verdicts the strictest counts. The last one forbids another.
    for filter in filters(needs, arch).map_err(Error::Backend)? {
        seccompiler::apply_filter(&filter)?;
    }
    Ok(())
}

/// Those that answer some calls with an error, and one that kills on all that no list has.
fn filters(needs: &Needs, arch: TargetArch) -> Result<Vec<BpfProgram>, BackendError> {
    let mut all = allowed()?;
    let mut refused = answered_with_an_error()?;
    let mut missing = Rules::new();
    if *needs != Needs::TwoD {
        let mut more = open_gl::allowed()?;
        if let Needs::RenderServer { .. } = needs {
            more.extend(render_server::allowed()?);
        }
        refused.retain(|call, _| !more.contains_key(call));
        refused.extend(open_gl::REFUSED.iter().map(|call| (*call, vec![])));
        // Its flags are in memory, where no filter sees them: libraries go back to `clone`.
        missing.insert(libc::SYS_clone3, vec![]);
        all.extend(more);
    }
    all.extend(refused.clone());
    all.extend(missing.clone());
    let answer = |rules: Rules, errno: i32| {
        let answer = SeccompAction::Errno(errno as u32);
        SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)?.try_into()
    };
    let mut filters = vec![answer(refused, libc::EACCES)?];
    if !missing.is_empty() {
        filters.push(answer(missing, libc::ENOSYS)?);
    }
    let (kill, allow) = (SeccompAction::KillProcess, SeccompAction::Allow);
    filters.push(SeccompFilter::new(all, kill, allow, arch)?.try_into()?);
    Ok(filters)
}

/// What the backend does.
fn allowed() -> Result<Rules, BackendError> {
    let mut rules = Rules::from([
        // The loop: kicks and sockets; the rest of a message; a display that is slow.
        (libc::SYS_epoll_create1, vec![]),
        (libc::SYS_epoll_pwait, vec![]),
        (libc::SYS_epoll_ctl, vec![]),
        (libc::SYS_ppoll, vec![]),
        // What wakes it when a renderer signals a fence.
        (libc::SYS_eventfd2, vec![]),
        // The vhost-user and the display socket.
        (libc::SYS_recvmsg, vec![]),
        (libc::SYS_sendmsg, vec![]),
        (libc::SYS_recvfrom, vec![]),
        // Call eventfds, the log; pixels for a display that wants copies; what a signal's handler wrote.
        (libc::SYS_read, vec![]),
        (libc::SYS_pread64, vec![]),
        (libc::SYS_write, vec![]),
        // Pixel memory, and how large the driver's memory is.
        (libc::SYS_memfd_create, vec![]),
        (libc::SYS_ftruncate, vec![]),
        (libc::SYS_fstat, vec![]),
        (libc::SYS_close, vec![]),
        // The heap, and mappings of both kinds of memory.
        (libc::SYS_brk, vec![]),
        (libc::SYS_munmap, vec![]),
        (libc::SYS_mremap, vec![]),
        (libc::SYS_madvise, vec![]),
        // Locks that are contended; never, with one thread, but the code is there.
        (libc::SYS_futex, vec![]),
        (libc::SYS_sched_yield, vec![]),
        // Keys of hash maps, UUIDs of resources.
        (libc::SYS_getrandom, vec![]),
        // Where the clock source is not readable from user space.
        (libc::SYS_clock_gettime, vec![]),
        (libc::SYS_clock_nanosleep, vec![]),
        // The return from a signal's handler, and a wait that a signal interrupted.
        (libc::SYS_rt_sigreturn, vec![]),
        (libc::SYS_restart_syscall, vec![]),
        // The end: exit, a panic, an abort.
        (libc::SYS_exit_group, vec![]),
        (libc::SYS_sigaltstack, vec![]),
        (libc::SYS_rt_sigprocmask, vec![]),
        (libc::SYS_rt_sigaction, vec![]),
        (libc::SYS_getpid, vec![]),
        (libc::SYS_gettid, vec![]),
    ]);
    rules.extend(allowed_by_arguments()?);
    Ok(rules)
}

/// Calls that can do much, of which the backend needs little.
fn allowed_by_arguments() -> Result<Rules, BackendError> {
    let own = getpid().as_raw_nonzero().get();
    // How many bytes a socket has.
    let ioctl = [rule(&[(1, Dword, Eq, libc::FIONREAD)])?];
    // Another handle of a socket; seals of pixel memory; the standard library's look at what it
    // closes.
    let fcntl = [libc::F_DUPFD_CLOEXEC, libc::F_ADD_SEALS, libc::F_GET_SEALS, libc::F_GETFD];
    let fcntl = fcntl.map(|command| rule(&[(1, Dword, Eq, command as u64)]));
    // Memory, never code.
    let no_code = [rule(&[(2, Dword, MaskedEq(libc::PROT_EXEC as u64), 0)])?];
    // A signal's handler wakes the loop: without an address, so to the other end.
    let sendto = [rule(&[(4, Qword, Eq, 0)])?];
    // How long the display may block a send.
    let (level, name) = (libc::SOL_SOCKET as u64, libc::SO_SNDTIMEO as u64);
    let setsockopt = [rule(&[(1, Dword, Eq, level), (2, Dword, Eq, name)])?];
    // abort().
    let tgkill = [rule(&[(0, Dword, Eq, own as u64), (2, Dword, Eq, libc::SIGABRT as u64)])?];
    Ok(Rules::from([
        (libc::SYS_ioctl, ioctl.into()),
        (libc::SYS_fcntl, fcntl.into_iter().collect::<Result<_, _>>()?),
        (libc::SYS_mmap, no_code.clone().into()),
        (libc::SYS_mprotect, no_code.into()),
        (libc::SYS_sendto, sendto.into()),
        (libc::SYS_setsockopt, setsockopt.into()),
        (libc::SYS_tgkill, tgkill.into()),
    ]))
}

/// What libraries do in passing, and can do without.
fn answered_with_an_error() -> Result<Rules, BackendError> {
    Ok(Rules::from([
        // A panic's backtrace wants the executable, its mappings and the directory.
        (libc::SYS_openat, vec![]),
        (libc::SYS_readlinkat, vec![]),
        (libc::SYS_getcwd, vec![]),
        (libc::SYS_newfstatat, vec![]),
        (libc::SYS_statx, vec![]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, vec![]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_readlink, vec![]),
        // A name for a mapping.
        (libc::SYS_prctl, vec![rule(&[(0, Dword, Eq, PR_SET_VMA)])?]),
    ]))
}

/// What arguments must be, by index: all of it.
pub(super) fn rule(
    conditions: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)],
) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.iter().cloned().map(|(index, length, operator, value)| {
        SeccompCondition::new(index, length, operator, value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}
