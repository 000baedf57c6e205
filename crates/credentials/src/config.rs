//! Settings of one credential.

use std::path::PathBuf;

use settings::{Kind, Report, Secret, settings};

settings! {
    /// One entry of a file of credentials: a user with a password, or a bearer token.
    #[serde(deny_unknown_fields)]
    pub struct CredentialConfig {
        /// What the log calls it; the username by default.
        #[setting(flag = "", kind = Kind::Text, default = "")]
        pub name: String,
        /// User of HTTP basic authentication.
        #[setting(flag = "", kind = Kind::Text, default = "")]
        pub username: String,
        /// Password of that user.
        #[setting(flag = "", kind = Kind::Text, default = "", secret)]
        pub password: Option<Secret>,
        /// File with the password, read again when it changes.
        #[setting(flag = "", kind = Kind::Path, default = "")]
        pub password_file: Option<PathBuf>,
        /// Bearer token, instead of user and password.
        #[setting(flag = "", kind = Kind::Text, default = "", secret)]
        pub bearer_token: Option<Secret>,
        /// File with the bearer token, read again when it changes.
        #[setting(flag = "", kind = Kind::Path, default = "")]
        pub bearer_token_file: Option<PathBuf>,
        /// Tenants that it may send samples for; all of them by default. With a single one, requests
        /// need no X-Scope-OrgID.
        #[setting(flag = "", kind = Kind::List, default = "")]
        pub tenants: Vec<String>,
    }
}

impl CredentialConfig {
    /// What the log calls it.
    pub fn label(&self) -> &str {
        match (self.name.as_str(), self.username.as_str()) {
            ("", "") => "a bearer token",
            ("", username) => username,
            (name, _) => name,
        }
    }

    /// The rules about the values.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
        let secrets = [
            ("password", self.password.is_some()),
            ("password_file", self.password_file.is_some()),
            ("bearer_token", self.bearer_token.is_some()),
            ("bearer_token_file", self.bearer_token_file.is_some()),
        ];
        let set: Vec<&'static str> = secrets
            .iter()
            .filter(|one| one.1)
            .map(|one| one.0)
            .collect();
        match set.as_slice() {
            [] => report.missing(
                "password",
                "missing; an entry needs one of password, password_file, bearer_token and \
                 bearer_token_file",
            ),
            [one] => self.check_user(one.starts_with("password"), report),
            [_, .., last] => report.bad(
                last,
                format!("is one of several secrets ({}); keep one", set.join(", ")),
            ),
        }
    }

    fn check_user(&self, has_password: bool, report: &mut Report<'_>) {
        match (has_password, self.username.as_str()) {
            (true, "") => report.missing("username", "missing; a password needs a username"),
            (false, username) if !username.is_empty() => {
                report.bad("username", "a bearer token has no user; remove one of them");
            }
            (true, username) if username.contains(':') => report.bad(
                "username",
                "contains a colon, which HTTP basic authentication cannot express",
            ),
            _ => {}
        }
    }
}
