//! Addresses in messages.

use std::borrow::Cow;

/// The address without what stands before its last `@`: a user and password that do not belong
/// there must not be shown by the error that says so.
pub fn without_userinfo(address: &str) -> Cow<'_, str> {
    match address.rfind('@') {
        Some(at) => Cow::Owned(format!("********{}", &address[at..])),
        None => Cow::Borrowed(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            without_userinfo("http://u:p@ss@host:1/x"),
            "********@host:1/x"
        );
        assert_eq!(without_userinfo("host:1"), "host:1");
    }
}
