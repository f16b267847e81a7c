//! Who the backend becomes where it is started as root.

use std::fmt;
use std::str::FromStr;

use rustix::process::{Gid, Uid};

/// The kernel's overflow user and group, which own nothing: `nobody` almost everywhere.
const NOBODY: u32 = 65534;
/// -1 is no id: it means "leave as it is" to the system calls.
const NO_ID: u32 = u32::MAX;

/// A user and a group by number, neither of them root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl Default for User {
    fn default() -> Self {
        Self { uid: NOBODY, gid: NOBODY }
    }
}

/// Why a text names no user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such name.
    #[error("there is no user {0:?} in /etc/passwd; UID:GID does, too")]
    Unknown(String),
    /// Root would not be confined.
    #[error("the GPU backend must not run as root: name another user, or use --sandbox=off")]
    Root,
    /// Neither a number nor a name.
    #[error("{0:?} is not a user: write a name of /etc/passwd, or UID:GID")]
    Malformed(String),
}

impl User {
    pub(super) fn uid(self) -> Uid {
        Uid::from_raw(self.uid)
    }

    pub(super) fn gid(self) -> Gid {
        Gid::from_raw(self.gid)
    }

    /// Of the lines of `/etc/passwd`, the one with this name.
    fn find(name: &str, passwd: &str) -> Result<Self, UserError> {
        let unknown = || UserError::Unknown(name.to_owned());
        let entry = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next()? == name;
            let (uid, gid) = (fields.nth(1)?, fields.next()?);
            found.then(|| Some((uid.parse().ok()?, gid.parse().ok()?)))
        });
        let (uid, gid) = entry.flatten().ok_or_else(unknown)?;
        Self::new(uid, gid).ok_or(UserError::Root)
    }

    fn new(uid: u32, gid: u32) -> Option<Self> {
        let usable = |id| id != 0 && id != NO_ID;
        (usable(uid) && usable(gid)).then_some(Self { uid, gid })
    }
}

impl FromStr for User {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        if let Some((uid, gid)) = text.split_once(':') {
            let malformed = |_| UserError::Malformed(text.to_owned());
            let (uid, gid) = (uid.parse().map_err(malformed)?, gid.parse().map_err(malformed)?);
            return Self::new(uid, gid).ok_or(UserError::Root);
        }
        let named = !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit());
        if !named {
            return Err(UserError::Malformed(text.to_owned()));
        }
        Self::find(text, &std::fs::read_to_string("/etc/passwd").unwrap_or_default())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_users() {
        assert_eq!("1000:100".parse(), Ok(User { uid: 1000, gid: 100 }));
        assert_eq!(User::default().to_string().parse(), Ok(User::default()));
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\ngpu:x:991:992::/:/bin/false\n";
        assert_eq!(User::find("gpu", passwd), Ok(User { uid: 991, gid: 992 }));
        assert_eq!(User::find("root", passwd), Err(UserError::Root));
        assert_eq!(User::find("broken", passwd), Err(UserError::Unknown("broken".into())));
    }

    #[test]
    fn root_and_nonsense_are_refused() {
        for text in ["0:0", "0:1", "1:0", "4294967295:1", "1:4294967295"] {
            assert_eq!(text.parse::<User>(), Err(UserError::Root), "{text}");
        }
        for text in ["", ":", "1", "1:", ":1", "1:1:1", "-1:1", "1:4294967296", "1x:1"] {
            let malformed = UserError::Malformed(text.into());
            assert_eq!(text.parse::<User>(), Err(malformed), "{text}");
        }
    }
}
