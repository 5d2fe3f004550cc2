//! Addresses of analyzers and of what they test: what counts as one by its form. Whether somebody is there is nobody's business here.

/// The address of the analyzer inside of the controller.
pub const EMBEDDED: &str = "embedded:";

/// Why a text is not an address with one of the schemes; nothing when it is one. Only the form is looked at.
#[must_use]
pub fn wrong_address(url: &str, schemes: &[&str]) -> Option<String> {
    let Some(rest) = schemes.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return Some(format!("does not start with {}", schemes.join(" or ")));
    };
    if url.len() > 2000 || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("has a blank in it, or is too long".into());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("has a user or password in it".into());
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, rest)) => (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("")) }),
        None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let bracketed = authority.starts_with('[');
    let is_v6 = bracketed && host.parse::<core::net::Ipv6Addr>().is_ok();
    if !is_v6 && (bracketed || host.is_empty() || !host.chars().all(inside)) {
        return Some("has no valid host".into());
    }
    let wrong_port =
        port.is_some_and(|port| port.starts_with('+') || !port.parse::<u16>().is_ok_and(|number| number > 0));
    wrong_port.then(|| "has no valid port".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_a_scheme_a_host_and_a_possible_port() {
        for good in ["ws://127.0.0.1:2001", "ws://analyzer.example.org", "wss://[::1]:2001/x", "wss://host/path?q=1"] {
            assert_eq!(wrong_address(good, &["wss://", "ws://"]), None, "{good}");
        }
        for bad in [
            "wss://",
            "wss://u:p@h",
            "",
            "http://a",
            "ws://",
            "ws://:80",
            "ws://a:0",
            "ws://a:99999",
            "ws://a:x",
            "ws://a b",
            "ws://u:p@h:1",
            "ws://[::1",
            "ws://a:+80",
            "ws://[x]:1",
            "WS://a",
        ] {
            assert!(wrong_address(bad, &["wss://", "ws://"]).is_some(), "{bad}");
        }
    }
}
