//! Rules of kind Pipeline: what its steps are, what they need, what they are done for, and what their texts stand for.

use std::collections::{BTreeMap, BTreeSet};

use super::path::may_be_inside_roots;
use super::template::{Scope, check_texts};
use super::{name_fits, no_repeats, text, tool_fits};
use crate::manifest::faults::Faults;
use crate::manifest::suggest::{did_you_mean, quoted};
use crate::manifest::tree::{Node, Yaml};
use crate::plan::pipeline::schedule;

/// Items of one step at most.
const ITEMS_MAX: i128 = 1_000_000;

/// Fields that only steps with an analyzer have.
const OF_TASKS: [&str; 11] = [
    "app",
    "produces",
    "outputs",
    "tools",
    "config",
    "pool",
    "priority",
    "cache",
    "activeDeadlineSeconds",
    "backoffLimit",
    "retry",
];

/// Rules of a Pipeline that need no other object.
pub(super) fn check(spec: &Node<'_>, roots: &[String], faults: &mut Faults) {
    let params = spec.get("params").map(params).unwrap_or_default();
    check_params(spec, faults);
    let steps = spec.get("steps").map(Node::items).unwrap_or_default();
    let last = spec.get("finally").map(Node::items).unwrap_or_default();
    let mut seen = BTreeSet::new();
    for node in steps.iter().chain(last) {
        let Some((place, name)) = text(node, "name") else { continue };
        if name.contains('.') || name.contains('_') {
            let help = "lower-case letters, digits and '-'".to_owned();
            faults.error(place.span, "bad-name", format!("a step cannot be called {}", quoted(name)), Some(help));
        } else {
            name_fits(place.span, "name", name, faults);
        }
        if !seen.insert(name) {
            let message = format!("there is another step called {}", quoted(name));
            faults.error(place.span, "duplicate-step", message, Some("each step needs a name of its own".into()));
        }
    }
    for (list, others) in [(steps, last), (last, steps)] {
        let graph = needs(list, others, faults);
        circle(list, &graph, faults);
        for node in list {
            let before = text(node, "name").map(|(_, name)| ancestors(name, &graph)).unwrap_or_default();
            // `finally` comes after everything else.
            let before: Vec<&Node<'_>> = steps
                .iter()
                .chain(last)
                .filter(|other| {
                    let name = text(other, "name").map(|(_, name)| name).unwrap_or_default();
                    before.contains(name)
                        || (std::ptr::eq(list, last) && steps.iter().any(|step| std::ptr::eq(step, *other)))
                })
                .collect();
            check_step(node, list, &params, &before, faults);
            if let Some((place, path)) = node.get("produces").and_then(|produces| text(produces, "path")) {
                may_be_inside_roots(place.span, "produces.path", path, roots, faults);
            }
        }
    }
    check_schedule(spec, faults);
}

fn params<'n>(node: &'n Node<'_>) -> BTreeSet<&'n str> {
    node.entries().iter().map(|(key, _)| key.text.as_ref()).collect()
}

fn check_params(spec: &Node<'_>, faults: &mut Faults) {
    for (key, value) in spec.get("params").map(Node::entries).unwrap_or_default() {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if key.text.is_empty() || !key.text.chars().all(word) {
            let help = Some("letters, digits, '_' and '-'".to_owned());
            faults.error(key.span, "bad-name", format!("a parameter cannot be called {}", quoted(&key.text)), help);
        }
        match &value.value {
            Yaml::Map(entries) => {
                for (field, _) in entries {
                    let known = ["type", "enum", "default", "description"];
                    if !known.contains(&field.text.as_ref()) {
                        let help =
                            did_you_mean(&field.text, known).or_else(|| Some(format!("one of: {}", known.join(", "))));
                        faults.error(
                            field.span,
                            "unknown-field",
                            format!("a parameter has no {}", quoted(&field.text)),
                            help,
                        );
                    }
                }
                if let Some((node, word)) = text(value, "type")
                    && !["string", "number", "boolean"].contains(&word)
                {
                    let help = Some("one of: string, number, boolean".to_owned());
                    faults.error(node.span, "wrong-type", format!("there is no type {}", quoted(word)), help);
                }
                let declared = crate::plan::pipeline::render::declared(&crate::manifest::validate::to_json(value));
                let wrong = |found: &serde_json::Value| {
                    declared.word.is_some_and(|word| crate::plan::pipeline::render::type_of(found) != Some(word))
                        || (!declared.choices.is_empty() && !declared.choices.contains(found))
                };
                if let (Some(found), Some(node)) = (&declared.default, value.get("default"))
                    && wrong(found)
                {
                    let message = format!("the default of {} does not fit its type or its choices", quoted(&key.text));
                    faults.error(node.span, "contradiction", message, None);
                }
            }
            Yaml::List(_) | Yaml::Null => {
                let help = Some("write its default, or a map of type, enum, default and description".to_owned());
                faults.error(
                    value.span,
                    "wrong-type",
                    format!("the parameter {} has no plain value", quoted(&key.text)),
                    help,
                );
            }
            Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) | Yaml::Lost => {}
        }
    }
}

