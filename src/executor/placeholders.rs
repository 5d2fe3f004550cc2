//! Fills the placeholders of a command's argv: pure, and never through a shell, so a value stays one argument whatever is in it.
//!
//! A value that begins an argument and itself begins with `-` would be read as an option by the program. The author of an Analyzer says which options a
//! program gets, not the author of a Task, so such a value is refused, unless an argument that is exactly `--` stands before it, which by
//! convention ends the options.

use serde_json::{Map, Value};

use crate::resource::attempt::Assignment;
use crate::resource::reason::Reason;
use crate::verdict::command::TOOLS;

/// Why an argv cannot be made.
pub type Problem = (Reason, String);

fn invalid(text: String) -> Problem {
    (Reason::InvalidConfiguration, text)
}

/// The program and its arguments. `app_path` is the app's absolute directory.
///
/// # Errors
/// `InvalidConfiguration` for an unknown placeholder, a missing or non-scalar config value, or a value that would be read as an option;
/// `AppNotAddressable` when the app has no model or number and the argv names it.
pub fn expand(argv: &[String], assignment: &Assignment, app_path: &str) -> Result<Vec<String>, Problem> {
    let mut expanded = Vec::with_capacity(argv.len());
    let mut options = true;
    for (at, argument) in argv.iter().enumerate() {
        if argument == TOOLS {
            if at == 0 {
                return Err(invalid(format!("argv[0] is {TOOLS}, but the program must be said by the analyzer")));
            }
            for tool in &assignment.tools {
                no_option(options, tool, TOOLS)?;
                no_nul(tool, TOOLS)?;
                expanded.push(tool.clone());
            }
            continue;
        }
        let filled = fill(argument, assignment, app_path, at == 0)?;
        if argument.starts_with("${") {
            no_option(options, &filled, argument)?;
        }
        no_nul(&filled, argument)?;
        options &= argument != "--";
        expanded.push(filled);
    }
    if expanded.first().is_none_or(String::is_empty) {
        return Err(invalid("argv names no program".into()));
    }
    Ok(expanded)
}

fn no_option(options: bool, value: &str, argument: &str) -> Result<(), Problem> {
    if options && value.starts_with('-') {
        return Err(invalid(format!(
            "{argument} becomes {value:?}, which the program would read as an option; put \"--\" before it in argv, or change the value"
        )));
    }
    Ok(())
}

fn no_nul(value: &str, argument: &str) -> Result<(), Problem> {
    if value.contains('\0') {
        return Err(invalid(format!("argument {argument:?} gets a NUL character, which no argument can hold")));
    }
    Ok(())
}

