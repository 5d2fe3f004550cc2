//! Rules of kind Analyzer: what it is, where its replicas answer, and what its command line may say.

use serde::de::DeserializeOwned;

use crate::manifest::bounds::Programs;
use crate::manifest::faults::Faults;
use crate::manifest::source::Span;
use crate::manifest::suggest::{nearest, quoted};
use crate::manifest::tree::Node;
use crate::manifest::validate::to_json;
use crate::resource::address::{EMBEDDED, wrong_address};
use crate::resource::analyzer::{Breaker, Probe};

use super::{duration, longer_than_nothing, name_fits, no_repeats, text, tool_fits};

/// What `${...}` in an argument may name, besides `config.KEY`. Source: the documentation of `CommandSpec::argv`.
const PLACEHOLDERS: [&str; 6] = ["app.path", "app.name", "app.model", "app.number", "task.name", "tools"];

/// Rules of an Analyzer. `owner` is the place of the key `spec`, `programs` says what a command may run.
pub(super) fn check(spec: &Node<'_>, owner: Span, programs: Option<&dyn Programs>, faults: &mut Faults) {
    match (spec.entry("websocket"), spec.entry("command")) {
        (Some(_), Some((key, _))) => {
            let message = "an analyzer is either `websocket` or `command`, not both".to_owned();
            faults.error(key.span, "one-of", message, Some("declare two analyzers".into()));
        }
        (None, None) => {
            let message = "`spec` needs exactly one of `websocket` and `command`".to_owned();
            faults.error(owner, "one-of", message, Some("`websocket` for a service, `command` for a program".into()));
        }
        _ => {}
    }
    if let Some(websocket) = spec.get("websocket") {
        check_websocket(websocket, faults);
    }
    if let Some(command) = spec.get("command") {
        check_command(command, faults);
        if let Some(programs) = programs {
            check_program(command, programs, faults);
        }
        without_effect::<Probe>(spec, "probe", faults);
        without_effect::<Breaker>(spec, "breaker", faults);
    }
    if let Some((node, pool)) = text(spec, "pool") {
        name_fits(node.span, "spec.pool", pool, faults);
    }
    if let Some(rate) = spec.get("rate") {
        longer_than_nothing(rate, "per", "spec.rate", faults);
    }
    if let Some(breaker) = spec.get("breaker") {
        longer_than_nothing(breaker, "halfOpenAfter", "spec.breaker", faults);
    }
    if let Some(probe) = spec.get("probe") {
        longer_than_nothing(probe, "interval", "spec.probe", faults);
        longer_than_nothing(probe, "timeout", "spec.probe", faults);
        ends_before_the_next(probe, faults);
    }
}

/// A probe must end before the next one starts; a default counts like a value that was written.
fn ends_before_the_next(probe: &Node<'_>, faults: &mut Faults) {
    let usual = Probe::default();
    let (message, span) = match (duration(probe, "interval"), duration(probe, "timeout")) {
        (Some((_, interval)), Some((node, timeout))) if timeout > interval => {
            let message = format!("`spec.probe.timeout` is {timeout}, longer than the interval, which is {interval}");
            (message, node.span)
        }
        (None, Some((node, timeout))) if timeout > usual.interval => {
            let interval = usual.interval;
            let message = format!("`spec.probe.timeout` is {timeout}, longer than the interval, by default {interval}");
            (message, node.span)
        }
        (Some((node, interval)), None) if usual.timeout > interval => {
            let timeout = usual.timeout;
            let message =
                format!("`spec.probe.interval` is {interval}, shorter than the timeout, by default {timeout}");
            (message, node.span)
        }
        _ => return,
    };
    let help = "a probe must end before the next one starts: write both `interval` and `timeout`".to_owned();
    faults.error(span, "contradiction", message, Some(help));
}

