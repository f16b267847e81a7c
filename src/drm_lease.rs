//! Leases of AGL's drm-lease-manager, as its libdlmclient asks for them (`common/dlm-protocol.h` there).
//!
//! The manager owns a card and has a socket of packets for each lease, such as
//! `/run/drm-lease-manager/card0-HDMI-A-1`. Who connects and sends a request, an `enum` of C's, gets the lease's
//! descriptor, or is hung up on when somebody else has it. The lease is given back by another request; a
//! connection that ends without is a crash to the manager, which may keep the picture then.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with, sockopt,
};

/// `DLM_GET_LEASE` and `DLM_RELEASE_LEASE`.
const GET: u32 = 0;
const RELEASE: u32 = 1;
/// Where the sockets are, unless the environment's `DLM_RUNTIME_PATH` says otherwise.
const RUNTIME_PATH: &str = "/var/run/drm-lease-manager";
/// How long the manager may take. With `-t` it takes the lease from somebody else first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum DrmLeaseError {
    /// Nobody is at the socket.
    #[error(
        "cannot reach drm-lease-manager at {}: does it run, and has it a lease of that name?",
        path.display()
    )]
    Connect {
        /// The lease's socket.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The manager has hung up.
    #[error("drm-lease-manager does not give the lease at {}: somebody else has it", path.display())]
    Refused {
        /// The lease's socket.
        path: PathBuf,
    },
    /// The manager says nothing, or the connection fails.
    #[error("drm-lease-manager does not answer at {}", path.display())]
    NoAnswer {
        /// The lease's socket.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// That was no manager.
    #[error("what answers at {} is no drm-lease-manager: it sent {descriptors} descriptors", path.display())]
    Protocol {
        /// The lease's socket.
        path: PathBuf,
        /// A lease is one.
        descriptors: usize,
    },
}

/// A lease. It is given back when this is dropped.
#[derive(Debug)]
pub struct DrmLease {
    card: OwnedFd,
    socket: OwnedFd,
}

/// The socket of a lease: a path, or a name in the manager's directory. `runtime` is `DLM_RUNTIME_PATH`.
#[must_use]
pub fn socket_path(name: &str, runtime: Option<PathBuf>) -> PathBuf {
    if name.contains('/') {
        return PathBuf::from(name);
    }
    runtime.filter(|path| !path.as_os_str().is_empty()).unwrap_or(RUNTIME_PATH.into()).join(name)
}

impl DrmLease {
    /// Asks for the lease at a socket.
    ///
    /// # Errors
    ///
    /// Nobody is there, somebody else has the lease, or the answer is none of a manager's.
    pub fn get(path: &Path) -> Result<Self, DrmLeaseError> {
        let cannot_connect =
            |errno: Errno| DrmLeaseError::Connect { path: path.to_owned(), source: errno.into() };
        let socket = reach(path).map_err(cannot_connect)?;
        let answer = send(&socket, GET).and_then(|()| receive(&socket));
        let mut descriptors = match answer {
            Ok(Some(descriptors)) => descriptors,
            Ok(None) | Err(Errno::PIPE | Errno::CONNRESET) => {
                return Err(DrmLeaseError::Refused { path: path.to_owned() });
            }
            Err(errno) => {
                let source = errno.into();
                return Err(DrmLeaseError::NoAnswer { path: path.to_owned(), source });
            }
        };
        match (descriptors.pop(), descriptors.len()) {
            (Some(card), 0) => Ok(Self { card, socket }),
            (card, others) => {
                let descriptors = others + usize::from(card.is_some());
                Err(DrmLeaseError::Protocol { path: path.to_owned(), descriptors })
            }
        }
    }

    /// The card, with what is leased of it.
    #[must_use]
    pub fn card(&self) -> BorrowedFd<'_> {
        self.card.as_fd()
    }
}

impl Drop for DrmLease {
    fn drop(&mut self) {
        // A manager that has gone needs nothing back.
        if let Err(errno) = send(&self.socket, RELEASE) {
            log::debug!("the lease is not given back: {errno}");
        }
    }
}

fn reach(path: &Path) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let kind = SocketType::SEQPACKET;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    for direction in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(&socket, direction, Some(PATIENCE))?;
    }
    rustix::io::retry_on_intr(|| connect(&socket, &address))?;
    Ok(socket)
}