/// What each step needs, by name; what cannot be needed is reported.
fn needs<'n>(list: &'n [Node<'_>], others: &'n [Node<'_>], faults: &mut Faults) -> BTreeMap<&'n str, Vec<&'n str>> {
    let name = |node: &'n Node<'_>| text(node, "name").map(|(_, name)| name);
    let names: BTreeSet<&str> = list.iter().filter_map(name).collect();
    let elsewhere: BTreeSet<&str> = others.iter().filter_map(name).collect();
    let mut graph: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in list {
        let Some(own) = name(node) else { continue };
        let items = node.get("needs").map(Node::items).unwrap_or_default();
        no_repeats(items, "needs", faults);
        let from = node.get("forEach").and_then(|each| each.get("appsFrom"));
        for need in items.iter().chain(from) {
            let Some(word) = need.text() else { continue };
            if word == own {
                faults.error(need.span, "needs-itself", format!("step {} needs itself", quoted(own)), None);
            } else if names.contains(word) {
                graph.entry(own).or_default().push(word);
            } else {
                let help = if elsewhere.contains(word) {
                    Some(
                        "steps and what runs finally cannot need each other; finally runs after all steps anyway"
                            .to_owned(),
                    )
                } else {
                    did_you_mean(word, names.iter().copied())
                };
                faults.error(need.span, "unknown-step", format!("there is no step {} here", quoted(word)), help);
            }
        }
    }
    graph
}

fn ancestors<'n>(name: &str, graph: &BTreeMap<&'n str, Vec<&'n str>>) -> BTreeSet<&'n str> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&str> = graph.get(name).cloned().unwrap_or_default();
    while let Some(next) = left.pop() {
        if found.insert(next) {
            left.extend(graph.get(next).into_iter().flatten());
        }
    }
    found
}

/// Reports one need of each circle, with the whole of it.
fn circle<'n>(list: &'n [Node<'_>], graph: &BTreeMap<&'n str, Vec<&'n str>>, faults: &mut Faults) {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for node in list {
        let Some((_, name)) = text(node, "name") else { continue };
        if told.contains(name) || !ancestors(name, graph).contains(name) {
            continue;
        }
        // Every step on the way comes back to this one.
        let mut way = vec![name];
        while let Some(next) =
            graph.get(way[way.len() - 1]).into_iter().flatten().find(|next| ancestors(next, graph).contains(name))
        {
            if way.contains(next) {
                break;
            }
            way.push(next);
        }
        told.extend(&way);
        way.push(name);
        let place = node.get("needs").or_else(|| node.get("forEach")).unwrap_or(node);
        let help = Some("take one of these needs away".to_owned());
        faults.error(place.span, "circle", format!("these steps wait for each other: {}", way.join(" -> ")), help);
    }
}

fn check_step(node: &Node<'_>, list: &[Node<'_>], params: &BTreeSet<&str>, before: &[&Node<'_>], faults: &mut Faults) {
    let kinds: Vec<&str> =
        ["analyzer", "pipeline", "approval"].into_iter().filter(|kind| node.get(kind).is_some()).collect();
    let [kind] = kinds.as_slice() else {
        let message = if kinds.is_empty() {
            "a step has one of `analyzer`, `pipeline` and `approval`".to_owned()
        } else {
            format!("a step has only one of `{}`", kinds.join("` and `"))
        };
        let span = node.entries().first().map_or(node.span, |(key, _)| key.span);
        return faults.error(span, "step-kind", message, None);
    };
    let unfit: &[&str] = match *kind {
        "analyzer" => &["params"],
        "pipeline" => &OF_TASKS,
        _ => &["forEach", "params", "maxParallel"],
    };
    let also: &[&str] = if *kind == "approval" { &OF_TASKS } else { &[] };
    for field in unfit.iter().chain(also) {
        if let Some((key, _)) = node.entry(field) {
            let message = format!("a step with `{kind}` has no `{field}`");
            faults.error(key.span, "unknown-field", message, None);
        }
    }
    for field in ["analyzer", "pipeline", "pool"] {
        if let Some((place, name)) = text(node, field) {
            name_fits(place.span, field, name, faults);
        }
    }
    let tools = node.get("tools").map(Node::items).unwrap_or_default();
    for tool in tools {
        if let Some(name) = tool.text() {
            tool_fits(tool.span, "tools", name, faults);
        }
    }
    no_repeats(tools, "tools", faults);
    check_when(node, faults);
    if let Some(each) = node.get("forEach") {
        check_for_each(each, list, faults);
    }
    if let (Some(produces), Some(app)) = (node.get("produces"), node.entry("app")) {
        let _ = produces;
        faults.error(
            app.0.span,
            "contradiction",
            "a step that produces an app works on none yet; leave `app` away".into(),
            None,
        );
    }
    check_texts(node, &Scope::of(node, params, before), faults);
}

