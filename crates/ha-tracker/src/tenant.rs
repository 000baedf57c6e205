//! Rules for tenant names, which are a part of every key.

/// Why a tenant name is not valid. The rules are Mimir's.
pub fn validate_tenant(name: &str) -> Result<(), String> {
    const MAX: usize = 150;
    if name.is_empty() {
        return Err("the tenant ID is empty".to_owned());
    }
    if name.len() > MAX {
        return Err(format!(
            "the tenant ID has {} bytes, more than {MAX}",
            name.len()
        ));
    }
    if let Some(bad) = name
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !"!-_.*'()".contains(*c))
    {
        return Err(format!(
            "the tenant ID {name:?} contains {bad:?}; allowed are letters, digits and !-_.*'()"
        ));
    }
    if matches!(name, "." | ".." | "__mimir_cluster") {
        return Err(format!("the tenant ID {name:?} is reserved"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_names_follow_mimirs_rules() {
        for good in ["a", "team-1", "A!b_c.d*e'f(g)", "...", &"x".repeat(150)] {
            assert_eq!(validate_tenant(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a|b",
            "a b",
            "ü",
            "__mimir_cluster",
            &"x".repeat(151),
        ] {
            assert!(validate_tenant(bad).is_err(), "{bad}");
        }
    }
}