/// Warns about a field that only a WebSocket analyzer has a use for. Its defaults may stand there: a printed object has them.
fn without_effect<T: DeserializeOwned + Default + PartialEq>(spec: &Node<'_>, field: &str, faults: &mut Faults) {
    let Some((key, node)) = spec.entry(field) else { return };
    if serde_json::from_value::<T>(to_json(node)).is_ok_and(|value| value != T::default()) {
        let message = format!("`spec.{field}` does nothing for a command");
        faults.warn(key.span, "no-effect", message, Some("remove it".into()));
    }
}

fn check_websocket(spec: &Node<'_>, faults: &mut Faults) {
    let urls = spec.get("urls").map(Node::items).unwrap_or_default();
    for node in urls {
        if let Some(url) = node.text().filter(|url| *url != EMBEDDED)
            && let Some(why) = wrong_address(url, &["wss://", "ws://"])
        {
            let help = "write wss://HOST:PORT, ws://HOST:PORT, or `embedded:` for the analyzer inside the daemon";
            faults.error(node.span, "bad-url", format!("the address {} {why}", quoted(url)), Some(help.into()));
        }
    }
    no_repeats(urls, "spec.websocket.urls", faults);
    check_secrets(spec, urls, faults);
    if let Some((node, request)) = text(spec, "request") {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
        if request.is_empty() || request.len() > 100 || !request.bytes().all(fits) {
            let message = format!("`spec.websocket.request` cannot be {}", quoted(request));
            faults.error(
                node.span,
                "bad-request",
                message,
                Some("the word of the request frame, such as static_analyze".into()),
            );
        }
    }
    longer_than_nothing(spec, "connectTimeout", "spec.websocket", faults);
}

/// Secrets are names, and go where nobody can listen.
fn check_secrets(spec: &Node<'_>, urls: &[Node<'_>], faults: &mut Faults) {
    for field in ["tokenSecretName", "caSecretName"] {
        if let Some((node, name)) = text(spec, field) {
            name_fits(node.span, &format!("spec.websocket.{field}"), name, faults);
        }
    }
    if spec.get("tokenSecretName").is_some() {
        let far = |url: &&str| url.strip_prefix("ws://").is_some_and(|rest| !is_loopback(rest));
        for (node, url) in urls.iter().filter_map(|node| Some((node, node.text().filter(far)?))) {
            let message = format!("a token would be sent to {} in the clear", quoted(url));
            let help = "write wss://, or a loopback address: a token is sent nowhere else".to_owned();
            faults.error(node.span, "token-in-the-clear", message, Some(help));
        }
    }
    if let Some((key, _)) = spec.entry("caSecretName")
        && !urls.iter().filter_map(Node::text).any(|url| url.starts_with("wss://"))
    {
        let message =
            "`spec.websocket.caSecretName` does nothing without an address that begins with wss://".to_owned();
        faults.warn(key.span, "no-effect", message, Some("write wss://, or remove it".into()));
    }
}

/// Whether an address without its scheme surely stays on this machine, as far as its text tells.
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: core::net::IpAddr| ip.is_loopback())
}

fn check_command(spec: &Node<'_>, faults: &mut Faults) {
    for (index, node) in spec.get("argv").map(Node::items).unwrap_or_default().iter().enumerate() {
        let Some(argument) = node.text() else { continue };
        if index == 0 && argument.trim().is_empty() {
            faults.error(
                node.span,
                "bad-argument",
                "the program's name is empty".into(),
                Some("`argv[0]` is the program to run".into()),
            );
        }
        if argument.contains('\0') {
            faults.error(node.span, "bad-argument", "an argument cannot contain a NUL character".into(), None);
        }
        check_placeholders(node, argument, faults);
    }
    if let Some((node, tool)) = text(spec, "tool") {
        tool_fits(node.span, "spec.command.tool", tool, faults);
    }
    for (key, value) in spec.get("env").map(Node::entries).unwrap_or_default() {
        let starts = key.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts || !key.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let message = format!("{} is not the name of an environment variable", quoted(&key.text));
            faults.error(
                key.span,
                "bad-variable",
                message,
                Some("letters, digits and '_', not starting with a digit".into()),
            );
        }
        let Some(text) = value.text() else { continue };
        if text.contains('\0') {
            faults.error(value.span, "bad-argument", "a variable cannot contain a NUL character".into(), None);
        }
        if text.contains("${") {
            let help = "placeholders are replaced in `argv` only".to_owned();
            faults.warn(value.span, "no-effect", format!("{} is handed on as it is", quoted(text)), Some(help));
        }
    }
    if let Some((key, codes)) = spec.entry("successExitCodes")
        && codes.items().is_empty()
        && codes.entries().is_empty()
        && codes.text().is_none()
    {
        let help = "write [0], or remove the line".to_owned();
        faults.error(key.span, "wrong-size", "no exit code would mean success".into(), Some(help));
    }
}

