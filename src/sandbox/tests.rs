//! Each layer alone, on a thread of its own: they are a thread's, and the other tests go on.
//! `tests/sandbox.rs` tries all of them at once, in processes.

use std::io;
use std::net::TcpListener;

use rustix::io::Errno;
use rustix::process::Gid;
use seccompiler::{SeccompAction, SeccompFilter, TargetArch};

use super::*;

/// What `task` gives, on a thread that is confined or ends.
fn on_a_thread<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(task).join().unwrap()
}

type Layer = fn(&mut Lackings) -> Result<(), SandboxError>;

fn lackings(mode: Mode) -> Lackings {
    Lackings { strict: mode == Mode::Strict, found: Vec::new() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Has this thread's kernel answer a call with an error, as one does that does not know it.
fn answer(call: libc::c_long, errno: Errno) {
    let action = SeccompAction::Errno(errno.raw_os_error() as u32);
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let filter = SeccompFilter::new([(call, vec![])].into(), SeccompAction::Allow, action, arch);
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

fn errno(result: io::Result<impl Sized>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn landlock_alone_refuses_files() {
    let Some(abi) = sys::landlock_abi() else {
        eprintln!("this kernel has no Landlock: not tested");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "text").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    on_a_thread(move || {
        let mut file = std::fs::File::open(&path).unwrap();
        assert_eq!(
            file_access::forbid(&Needs::TwoD, &mut lackings(Mode::Strict)).unwrap(),
            Some(abi)
        );
        let refused = Some(libc::EACCES);
        assert_eq!(errno(std::fs::File::open(&path)), refused);
        assert_eq!(errno(std::fs::write(&path, "other")), refused);
        assert_eq!(errno(std::fs::remove_file(&path)), refused);
        assert_eq!(errno(std::fs::create_dir(path.with_extension("d"))), refused);
        assert_eq!(errno(std::fs::read_dir("/")), refused);
        assert_eq!(errno(std::fs::File::open("/dev/null")), refused);
        // What was open stays so.
        let mut text = String::new();
        io::Read::read_to_string(&mut file, &mut text).unwrap();
        assert_eq!(text, "text");
        if abi >= 4 {
            assert_eq!(errno(std::net::TcpStream::connect(address)), refused);
            assert_eq!(errno(TcpListener::bind("127.0.0.1:0")), refused);
        }
    });
}

#[test]
fn root_becomes_nobody_without_capabilities() {
    if !is_root() {
        eprintln!("not root: not tested");
        return;
    }
    on_a_thread(|| {
        let user: User = "65533:65532".parse().unwrap();
        let groups = [44, 107].map(Gid::from_raw);
        let became = privileges::drop_all(user, &groups, &mut lackings(Mode::Strict));
        assert_eq!(became.unwrap(), Some(user));
        // Of this thread, not of the process.
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        for line in [
            "Uid:\t65533\t65533\t65533\t65533",
            "Gid:\t65532\t65532\t65532\t65532",
            "Groups:\t44 107 ",
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
        ] {
            assert!(status.lines().any(|found| found == line), "{line} in {status}");
        }
        assert_eq!(errno(std::fs::File::open("/etc/shadow")), Some(libc::EACCES));
    });
}

#[test]
fn an_adapter_keeps_what_it_needs_to_start_and_end_backends() {
    on_a_thread(|| {
        limit_adapter().unwrap();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        // DAC_OVERRIDE, KILL, SETGID, SETUID, SETPCAP: bits 1 and 5 to 8.
        let kept = if is_root() { 0x1e2 } else { 0 };
        for (set, allowed) in [("CapInh", 0), ("CapPrm", kept), ("CapEff", kept), ("CapAmb", 0)] {
            let value = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
            let value = u64::from_str_radix(value.unwrap(), 16).unwrap();
            assert_eq!(value & !allowed, 0, "{set} is {value:#x}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    });
}

#[test]
fn what_the_kernel_lacks_is_tolerated_but_not_when_strict() {
    let lacking = |mode, call, answered, enter: Layer| {
        on_a_thread(move || {
            answer(call, answered);
            let mut lackings = lackings(mode);
            let result = enter(&mut lackings);
            (result, lackings.found)
        })
    };
    let landlock = |lackings: &mut Lackings| file_access::forbid(&Needs::TwoD, lackings).map(drop);
    let seccomp = |lackings: &mut Lackings| system_calls::restrict(&Needs::TwoD, lackings);
    let user =
        |lackings: &mut Lackings| privileges::drop_all(User::default(), &[], lackings).map(drop);
    let nobody = Lacking::User(User::default(), Errno::PERM);
    let mut cases: Vec<(_, _, Layer, _)> = vec![
        (libc::SYS_landlock_create_ruleset, Errno::NOSYS, landlock, Lacking::Landlock),
        (libc::SYS_landlock_create_ruleset, Errno::OPNOTSUPP, landlock, Lacking::Landlock),
        (libc::SYS_seccomp, Errno::NOSYS, seccomp, Lacking::Seccomp),
    ];
    if is_root() {
        cases.push((libc::SYS_setresuid, Errno::PERM, user, nobody));
    }
    for (call, answered, enter, what) in cases {
        let (result, found) = lacking(Mode::On, call, answered, enter);
        result.unwrap();
        assert_eq!(found, std::slice::from_ref(&what));
        let (result, _) = lacking(Mode::Strict, call, answered, enter);
        assert!(
            matches!(&result, Err(SandboxError::Lacking(found)) if *found == what),
            "{result:?}"
        );
    }
}

#[test]
fn what_fails_is_not_taken_for_lacking() {
    if sys::landlock_abi().is_some() {
        let result = on_a_thread(|| {
            answer(libc::SYS_landlock_restrict_self, Errno::TOOBIG);
            file_access::forbid(&Needs::TwoD, &mut lackings(Mode::On))
        });
        assert!(matches!(result, Err(SandboxError::Landlock(_))), "{result:?}");
    }
    let result = on_a_thread(|| {
        answer(libc::SYS_capset, Errno::PERM);
        privileges::drop_all(User::default(), &[], &mut lackings(Mode::On))
    });
    assert!(matches!(result, Err(SandboxError::System { .. })), "{result:?}");
}

#[test]
fn a_process_with_threads_is_not_confined() {
    // This one has the harness's at least.
    let result = on_a_thread(|| enter(&Settings::default()));
    assert!(matches!(result, Err(SandboxError::Threads(2..))), "{result:?}");
}

#[test]
fn the_kernels_word_is_understood() {
    let status = "Name:\tx\nUid:\t1\t65534\t3\t4\nCapEff:\t00000000000001e2\nNoNewPrivs:\t1\n\
                  Seccomp:\t2\nSeccomp_filters:\t2\n";
    let confined = Confinement {
        uid: 65534,
        no_new_privs: true,
        seccomp: true,
        capabilities: 0x1e2,
        landlock_abi: Some(7),
    };
    assert_eq!(Confinement::parse(status, Some(7)), Some(confined));
    let free = status.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0").replace("Seccomp:\t2\n", "");
    let free = Confinement::parse(&free, Some(7)).unwrap();
    assert_eq!((free.no_new_privs, free.seccomp, free.landlock_abi), (false, false, None));
    assert_eq!(Confinement::parse("Name:\tx\n", None), None);
    assert_eq!(Confinement::of(u32::MAX), None);
}

#[test]
fn what_is_missing_is_told_in_words() {
    let user = Lacking::User(User::default(), Errno::PERM).to_string();
    assert!(user.contains("65534:65534") && !user.contains('\n'), "{user}");
    for what in [Lacking::Landlock, Lacking::Seccomp] {
        let line = SandboxError::Lacking(what.clone()).to_string();
        assert!(line.contains("--sandbox=strict") && line.contains(&what.to_string()), "{line}");
    }
}
