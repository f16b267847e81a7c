//! What virglrenderer's render server needs besides what OpenGL does: to be started and ended, and a
//! process for each context.
//!
//! Filters stay in force in the program that a process becomes, and in its children.

use seccompiler::BackendError;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::Eq;

use super::system_calls::{Rules, rule};

/// The loaders of programs, which are executed with them.
pub(super) const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

/// Calls that may be made with any arguments. What can be executed is Landlock's affair.
const ANYTHING: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_setpgid,
    // Processes of contexts, and their end.
    libc::SYS_clone,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_signalfd4,
    // Their sockets.
    libc::SYS_socketpair,
];

/// System calls besides those of OpenGL.
pub(super) fn allowed() -> Result<Rules, BackendError> {
    // The process of a context that is destroyed, and all of them. Landlock (ABI 6) keeps others out of reach.
    let kill = rule(&[(1, Dword, Eq, libc::SIGKILL as u64)])?;
    let mut rules: Rules = ANYTHING.iter().map(|call| (*call, vec![])).collect();
    rules.insert(libc::SYS_kill, vec![kill]);
    Ok(rules)
}
