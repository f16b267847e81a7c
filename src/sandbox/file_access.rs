//! Landlock: no files but what the renderer needs, no network, nobody else's sockets or processes.

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    path_beneath_rules,
};

use super::{Lacking, Lackings, Needs, SandboxError, open_gl, render_server, sys};

/// The newest version this program knows; of an older kernel's it uses what there is.
const NEWEST: ABI = ABI::V9;

/// Forbids all that Landlock can forbid, but for what is needed. Its version, if there is one.
pub(super) fn forbid(needs: &Needs, lacking: &mut Lackings) -> Result<Option<u32>, SandboxError> {
    let Some(abi) = sys::landlock_abi() else {
        lacking.add(Lacking::Landlock)?;
        return Ok(None);
    };
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let ruleset = match needs {
        // No file at all.
        Needs::TwoD => ruleset,
        Needs::OpenGl { render_node } | Needs::RenderServer { render_node, .. } => {
            let read = AccessFs::ReadFile | AccessFs::ReadDir;
            let drive = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
            // What is not there is left out.
            ruleset
                .add_rules(path_beneath_rules(open_gl::READ, read))?
                .add_rules(path_beneath_rules(open_gl::DIRECTORIES, AccessFs::ReadDir))?
                .add_rules(path_beneath_rules(open_gl::devices(render_node.as_deref()), drive))?
        }
    };
    let ruleset = match needs {
        Needs::RenderServer { program, .. } => {
            let execute = AccessFs::ReadFile | AccessFs::Execute;
            ruleset
                .add_rules(path_beneath_rules([program], execute))?
                .add_rules(path_beneath_rules(render_server::LOADERS, execute))?
        }
        _ => ruleset,
    };
    ruleset.restrict_self()?;
    Ok(Some(abi))
}
