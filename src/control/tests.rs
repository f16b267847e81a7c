//! Bytes of the control socket, and its time limits.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::server::Limited;
use super::{Answer, Request, ScanoutRequest, is_valid_name};

#[test]
fn requests_are_lines_anybody_can_write() {
    for (text, request) in [
        (r#"{"command":"status"}"#, Request::Status),
        (r#"{"command":"screenshot","scanout":3}"#, Request::Screenshot { scanout: 3 }),
        (
            r#"{"command":"scanout","change":"add","monitor":"800x600"}"#,
            Request::Scanout(ScanoutRequest::Add { monitor: "800x600".into() }),
        ),
        (
            r#"{"command":"scanout","change":"move","scanout":1,"x":2,"y":3}"#,
            Request::Scanout(ScanoutRequest::Move { scanout: 1, x: 2, y: 3 }),
        ),
        (
            r#"{"command":"scanout","change":"remove","scanout":1}"#,
            Request::Scanout(ScanoutRequest::Remove { scanout: 1 }),
        ),
        (r#"{"command":"frame","scanout":3}"#, Request::Frame { scanout: 3 }),
        (r#"{"command":"quit"}"#, Request::Quit),
        (r#"{"command":"detach"}"#, Request::Detach),
    ] {
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
    }
}

#[test]
fn answers_are_lines_anybody_can_read() {
    for (text, answer) in [
        (r#"{"png":{"length":7}}"#, Answer::Png { length: 7 }),
        (r#"{"changed":{"scanout":1}}"#, Answer::Changed { scanout: 1 }),
        (r#"{"frame":{"width":2,"height":3}}"#, Answer::Frame { width: 2, height: 3 }),
        (r#""done""#, Answer::Done),
        (r#"{"error":{"message":"no\nline"}}"#, Answer::Error { message: "no\nline".into() }),
    ] {
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
        assert_eq!(serde_json::from_str::<Answer>(text).unwrap(), answer);
    }
}

#[test]
fn names_are_file_names_without_surprises() {
    for name in ["a", "gpu0", "A.b-c_d", &"x".repeat(31), "a..b"] {
        assert!(is_valid_name(name), "{name}");
    }
    for name in ["", ".", "..", ".a", "a/b", "a b", "ä", "a\0", "a\n", &"x".repeat(32)] {
        assert!(!is_valid_name(name), "{name:?}");
    }
}

#[test]
fn a_limit_is_for_all_reads_and_writes_together() {
    let (stream, other) = UnixStream::pair().unwrap();
    let limit = Duration::from_millis(200);
    let begun = Instant::now();
    let mut limited = Limited { stream: &stream, deadline: begun + limit };
    let trickle = std::thread::spawn({
        let mut other = other.try_clone().unwrap();
        move || {
            while begun.elapsed() < 5 * limit && other.write_all(&[0]).is_ok() {
                std::thread::sleep(limit / 20);
            }
        }
    });
    let mut all = Vec::new();
    let error = limited.read_to_end(&mut all).unwrap_err();
    assert!(!all.is_empty() && begun.elapsed() >= limit, "{error}");
    assert!(begun.elapsed() < 4 * limit, "{:?}", begun.elapsed());
    assert!(limited.write_all(&[0]).is_err());
    trickle.join().unwrap();
    // A reader that never reads.
    let begun = Instant::now();
    let mut limited = Limited { stream: &stream, deadline: begun + limit };
    limited.write_all(&vec![0; 16 << 20]).unwrap_err();
    assert!(begun.elapsed() >= limit && begun.elapsed() < 4 * limit, "{:?}", begun.elapsed());
}
