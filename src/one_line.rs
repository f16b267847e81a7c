//! How errors are told: on one line, with their causes.

use std::error::Error;

/// What failed, and why. Some errors print their cause as their own text, or as its end.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("outer")]
        Outer(#[source] Box<Sample>),
        #[error(transparent)]
        Same(Box<Sample>),
        #[error("inner: {0}")]
        Told(#[source] Box<Sample>),
        #[error("the\nroot")]
        Root,
    }

    #[test]
    fn each_cause_is_told_once_and_on_the_same_line() {
        let told = Sample::Told(Box::new(Sample::Root));
        let error = Sample::Outer(Box::new(Sample::Same(Box::new(told))));
        assert_eq!(one_line(&error), "outer: inner: the root");
        assert_eq!(one_line(&Sample::Root), "the root");
    }
}
