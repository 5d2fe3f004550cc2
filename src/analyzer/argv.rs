//! Command lines: the placeholders a declaration may use, and what they become. Never a shell.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The most bytes of arguments; well under what Linux takes (2 MiB with the usual stack limit).
const ARGV_BYTES_MAX: usize = 1024 * 1024;

/// The longest value taken from a request's config.
const CONFIG_BYTES_MAX: usize = 1000;

/// What placeholders are filled from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    /// The app's directory.
    pub path: &'a Path,
    /// The model slug.
    pub model: &'a str,
    /// The app's number.
    pub number: u64,
    /// The request's config for this tool.
    pub config: &'a Map<String, Value>,
    /// The matching files, relative to the app.
    pub files: &'a [PathBuf],
}

/// Checks that every placeholder is known, and that the program itself has none.
///
/// # Errors
/// Names the placeholder.
pub(super) fn check(argv: &[String]) -> Result<(), String> {
    if argv.first().is_none_or(|program| program.is_empty() || program.contains("${")) {
        return Err("the first part of argv is the program, without placeholders".into());
    }
    for part in argv.iter().filter(|part| *part != "${files}") {
        replace(part, |name, _| {
            let config_key = name.strip_prefix("config.").is_some_and(|key| !key.is_empty());
            if matches!(name, "app.path" | "app.model" | "app.number") || config_key {
                Ok(String::new())
            } else {
                Err(format!(
                    "${{{name}}} is not a placeholder: there are ${{app.path}}, ${{app.model}}, ${{app.number}}, ${{config.KEY:-default}}, and ${{files}} as a whole argument"
                ))
            }
        })?;
    }
    Ok(())
}

/// Fills in the placeholders.
///
/// # Errors
/// Says which value is missing or not allowed, or that there are too many files for one command line.
pub(super) fn expand(argv: &[String], values: Values<'_>) -> Result<Vec<String>, String> {
    let path = values.path.to_str().ok_or("the app's path is not UTF-8")?;
    let mut expanded = Vec::with_capacity(argv.len());
    for part in argv {
        if part == "${files}" {
            for file in values.files {
                // Absolute, so that a file named `-rf` is a file and not a flag.
                let file = values.path.join(file).into_os_string().into_string();
                expanded.push(file.map_err(|file| format!("the file name {} is not UTF-8", file.display()))?);
            }
            continue;
        }
        expanded.push(replace(part, |name, default| match name {
            "app.path" => Ok(path.to_owned()),
            "app.model" => Ok(values.model.to_owned()),
            "app.number" => Ok(values.number.to_string()),
            name => config_value(values.config, name.trim_start_matches("config."), default),
        })?);
    }
    let bytes: usize = expanded.iter().map(|part| part.len() + 1).sum();
    if bytes > ARGV_BYTES_MAX {
        return Err(format!("the command line would have {bytes} bytes, more than {ARGV_BYTES_MAX}: too many files"));
    }
    Ok(expanded)
}

fn config_value(config: &Map<String, Value>, key: &str, default: Option<&str>) -> Result<String, String> {
    let value = match config.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(_) => return Err(format!("config {key}: a text, a number or a boolean is needed")),
        None => return default.map(str::to_owned).ok_or_else(|| format!("config {key} is needed")),
    };
    // A request must not be able to add flags to a command.
    if value.starts_with('-') || value.contains('\0') || value.len() > CONFIG_BYTES_MAX {
        return Err(format!("config {key}: at most {CONFIG_BYTES_MAX} bytes, not starting with '-', without NUL"));
    }
    Ok(value)
}

/// Replaces each `${name}` or `${name:-default}` by what `value` says.
fn replace(part: &str, mut value: impl FnMut(&str, Option<&str>) -> Result<String, String>) -> Result<String, String> {
    let mut replaced = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(start) = rest.find("${") {
        let inside = &rest[start + 2..];
        let end = inside.find('}').ok_or_else(|| format!("{part:?}: a \"${{\" has no \"}}\""))?;
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        replaced.push_str(&rest[..start]);
        replaced.push_str(&value(name, default)?);
        rest = &inside[end + 1..];
    }
    replaced.push_str(rest);
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fill(argv: &[&str], config: Value) -> Result<Vec<String>, String> {
        let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
        check(&argv)?;
        let files = [PathBuf::from("-rf"), PathBuf::from("s/b.sh")];
        let config = config.as_object().cloned().unwrap_or_default();
        let values = Values { path: Path::new("/s/m/app1"), model: "m", number: 1, config: &config, files: &files };
        expand(&argv, values)
    }

    #[test]
    fn placeholders_become_values() {
        let filled =
            fill(&["x", "${app.path}/${app.model}-${app.number}", "${config.level:-low}", "${files}"], json!({}));
        assert_eq!(filled.unwrap(), ["x", "/s/m/app1/m-1", "low", "/s/m/app1/-rf", "/s/m/app1/s/b.sh"]);
        assert_eq!(fill(&["x", "--l=${config.level}"], json!({ "level": 3 })).unwrap(), ["x", "--l=3"]);
    }

    #[test]
    fn a_request_cannot_add_flags() {
        for bad in [json!("--exec=x"), json!("a\0b"), json!(["x"]), json!("x".repeat(2000))] {
            assert!(fill(&["x", "${config.level}"], json!({ "level": bad })).is_err());
        }
        assert!(fill(&["x", "${config.level}"], json!({})).unwrap_err().contains("level is needed"));
    }

    #[test]
    fn a_wrong_placeholder_is_named() {
        assert!(fill(&["x", "${home}"], json!({})).unwrap_err().contains("${home}"));
        assert!(fill(&["x", "${app.path"], json!({})).unwrap_err().contains("has no"));
        assert!(fill(&["${app.path}"], json!({})).is_err());
        assert!(fill(&["x", "-f=${files}"], json!({})).is_err());
    }
}
