//! What is wrong with a command line, on one line.

use clap::error::ErrorKind;
use std::process::ExitCode;

use super::output;

/// Exit code for bad options.
const BAD_OPTIONS: u8 = 2;

/// Says what `error` is about. Help and version are pages and go where they should.
pub fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Whoever closed the output does not want the page.
            let _ = error.print();
        }
        _ => output::tell_plainly(&one_line(&error.to_string())),
    }
    if error.use_stderr() { ExitCode::from(BAD_OPTIONS) } else { ExitCode::SUCCESS }
}

/// The first paragraph of clap's text and its tips, and where to read on.
fn one_line(text: &str) -> String {
    let mut paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let what = paragraphs.next().unwrap_or_default();
    let mut line = what;
    let mut help = "--help".to_owned();
    for paragraph in paragraphs {
        if let Some(tip) = paragraph.strip_prefix("tip: ") {
            line += &format!(" ({tip})");
        } else if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            // The program and its command, before any option.
            let command = usage.split(' ').take_while(|word| word.starts_with(char::is_lowercase));
            help = command.chain(["--help"]).collect::<Vec<_>>().join(" ");
        }
    }
    format!("{line} (see {help})")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn the_usage_and_the_tip_fit_on_the_line() {
        let text = "error: unexpected argument '--x' found\n\n  tip: a similar one exists: '--y'\n\n\
                    Usage: virtio-loopback-gpu run [OPTIONS]\n\nFor more information, try '--help'.\n";
        assert_eq!(
            one_line(text),
            "error: unexpected argument '--x' found (a similar one exists: '--y') \
             (see virtio-loopback-gpu run --help)"
        );
    }

    #[test]
    fn lists_are_joined() {
        let text = "error: the following required arguments were not provided:\n  <PATH>\n\n\
                    Usage: virtio-loopback-gpu ctl screenshot <PATH>\n";
        assert_eq!(
            one_line(text),
            "error: the following required arguments were not provided: <PATH> \
             (see virtio-loopback-gpu ctl screenshot --help)"
        );
    }

    #[test]
    fn nothing_is_expected_of_the_text() {
        assert_eq!(one_line(""), " (see --help)");
        assert_eq!(one_line("error: a\nb"), "error: a b (see --help)");
    }
}
