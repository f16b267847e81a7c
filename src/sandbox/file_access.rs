//! Landlock: no files, no network, nobody else's sockets or processes.

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};

use super::{Lacking, Lackings, SandboxError, sys};

/// The newest version this program knows; of an older kernel's it uses what there is.
const NEWEST: ABI = ABI::V9;

/// Forbids all that Landlock can forbid. Its version, if there is one.
///
/// The 2D renderer needs no file at all. One that needs a render node or libraries gets its rules
/// here, between `create` and `restrict_self`.
pub(super) fn forbid(lacking: &mut Lackings) -> Result<Option<u32>, SandboxError> {
    let Some(abi) = sys::landlock_abi() else {
        lacking.add(Lacking::Landlock)?;
        return Ok(None);
    };
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()?;
    Ok(Some(abi))
}
