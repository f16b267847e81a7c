//! Whoever of the device and the presenter ends first, and however.

use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::bail;
use rustix::event::{PollFd, PollFlags, poll};
use virtio_loopback_display::{DisplayKind, Options, Presenter};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Blocks until the device is told to end.
fn wait_for(stop: &OwnedFd) {
    poll(&mut [PollFd::new(stop, PollFlags::IN)], None).unwrap();
}

/// Runs `device` beside a headless presenter, or beside `present` instead; how that ended.
fn outcome(
    device: impl FnOnce(OwnedFd) -> Result<()> + Send + 'static,
    present: Option<fn() -> Result<()>>,
) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (stop, stopper) = stop::on_signals().unwrap();
        let (presenter, display) =
            Presenter::open(Options::new(DisplayKind::Headless, "test"), |_| {}).unwrap();
        let present = || present.map_or_else(|| Ok(presenter.run()?), |present| present());
        sender.send(run_beside(&display, stopper, move || device(stop), present))
    });
    receiver.recv_timeout(TIMEOUT).expect("it ends")
}

#[test]
fn the_end_of_the_device_ends_the_presenter() {
    outcome(|_| Ok(()), None).unwrap();
    let error = outcome(|_| bail!("broken"), None).unwrap_err();
    assert_eq!(error.to_string(), "broken");
    let error = outcome(|_| panic!("this panic is meant to be"), None).unwrap_err();
    assert_eq!(error.to_string(), "the device's thread failed; this is a bug");
}

#[test]
fn the_end_of_the_presenter_ends_the_device() {
    let (sender, ended) = mpsc::channel();
    let device = move |stop: OwnedFd| {
        wait_for(&stop);
        sender.send(()).unwrap();
        bail!("this is the presenter's fault")
    };
    let error = outcome(device, Some(|| bail!("no window"))).unwrap_err();
    assert_eq!(error.to_string(), "no window");
    ended.try_recv().expect("the device has ended before");
}
