//! The complete commented file that equals the defaults. `millrace-agent config example` prints it, the package installs
//! it, and a test holds it against [`super::raw::File::default`].

/// The file.
pub const EXAMPLE: &str = include_str!("../../../../systemd/agent.toml");

#[cfg(test)]
mod tests {
    use super::EXAMPLE;
    use crate::config::raw::File;
    use millrace_host::config::{Source, parse};

    #[test]
    fn the_example_equals_the_defaults() {
        let example = parse::<File>(Source::named("example", EXAMPLE)).unwrap().raw;
        assert_eq!(example, File::default());
    }

    #[test]
    fn the_example_names_every_key() {
        let written = toml::to_string(&File::default()).unwrap();
        let names = |text: &str| -> Vec<String> {
            let key = |line: &str| {
                let line = line.trim_start_matches("# ");
                let head =
                    line.trim_start_matches('[').split_once([']', '=']).map(|(head, _)| head.trim())?;
                Some(head.rsplit('.').next().unwrap_or(head).to_owned())
            };
            text.lines().filter_map(key).collect()
        };
        let example = names(EXAMPLE);
        let optional = [
            "region",
            "broker",
            "client_id",
            "username",
            "password_file",
            "ca_file",
            "certificate_file",
            "key_file",
        ];
        let in_windows = ["open", "for"];
        for name in
            names(&written).into_iter().chain(optional.iter().chain(&in_windows).map(ToString::to_string))
        {
            assert!(example.contains(&name), "`{name}` is not in the example");
        }
    }
}