/// A command may run what lies in the directory of programs, and in an environment that nobody has prepared: there are more variables than
/// anybody can list that make a program run something else.
fn check_program(spec: &Node<'_>, programs: &dyn Programs, faults: &mut Faults) {
    let program = spec.get("argv").map(Node::items).and_then(<[_]>::first);
    if let Some((node, program)) = program.and_then(|node| Some((node, node.text()?)))
        && !program.trim().is_empty()
        && let Some(why) = programs.refuses(program)
    {
        let help =
            "the setting commandDirectory says so; ask whoever runs manifestd to put the program there".to_owned();
        faults.error(node.span, "program-not-allowed", why, Some(help));
    }
    if let Some((key, env)) = spec.entry("env")
        && !env.entries().is_empty()
    {
        let message = "`spec.command.env` is not allowed with the setting commandDirectory: a variable such as LD_PRELOAD or PYTHONPATH can make a program run anything";
        let help = "set what it needs in a script that lies in that directory".to_owned();
        faults.error(key.span, "env-not-allowed", message.to_owned(), Some(help));
    }
}

fn check_placeholders(node: &Node<'_>, argument: &str, faults: &mut Faults) {
    let mut rest = argument;
    while let Some(open) = rest.find("${") {
        let inner = &rest[open + 2..];
        let Some(close) = inner.find('}') else {
            let help = "write ${app.path}; there is no way to hand a literal `${` on".to_owned();
            faults.error(
                node.span,
                "bad-placeholder",
                format!("a `${{` is never closed in {}", quoted(argument)),
                Some(help),
            );
            return;
        };
        let (name, whole) = (&inner[..close], argument.len() == close + 3);
        rest = &inner[close + 1..];
        let shown = || quoted(&format!("${{{name}}}"));
        if name == "tools" && !whole {
            let help = "make it an argument of its own: it becomes one argument for each tool".to_owned();
            faults.error(
                node.span,
                "bad-placeholder",
                format!("{} stands inside a longer argument", shown()),
                Some(help),
            );
        } else if !PLACEHOLDERS.contains(&name) && name.strip_prefix("config.").is_none_or(str::is_empty) {
            let known =
                "known: ${app.path}, ${app.name}, ${app.model}, ${app.number}, ${task.name}, ${tools}, ${config.KEY}";
            let near = nearest(name, PLACEHOLDERS).map(|near| format!("did you mean `${{{near}}}`?"));
            let help = near.unwrap_or_else(|| known.into());
            faults.error(node.span, "bad-placeholder", format!("{} is not a placeholder", shown()), Some(help));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_on_this_machine_or_not() {
        for near in ["127.0.0.1:1", "127.8.8.8", "[::1]:1/x", "localhost", "LOCALHOST:1?x"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in ["10.0.0.1:1", "127.0.0.1.example.org", "[2001:db8::1]:1", "localhost.example.org", "", "0.0.0.0:1"]
        {
            assert!(!is_loopback(far), "{far}");
        }
    }
}
