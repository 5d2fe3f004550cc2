//! A row of `generated_applications` as an App: named as an AppSet would name it, so that one which finds the directory has this record.

use std::collections::BTreeMap;

use super::cell::Row;
use super::identity;
use super::moment;
use super::note::{NoteKind, Notes};
use super::schema::APPS;
use crate::plan::apps::FoundDirectory;
use crate::resource::app::AppSpec;
use crate::resource::name::{Uid, check_slug};
use crate::resource::outcome::one_line;
use crate::resource::time::Timestamp;

/// Where the old system kept its apps, relative to its project.
pub const ROOT: &str = "generated/apps";

/// The largest number that an app may have; that of `AppSpec`.
pub const NUMBER_MAX: i64 = 1_000_000;

/// An App to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct AppRecord {
    /// The row's id.
    pub row: i64,
    /// Its uid.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: AppSpec,
    /// Labels, as an AppSet gives them.
    pub labels: BTreeMap<String, String>,
    /// What else the old system knew of it.
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when its directory is gone.
    pub missing_since: Option<Timestamp>,
}

/// Model and number of the app that a row is about; `None`, with a note, when they cannot be those of one.
pub fn target(row: &Row, model: &str, number: &str, notes: &mut Notes) -> Option<(String, u32)> {
    let slug = row.text(model).unwrap_or_default();
    if let Err(wrong) = check_slug(slug) {
        notes.add(NoteKind::BadIdentity, row, format!("{model}: {wrong}"));
        return None;
    }
    let number_of = row.int(number).filter(|number| (0..=NUMBER_MAX).contains(number));
    let Some(number_of) = number_of.and_then(|number| u32::try_from(number).ok()) else {
        notes.add(NoteKind::BadIdentity, row, format!("{number} is no number from 0 to {NUMBER_MAX}"));
        return None;
    };
    Some((slug.to_owned(), number_of))
}

/// The directory of an app without a folder for its template.
#[must_use]
pub fn flat(root: &str, model: &str, number: u32) -> FoundDirectory {
    FoundDirectory {
        path: format!("{root}/{model}/app{number}"),
        model: Some(model.to_owned()),
        template: None,
        number,
    }
}

/// Maps a row. `is_there` says whether a directory, relative to the workspace, exists: only so it is known whether the app lies in a folder
/// named after its template.
pub fn app(
    row: &Row,
    root: &str,
    is_there: impl Fn(&str) -> bool,
    now: Timestamp,
    notes: &mut Notes,
) -> Option<AppRecord> {
    let (model, number) = target(row, "model_slug", "app_number", notes)?;
    let created_at = moment::times(row, now, notes)?.created;
    let missing_since = moment::read(row, "missing_since", now, notes);
    let directory = flat(root, &model, number);
    let template = row.text("template_slug").filter(|template| check_slug(template).is_ok());
    let within = template.map(|template| FoundDirectory {
        path: format!("{root}/{model}/{template}/app{number}"),
        template: Some(template.to_owned()),
        ..directory.clone()
    });
    let directory = match within {
        Some(within) if !is_there(&directory.path) && is_there(&within.path) => within,
        _ => directory,
    };
    let mut labels = BTreeMap::from([("model".to_owned(), model.clone())]);
    labels.extend(directory.template.clone().map(|template| ("template".to_owned(), template)));
    let mut annotations = BTreeMap::from([("import/row".to_owned(), format!("{} {}", APPS.name, row.id))]);
    for column in
        ["version", "app_type", "provider", "template_slug", "generation_status", "failure_stage", "error_message"]
    {
        let text = row.text(column).map(one_line).or_else(|| row.int(column).map(|number| number.to_string()));
        annotations.extend(text.map(|text| (format!("import/{}", column.replace('_', "-")), text)));
    }
    let name = directory.name();
    Some(AppRecord {
        row: row.id,
        uid: identity::uid(APPS.name, &directory.path),
        name,
        spec: AppSpec { path: directory.path, model: Some(model), number: Some(number), target_urls: Vec::new() },
        labels,
        annotations,
        created_at,
        missing_since,
    })
}

#[cfg(test)]
mod tests {
    use super::super::cell::Cell;
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_428_000_000);

    fn row(more: &[(&'static str, Cell)]) -> Row {
        let text = |text: &str| Cell::Text(text.into());
        let mut cells = BTreeMap::from([
            ("model_slug", text("openai_gpt-4o")),
            ("app_number", Cell::Int(3)),
            ("created_at", text("2025-11-01 12:00:00")),
            ("template_slug", text("crud_todo")),
            ("generation_status", text("COMPLETED")),
        ]);
        cells.extend(more.iter().cloned());
        Row { table: APPS.name, id: 9, cells }
    }

    #[test]
    fn an_app_is_called_as_an_app_set_would_call_its_directory() {
        let mut notes = Notes::default();
        let flat = app(&row(&[]), ROOT, |_| false, NOW, &mut notes).unwrap();
        assert_eq!(
            (flat.name.as_str(), flat.spec.path.as_str()),
            ("openai-gpt-4o-app3", "generated/apps/openai_gpt-4o/app3")
        );
        let within = |path: &str| path == "generated/apps/openai_gpt-4o/crud_todo/app3";
        let nested = app(&row(&[]), ROOT, within, NOW, &mut notes).unwrap();
        assert_eq!(nested.name, "openai-gpt-4o-crud-todo-app3");
        assert_eq!(
            (nested.labels["template"].as_str(), nested.annotations["import/generation-status"].as_str()),
            ("crud_todo", "COMPLETED")
        );
        assert!(nested.uid != flat.uid && notes.kept.is_empty());
    }

    #[test]
    fn missing_since_is_kept_where_there_is_one() {
        let mut notes = Notes::default();
        let gone = row(&[("missing_since", Cell::Text("2025-11-02 12:00:00".into()))]);
        let gone = app(&gone, ROOT, |_| false, NOW, &mut notes).unwrap();
        assert_eq!(gone.missing_since, Some(Timestamp(1_762_084_800_000)));
        assert_eq!(app(&row(&[]), ROOT, |_| false, NOW, &mut notes).unwrap().missing_since, None);
    }

    #[test]
    fn what_cannot_be_an_app_is_told() {
        let mut notes = Notes::default();
        for (column, cell) in [
            ("model_slug", Cell::Text("../../etc".into())),
            ("model_slug", Cell::Null),
            ("app_number", Cell::Int(-1)),
            ("app_number", Cell::Int(i64::MAX)),
            ("app_number", Cell::Text("many".into())),
        ] {
            assert_eq!(app(&row(&[(column, cell)]), ROOT, |_| true, NOW, &mut notes), None);
        }
        assert_eq!(notes.counts[&NoteKind::BadIdentity], 5);
    }
}