fn send(socket: &OwnedFd, request: u32) -> Result<(), Errno> {
    let bytes = request.to_ne_bytes();
    let mut none = SendAncillaryBuffer::default();
    rustix::io::retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(&bytes)], &mut none, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// The descriptors of a packet; `None` at the end of the connection.
fn receive(socket: &OwnedFd) -> Result<Option<Vec<OwnedFd>>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let message = loop {
        let flags = RecvFlags::CMSG_CLOEXEC;
        match recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            message => break message?,
        }
    };
    if message.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = part {
            descriptors.extend(some);
        }
    }
    // More than one anyhow.
    let is_cut = message.flags.contains(ReturnFlags::CTRUNC);
    Ok(Some(if is_cut { Vec::new() } else { descriptors }))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::net::{SendAncillaryMessage, accept, bind, listen};

    use super::*;

    /// What the manager got, if anything, until the end.
    type Heard = Vec<[u8; 4]>;

    /// A manager at `path` that answers the first request with so many descriptors of this file, or hangs up.
    fn manager(path: &Path, file: Option<(std::fs::File, usize)>) -> thread::JoinHandle<Heard> {
        let kind = SocketType::SEQPACKET;
        let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        listen(&socket, 1).unwrap();
        thread::spawn(move || {
            let client = accept(&socket).unwrap();
            let mut heard = Vec::new();
            loop {
                let mut request = [0; 4];
                match rustix::net::recv(&client, &mut request, RecvFlags::empty()) {
                    Ok((4, 4)) => heard.push(request),
                    Ok((0, _)) => return heard,
                    other => panic!("{other:?}"),
                }
                let Some((file, count)) = &file else { return heard };
                if heard.len() == 1 {
                    let files = vec![file.as_fd(); *count];
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
                    let mut ancillary = SendAncillaryBuffer::new(&mut space);
                    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&files)));
                    let byte = [IoSlice::new(&[0])];
                    sendmsg(&client, &byte, &mut ancillary, SendFlags::empty()).unwrap();
                }
            }
        })
    }

    #[test]
    fn a_lease_is_had_and_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card0-HDMI-A-1");
        let card = tempfile::tempfile().unwrap();
        let expected = rustix::fs::fstat(&card).unwrap();
        let manager = manager(&path, Some((card, 1)));
        let lease = DrmLease::get(&path).unwrap();
        let got = rustix::fs::fstat(lease.card()).unwrap();
        assert_eq!((got.st_dev, got.st_ino), (expected.st_dev, expected.st_ino));
        drop(lease);
        // DLM_GET_LEASE, and at the end DLM_RELEASE_LEASE.
        assert_eq!(manager.join().unwrap(), [0u32.to_ne_bytes(), 1u32.to_ne_bytes()]);
    }

    #[test]
    fn a_lease_of_somebody_elses_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lease");
        let manager = manager(&path, None);
        let error = DrmLease::get(&path).unwrap_err();
        assert!(matches!(error, DrmLeaseError::Refused { .. }), "{error:?}");
        assert!(error.to_string().ends_with("lease: somebody else has it"), "{error}");
        assert_eq!(manager.join().unwrap(), [0u32.to_ne_bytes()]);
    }

    #[test]
    fn other_answers_are_refused() {
        // 8 are more than there is room for.
        for (sent, seen) in [(2, 2), (8, 0)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("lease");
            let manager = manager(&path, Some((tempfile::tempfile().unwrap(), sent)));
            let error = DrmLease::get(&path).unwrap_err();
            let DrmLeaseError::Protocol { descriptors, .. } = error else { panic!("{error:?}") };
            assert_eq!(descriptors, seen);
            assert_eq!(manager.join().unwrap().len(), 1);
        }
        let error = DrmLease::get(Path::new("/nonexistent/lease")).unwrap_err();
        assert!(matches!(error, DrmLeaseError::Connect { .. }), "{error:?}");
    }

    #[test]
    fn names_are_in_the_managers_directory() {
        let runtime = || Some(PathBuf::from("/run/here"));
        assert_eq!(socket_path("a", None), Path::new("/var/run/drm-lease-manager/a"));
        assert_eq!(
            socket_path("a", Some(PathBuf::new())),
            Path::new("/var/run/drm-lease-manager/a")
        );
        assert_eq!(socket_path("card0-DP-1", runtime()), Path::new("/run/here/card0-DP-1"));
        assert_eq!(socket_path("/run/x/lease", runtime()), Path::new("/run/x/lease"));
        assert_eq!(socket_path("./lease", runtime()), Path::new("./lease"));
    }
}