fn check_when(node: &Node<'_>, faults: &mut Faults) {
    let needs: Vec<&str> = node
        .get("needs")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .chain(node.get("forEach").and_then(|each| each.get("appsFrom")))
        .filter_map(Node::text)
        .collect();
    for condition in node.get("when").map(Node::items).unwrap_or_default() {
        if let Some((place, step)) = text(condition, "step")
            && !needs.contains(&step)
        {
            let help = Some("name it in `needs`, so that it has ended when this is asked".to_owned());
            faults.error(
                place.span,
                "unknown-step",
                format!("`when` asks about step {}, which is not needed", quoted(step)),
                help,
            );
        }
        if condition.entries().len() == 1 && condition.get("step").is_some() {
            let help = Some("give phases, succeededAtLeast, failedAtLeast or failedAtMost".to_owned());
            faults.error(condition.span, "empty-condition", "this condition asks nothing".into(), help);
        }
    }
}

fn check_for_each(each: &Node<'_>, list: &[Node<'_>], faults: &mut Faults) {
    let given: Vec<_> =
        ["items", "range", "apps", "appsFrom"].into_iter().filter_map(|field| each.entry(field)).collect();
    if let [_, (key, _), ..] = given.as_slice() {
        let help = Some("combine it with `matrix` instead".to_owned());
        faults.error(
            key.span,
            "contradiction",
            "`forEach` has only one of items, range, apps and appsFrom".into(),
            help,
        );
    }
    if given.is_empty() && each.get("matrix").is_none() {
        let help = Some("give items, range, apps, appsFrom or matrix".to_owned());
        faults.error(each.span, "missing-field", "`forEach` does not say for what".into(), help);
    }
    if let Some(items) = each.get("items") {
        if matches!(&items.value, Yaml::List(list) if list.is_empty()) {
            faults.error(items.span, "out-of-range", "`items` is empty".into(), Some("leave the step away".into()));
        }
        for item in items.items() {
            let plain = |node: &Node<'_>| !matches!(node.value, Yaml::List(_) | Yaml::Map(_) | Yaml::Null);
            let fits =
                plain(item) || (!item.entries().is_empty() && item.entries().iter().all(|(_, value)| plain(value)));
            if !fits {
                let help = Some("a text, a number, a boolean, or a map of these".to_owned());
                faults.error(item.span, "wrong-type", "this cannot be an item".into(), help);
            }
        }
    }
    if let Some(range) = each.get("range")
        && let (Some(Yaml::Int(from)), Some(Yaml::Int(to))) =
            (range.get("from").map(|node| &node.value), range.get("to").map(|node| &node.value))
        && (to < from || to - from >= ITEMS_MAX)
    {
        let message = format!("from {from} to {to} are not between 1 and {ITEMS_MAX} items");
        faults.error(range.span, "out-of-range", message, None);
    }
    for (key, values) in each.get("matrix").map(Node::entries).unwrap_or_default() {
        if values.items().is_empty() {
            faults.error(key.span, "out-of-range", format!("the matrix has no values for {}", quoted(&key.text)), None);
        }
    }
    if let Some(from) = each.get("appsFrom")
        && let Some(word) = from.text()
        && let Some(source) = list.iter().find(|step| text(step, "name").is_some_and(|(_, name)| name == word))
    {
        let of_each =
            source.get("forEach").is_some_and(|each| each.get("apps").is_some() || each.get("appsFrom").is_some());
        if source.get("produces").is_none() && source.get("app").is_none() && !of_each {
            let help = Some(format!("step {} needs `produces`, `app`, or a `forEach` over apps", quoted(word)));
            faults.error(from.span, "no-apps", format!("step {} has no apps", quoted(word)), help);
        }
    }
}

fn check_schedule(spec: &Node<'_>, faults: &mut Faults) {
    let Some(node) = spec.get("schedule") else { return };
    let Some((cron, cron_text)) = text(node, "cron") else { return };
    let zone = text(node, "timeZone");
    if let Err(why) = schedule::check(cron_text, "UTC") {
        let help = Some(
            "minute, hour, day of the month, month, day of the week: `0 2 * * *` is every night at two".to_owned(),
        );
        return faults.error(cron.span, "bad-schedule", why, help);
    }
    if let Some((place, zone)) = zone
        && let Err(why) = schedule::check(cron_text, zone)
    {
        faults.error(place.span, "bad-schedule", why, None);
    }
}
