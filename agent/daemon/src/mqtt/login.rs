//! User name and password, on either side of a connection.
//!
//! Promise: the password never appears in `Debug` output; comparing takes the same time whatever differs.
//! Absent: where it comes from (the configuration, a systemd credential).

use std::fmt;

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Login {
    /// Whether this is what a client showed.
    pub(crate) fn admits(&self, user: &str, password: &str) -> bool {
        let user_right = same(self.user.as_bytes(), user.as_bytes());
        let password_right = same(self.password.as_bytes(), password.as_bytes());
        user_right & password_right
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Login({:?}, …)", self.user)
    }
}

/// Equality whose time depends on the lengths alone.
fn same(right: &[u8], shown: &[u8]) -> bool {
    let mut difference = usize::from(right.len() != shown.len());
    for (at, byte) in shown.iter().enumerate() {
        difference |= usize::from(right.get(at).copied().unwrap_or(!*byte) ^ *byte);
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_login_is_admitted_and_the_password_is_never_printed() {
        let login = Login { user: "press".to_owned(), password: "s3cret".to_owned() };
        assert!(login.admits("press", "s3cret"));
        for (user, password) in
            [("press", "s3cre"), ("press", "s3cret!"), ("Press", "s3cret"), ("", ""), ("press", "")]
        {
            assert!(!login.admits(user, password));
        }
        assert!(!format!("{login:?}").contains("s3cret"));
    }
}