fn fill(argument: &str, assignment: &Assignment, app_path: &str, program: bool) -> Result<String, Problem> {
    let mut filled = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(start) = rest.find("${") {
        filled.push_str(&rest[..start]);
        let Some(length) = rest[start..].find('}') else {
            return Err(invalid(format!("argument {argument:?} has a ${{ without its }}")));
        };
        let name = &rest[start + 2..start + length];
        if program && name != "app.path" {
            return Err(invalid(format!(
                "argv[0] is {argument:?}, but only ${{app.path}} may be part of the program's name"
            )));
        }
        filled.push_str(&value(name, argument, assignment, app_path)?);
        rest = &rest[start + length + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value(name: &str, argument: &str, assignment: &Assignment, app_path: &str) -> Result<String, Problem> {
    let app = &assignment.app;
    let lacks = |field: &str| {
        let text = format!("argument {argument:?} needs the app's {field}, and app {} has no spec.{field}", app.name);
        (Reason::AppNotAddressable, text)
    };
    if name.starts_with("app.") && assignment.app.name.is_empty() {
        let text = format!("argument {argument:?} names the app, and the task has none");
        return Err((Reason::AppNotAddressable, text));
    }
    match name {
        "app.path" => Ok(app_path.to_owned()),
        "app.name" => Ok(app.name.clone()),
        "app.model" => app.model.clone().ok_or_else(|| lacks("model")),
        "app.number" => app.number.map(|number| number.to_string()).ok_or_else(|| lacks("number")),
        "task.name" => Ok(assignment.task.clone()),
        "tools" => Err(invalid(format!("argument {argument:?}: {TOOLS} must be an argument of its own"))),
        _ => match name.strip_prefix("config.") {
            Some(key) => config_value(key, argument, &assignment.config),
            None => Err(invalid(format!(
                "argument {argument:?}: unknown placeholder ${{{name}}}; known are app.path, app.name, app.model, app.number, task.name, config.KEY and tools"
            ))),
        },
    }
}

fn config_value(key: &str, argument: &str, config: &Map<String, Value>) -> Result<String, Problem> {
    match config.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Ok(scalar.to_string()),
        Some(_) => Err(invalid(format!(
            "argument {argument:?}: the task's spec.config.{key} is not a text, number or boolean"
        ))),
        None => Err(invalid(format!("argument {argument:?}: the task has no spec.config.{key}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::analyzer::Credentials;
    use crate::resource::attempt::{AppTarget, AttemptId, Target};
    use crate::resource::name::Uid;
    use crate::resource::time::{Span, Timestamp};

    fn try_expand(argv: &[&str], config: Value, tools: &[&str]) -> Result<Vec<String>, Problem> {
        let assignment = Assignment {
            id: AttemptId { task: Uid("t".into()), number: 1 },
            task: "lint".into(),
            analyzer: "ruff".into(),
            app: AppTarget {
                name: "a".into(),
                path: "apps/a".into(),
                model: None,
                number: Some(7),
                target_urls: Vec::new(),
            },
            target: Target::WebSocket {
                url: String::new(),
                request: String::new(),
                connect_timeout: Span(1),
                credentials: Credentials::default(),
                extended: false,
            },
            rate: None,
            tools: tools.iter().map(|&tool| tool.to_owned()).collect(),
            config: config.as_object().cloned().unwrap_or_default(),
            keep_results: crate::resource::analyzer::KeepResults::Always,
            origin: crate::resource::attempt::Origin::default(),
            stamp: None,
            opened_at: Timestamp(0),
            deadline_at: Timestamp(1),
            resumed: false,
        };
        let argv: Vec<String> = argv.iter().map(|&argument| argument.to_owned()).collect();
        expand(&argv, &assignment, "/w/apps/a b")
    }

    #[test]
    fn values_stay_one_argument() {
        let argv = [
            "${app.path}/run",
            "${app.path}",
            "n=${app.number},${task.name}",
            "${config.x}",
            "$HOME `id` $(id)",
            "${tools}",
        ];
        let expanded = try_expand(&argv, json!({"x": "a; rm b"}), &["one", "two"]).unwrap();
        assert_eq!(
            expanded,
            ["/w/apps/a b/run", "/w/apps/a b", "n=7,lint", "a; rm b", "$HOME `id` $(id)", "one", "two"]
        );
        assert_eq!(try_expand(&["p", "${tools}"], json!({}), &[]).unwrap(), ["p"]);
    }

    #[test]
    fn a_value_is_not_filled_again() {
        let expanded = try_expand(&["p", "${config.x}"], json!({"x": "${app.path}"}), &[]).unwrap();
        assert_eq!(expanded[1], "${app.path}");
    }

    #[test]
    fn a_task_cannot_smuggle_in_an_option() {
        for argv in [&["p", "${config.x}"][..], &["p", "${config.x}${task.name}"]] {
            assert_eq!(try_expand(argv, json!({"x": "-rf"}), &[]).unwrap_err().0, Reason::InvalidConfiguration);
        }
        assert!(try_expand(&["p", "${tools}"], json!({}), &["--fix"]).is_err());
        assert!(try_expand(&["p", "--", "${config.x}"], json!({"x": "-rf"}), &[]).is_ok());
        assert!(try_expand(&["p", "--level=${config.x}"], json!({"x": -3}), &[]).is_ok());
        assert!(try_expand(&["${config.x}"], json!({"x": "evil"}), &[]).is_err());
        assert!(try_expand(&["${tools}"], json!({}), &["evil"]).is_err());
    }

    #[test]
    fn a_tool_with_a_nul_character_is_refused_as_a_value_with_one_is() {
        let problem = try_expand(&["p", "${tools}"], json!({}), &["a\0b"]).unwrap_err();
        assert_eq!(problem.0, Reason::InvalidConfiguration);
        assert!(problem.1.contains("${tools}") && problem.1.contains("NUL"), "{}", problem.1);
    }

    #[test]
    fn what_cannot_be_filled_is_refused_with_a_reason() {
        for (argument, reason) in [
            ("${nope}", Reason::InvalidConfiguration),
            ("${config.none}", Reason::InvalidConfiguration),
            ("${config.list}", Reason::InvalidConfiguration),
            ("a${tools}", Reason::InvalidConfiguration),
            ("${app.path", Reason::InvalidConfiguration),
            ("${config.nul}", Reason::InvalidConfiguration),
            ("${app.model}", Reason::AppNotAddressable),
        ] {
            let config = json!({"list": [1], "nul": "a\0b"});
            assert_eq!(try_expand(&["p", argument], config, &[]).unwrap_err().0, reason, "{argument}");
        }
    }
}
