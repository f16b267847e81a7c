use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::{FrameLayout, PixelBuffer, PixelFormat};

/// Counts how often it wakes.
struct Bell(Arc<AtomicUsize>);

impl Wake for Bell {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn shared() -> (Arc<Shared>, Arc<AtomicUsize>) {
    let rung = Arc::new(AtomicUsize::new(0));
    (Shared::new(Box::new(Bell(Arc::clone(&rung)))), rung)
}

fn frame() -> Frame {
    let layout = FrameLayout::packed(8, 6, PixelFormat::Xrgb8888);
    let buffer = PixelBuffer::new(layout.end().unwrap().unwrap()).unwrap();
    Frame::new(Arc::clone(buffer.memory()), layout).unwrap()
}

/// A completion, and whether it has run.
fn completion() -> (Completion, Arc<AtomicUsize>) {
    let done = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&done);
    (
        Completion::new(move || {
            told.fetch_add(1, Ordering::SeqCst);
        }),
        done,
    )
}

#[test]
fn work_of_a_scanout_that_is_busy_becomes_one_update() {
    let (shared, rung) = shared();
    for id in [0, 1] {
        shared.set_scanout(id, Some(frame())).unwrap();
        shared.flush(id, Rect::new(0, 0, 8, 6), Completion::new(|| ())).unwrap();
    }
    assert_eq!(rung.load(Ordering::SeqCst), 1, "woken once for all that comes before it looks");
    let work = shared.take_work_of(|id| id == 1);
    assert_eq!(work.scanouts.iter().map(|work| work.id).collect::<Vec<_>>(), [1]);
    drop(work);
    let newest = frame();
    shared.set_scanout(0, Some(newest.clone())).unwrap();
    shared.flush(0, Rect::new(1, 1, 2, 2), Completion::new(|| ())).unwrap();
    assert_eq!(rung.load(Ordering::SeqCst), 2);
    let mut work = shared.take_work_of(|_| true);
    let only = work.scanouts.pop().unwrap();
    assert!(work.scanouts.is_empty());
    assert!(only.frame.unwrap().is_same_source(&newest), "what was not shown is passed over");
    assert_eq!(only.damage, [Rect::new(0, 0, 8, 6)], "nothing of it was read: whole");
    assert_eq!(only.done.len(), 2);
}

#[test]
fn flushes_that_wait_too_long_are_answered_and_their_damage_stays() {
    let (shared, _) = shared();
    shared.set_scanout(0, Some(frame())).unwrap();
    assert_eq!(shared.oldest_flush(), None);
    let (first, first_done) = completion();
    let since = first.since();
    shared.flush(0, Rect::new(0, 0, 8, 6), first).unwrap();
    thread::sleep(Duration::from_millis(2));
    let (second, second_done) = completion();
    shared.flush(0, Rect::new(0, 0, 1, 1), second).unwrap();
    assert_eq!(shared.oldest_flush(), Some(since));
    shared.answer_before(since);
    assert_eq!((first_done.load(Ordering::SeqCst), second_done.load(Ordering::SeqCst)), (1, 0));
    let work = shared.take_work();
    let only = work.scanouts.first().unwrap();
    assert_eq!(only.damage, [Rect::new(0, 0, 8, 6)]);
    assert_eq!(only.done.len(), 1);
    drop(work);
    assert_eq!(second_done.load(Ordering::SeqCst), 1);
}

#[test]
fn a_source_that_is_held_ends_when_the_presenter_has_let_go() {
    let (shared, _) = shared();
    let source = frame();
    shared.set_scanout(0, Some(source.clone())).unwrap();
    shared.flush(0, Rect::new(0, 0, 8, 6), Completion::new(|| ())).unwrap();
    drop(shared.take_work());
    shared.hold(0);
    shared.have_read();
    let let_go = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            shared.set_scanout(0, None).unwrap();
            assert_eq!(let_go.load(Ordering::SeqCst), 1, "returned before");
        });
        let last = loop {
            if let Some(work) = shared.take_work().scanouts.pop() {
                break work;
            }
            thread::sleep(Duration::from_millis(1));
        };
        assert!(last.frame.unwrap().is_same_source(&source));
        assert_eq!((last.signal, last.damage.len()), (Signal::Off, 0));
        let_go.store(1, Ordering::SeqCst);
        shared.have_read();
    });
    assert_eq!(shared.statistics(0).unwrap().signal, Signal::Off);
    // Nothing more is held: the next source's end waits for nobody.
    shared.set_scanout(0, Some(frame())).unwrap();
    shared.set_scanout(0, None).unwrap();
}
