//! The words of a command line: flags with one dash or two, and values after a blank or `=`.

use std::ffi::OsString;

/// The words that are left of a command line.
pub struct Arguments<I> {
    words: I,
    /// What stood after `=` of the last flag.
    value: Option<String>,
    flag: String,
}

impl<I: Iterator<Item = OsString>> Arguments<I> {
    /// Of these words.
    pub fn new(words: I) -> Self {
        Self {
            words,
            value: None,
            flag: String::new(),
        }
    }

    /// The next flag, without its dashes; `None` at the end.
    ///
    /// # Errors
    /// The next word is no flag, or the last flag takes no value and has one.
    pub fn flag(&mut self) -> Result<Option<String>, String> {
        if self.value.is_some() {
            return Err(format!("--{} takes no value", self.flag));
        }
        let Some(word) = self.words.next() else {
            return Ok(None);
        };
        let word = word.to_string_lossy();
        let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        let flag = flag
            .filter(|flag| !flag.is_empty())
            .ok_or_else(|| format!("unknown argument {word:?}; flags begin with a dash"))?;
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (flag, None),
        };
        flag.clone_into(&mut self.flag);
        self.value = value;
        Ok(Some(self.flag.clone()))
    }

    /// The value of the last flag.
    ///
    /// # Errors
    /// It has none.
    pub fn value(&mut self) -> Result<String, String> {
        let next = || {
            let word = self.words.next()?;
            Some(word.to_string_lossy().into_owned())
        };
        let value = self.value.take().or_else(next);
        value.ok_or_else(|| format!("--{} needs a value", self.flag))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn flags_have_dashes_and_values() {
        let words = ["--a", "1", "-b=2=3", "--c", "d", "--e=x", "--f"];
        let mut arguments = Arguments::new(words.into_iter().map(OsString::from));
        assert_eq!(arguments.flag(), Ok(Some("a".to_owned())));
        assert_eq!(arguments.value(), Ok("1".to_owned()));
        assert_eq!(arguments.flag(), Ok(Some("b".to_owned())));
        assert_eq!(arguments.value(), Ok("2=3".to_owned()));
        assert_eq!(arguments.flag(), Ok(Some("c".to_owned())));
        let problem = arguments.flag().unwrap_err();
        assert_eq!(problem, "unknown argument \"d\"; flags begin with a dash");
        assert_eq!(arguments.flag(), Ok(Some("e".to_owned())));
        assert_eq!(arguments.flag().unwrap_err(), "--e takes no value");
        let mut arguments = Arguments::new(["--f"].into_iter().map(OsString::from));
        assert_eq!(arguments.flag(), Ok(Some("f".to_owned())));
        assert_eq!(arguments.value().unwrap_err(), "--f needs a value");
        assert_eq!(arguments.flag(), Ok(None));
    }
}
