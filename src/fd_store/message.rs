//! What a store is told, in the words of `sd_notify(3)`: lines of `NAME=VALUE`.

use sd_notify::NotifyState;

/// Largest message, in bytes.
pub const MAX_MESSAGE: usize = 1024;

/// One message to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Keep the descriptor that came along.
    Store(String),
    /// Let go of a descriptor.
    Remove(String),
    /// Close the descriptor that came along: all that came before has been done.
    Barrier,
    /// Something else, which is passed over, as a service manager does.
    Other,
}

impl Message {
    /// Reads a message. Names are as systemd has them: printable, without `:`, at most 255 bytes.
    pub fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let name = value("FDNAME").filter(|name| is_valid_name(name)).map(str::to_owned);
        match (value("FDSTORE"), value("FDSTOREREMOVE"), value("BARRIER"), name) {
            (Some("1"), None, None, Some(name)) => Self::Store(name),
            (None, Some("1"), None, Some(name)) => Self::Remove(name),
            (None, None, Some("1"), None) => Self::Barrier,
            _ => Self::Other,
        }
    }
}

fn is_valid_name(name: &str) -> bool {
    let printable = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b':';
    !name.is_empty() && name.len() <= 255 && name.bytes().all(printable)
}

/// A message, as it is sent.
pub fn text_of(states: &[NotifyState<'_>]) -> String {
    states.iter().map(|state| format!("{state}\n")).collect()
}

/// Announces so many descriptors, and who has them.
pub fn greeting(count: usize, process: u32) -> String {
    format!("{}FDSTORE={count}\n", text_of(&[NotifyState::MainPid(process)]))
}

/// Reads a [`greeting`].
pub fn parse_greeting(text: &str) -> Option<(usize, u32)> {
    let (first, second) = text.strip_suffix('\n')?.split_once('\n')?;
    let process = first.strip_prefix("MAINPID=")?.parse().ok()?;
    Some((second.strip_prefix("FDSTORE=")?.parse().ok()?, process))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_sd_notify() {
        let text = text_of(&[NotifyState::FdStore, NotifyState::FdName("gpu0/device")]);
        assert_eq!(text, "FDSTORE=1\nFDNAME=gpu0/device\n");
        assert_eq!(Message::parse(&text), Message::Store("gpu0/device".into()));
        let text = text_of(&[NotifyState::FdStoreRemove, NotifyState::FdName("gpu0/pixels-7")]);
        assert_eq!(text, "FDSTOREREMOVE=1\nFDNAME=gpu0/pixels-7\n");
        assert_eq!(Message::parse(&text), Message::Remove("gpu0/pixels-7".into()));
        assert_eq!(Message::parse("BARRIER=1\n"), Message::Barrier);
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        let long = "x".repeat(256);
        for text in [
            "",
            "\n",
            "READY=1\n",
            "FDSTORE=1\n",
            "FDSTORE=2\nFDNAME=a\n",
            "FDSTORE=1\nFDNAME=\n",
            "FDSTORE=1\nFDNAME=a:b\n",
            "FDSTORE=1\nFDNAME=\u{7f}\n",
            "FDSTORE=1\nFDSTOREREMOVE=1\nFDNAME=a\n",
            "BARRIER=1\nFDNAME=a\n",
            &format!("FDSTORE=1\nFDNAME={long}\n"),
        ] {
            assert_eq!(Message::parse(text), Message::Other, "{text:?}");
        }
    }

    #[test]
    fn a_greeting_says_how_much_is_there_and_with_whom() {
        assert_eq!(greeting(3, 4711), "MAINPID=4711\nFDSTORE=3\n");
        assert_eq!(parse_greeting("MAINPID=4711\nFDSTORE=3\n"), Some((3, 4711)));
        for text in ["", "MAINPID=1\n", "MAINPID=1\nFDSTORE=3", "FDSTORE=3\nMAINPID=1\n"] {
            assert_eq!(parse_greeting(text), None, "{text:?}");
        }
    }
}
