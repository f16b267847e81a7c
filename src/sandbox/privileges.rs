//! Users and capabilities.

use rustix::io::Errno;
use rustix::process::{Gid, geteuid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::process;
use super::user::User;
use super::{Lacking, Lackings, SandboxError, failed};

/// What an adapter keeps that was started as root: to enter the runtime directory of the user whose
/// desktop shows its windows, to make each backend an ordinary user, and to end it then.
const ADAPTER_KEEPS: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP);

/// Makes root another user, in `groups` besides its own, and drops all capabilities of whoever it is.
/// The user root has become.
pub(super) fn drop_all(
    user: User,
    groups: &[Gid],
    lacking: &mut Lackings,
) -> Result<Option<User>, SandboxError> {
    limit_bounding_set(CapabilitySet::empty()).map_err(failed("the capability bounding set"))?;
    let mut became = None;
    if geteuid().is_root() {
        match become_user(user, groups) {
            Ok(()) => became = Some(user),
            // A root of a container that lacks the capability, or has no such user.
            Err(errno @ (Errno::PERM | Errno::INVAL)) => {
                lacking.add(Lacking::User(user, errno))?;
            }
            Err(errno) => return Err(failed("becoming another user")(errno)),
        }
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, none).map_err(failed("dropping capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    Ok(became)
}

fn become_user(user: User, groups: &[Gid]) -> Result<(), Errno> {
    let (uid, gid) = (user.uid(), user.gid());
    rustix::thread::set_thread_groups(groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Leaves an adapter what it needs, if it runs as root, and makes sure that nothing it starts has
/// more. Like all capabilities these are a thread's: call it before there is another.
pub fn limit_adapter() -> std::io::Result<()> {
    let has = rustix::thread::capabilities(None)?;
    limit_bounding_set(ADAPTER_KEEPS)?;
    let kept = CapabilitySets {
        effective: has.effective & ADAPTER_KEEPS,
        permitted: has.permitted & ADAPTER_KEEPS,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, kept)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Leaves a keeper nothing but its descriptors: no capabilities, processes, core dumps or debuggers.
pub fn limit_keeper() -> std::io::Result<()> {
    std::env::set_current_dir("/")?;
    process::limit(false)?;
    limit_bounding_set(CapabilitySet::empty())?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, none)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Takes from the bounding set all but `kept`, if that is allowed; else no_new_privs has to do.
fn limit_bounding_set(kept: CapabilitySet) -> Result<(), Errno> {
    let has = rustix::thread::capabilities(None)?;
    if !has.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Beyond the last one this kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}
