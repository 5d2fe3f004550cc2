//! The import of the old system's database: rows are read in batches, mapped, and written in batches, so that neither memory nor a
//! transaction grows with the history. Whatever stops it, the next import goes on where this one ended, since what is here is known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use crate::import::app::{self, AppRecord};
use crate::import::cell::Row;
use crate::import::note::{Note, NoteKind, Notes};
use crate::import::schema::{APPS, OldTable, PIPELINES, TABLES, TASKS};
use crate::import::task::{self, CHILDREN_MAX, TaskRecord};
use crate::import::{identity, pipeline};
use crate::resource::phase::Phase;
use crate::resource::time::{Span, Timestamp};
use crate::store::import::{Record, Written, look_up};
use crate::store::old::{OldDatabase, OldError, Shape};
use crate::store::{Store, StoreError};

/// Rows that are read, mapped and written at once: a transaction of a few milliseconds.
const BATCH: usize = 500;

/// Pipelines that are read and written at once: each can have thousands of parts.
const PIPELINE_BATCH: usize = 4;

/// Why an import ended early. What it had written before is kept.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The old database.
    #[error(transparent)]
    Old(#[from] OldError),
    /// This one.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where records go.
pub enum Target {
    /// Into the store.
    Store(Store),
    /// Nowhere; it is only looked what is there already, if there is a database.
    Nowhere(Option<Connection>),
}

/// How to import.
#[derive(Debug, Clone)]
pub struct Options<'o> {
    /// The workspace that the apps lie in.
    pub workspace: &'o Path,
    /// Where they lie, relative to it.
    pub root: &'o str,
    /// The time.
    pub now: Timestamp,
    /// Days for which a finished task is listed.
    pub retention_days: u64,
}

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// The table.
    pub table: &'static str,
    /// Rows that it has.
    pub rows: u64,
    /// Rows whose record is here now.
    pub imported: u64,
    /// Rows whose record was here before.
    pub known: u64,
    /// Rows that are about something which another row stands for.
    pub merged: u64,
    /// Rows that have no record.
    pub left_out: u64,
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportReport {
    /// The old database.
    pub database: String,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// How its tables differ from those that are known.
    pub schema: Shape,
    /// What became of each table.
    pub tables: Vec<TableReport>,
    /// Tasks by the phase that they have here.
    pub phases: BTreeMap<Phase, u64>,
    /// Notes by kind.
    pub notes: BTreeMap<NoteKind, u64>,
    /// Some notes of each kind.
    pub rows: Vec<Note>,
    /// New tasks that ended longer ago than finished tasks are listed.
    pub over_retention: u64,
    /// Days for which they are.
    pub retention_days: u64,
    /// Whether something could not be mapped.
    pub lost: bool,
}

/// One import.
struct Import<'i> {
    old: &'i OldDatabase,
    target: &'i Target,
    options: &'i Options<'i>,
    notes: Notes,
    report: ImportReport,
    /// The names of apps in folders of their templates, by the name that they would have without.
    within: HashMap<String, String>,
    /// The apps and pipelines that earlier rows of this import stand for.
    seen: HashSet<String>,
    /// What a dry run would have made: uid and path by table and name.
    would: HashMap<(&'static str, String), (String, String)>,
}

/// Imports everything. `told` hears of each batch: the table, how many of its rows are done, and how many there are.
///
/// # Errors
/// What either database says.
pub async fn import(
    old: &OldDatabase,
    target: &Target,
    options: &Options<'_>,
    told: &mut dyn FnMut(&str, u64, u64),
) -> Result<ImportReport, ImportError> {
    let report = ImportReport {
        dry_run: matches!(target, Target::Nowhere(_)),
        schema: old.shape().clone(),
        retention_days: options.retention_days,
        ..ImportReport::default()
    };
    let (notes, within, seen, would) = (Notes::default(), HashMap::new(), HashSet::new(), HashMap::new());
    let mut import = Import { old, target, options, notes, report, within, seen, would };
    for table in &TABLES {
        import.table(table, told).await?;
    }
    let Import { notes, mut report, .. } = import;
    report.lost = notes.losses() > 0 || !report.schema.needed_columns.is_empty();
    report.notes = notes.counts;
    report.rows = notes.kept;
    Ok(report)
}

impl Import<'_> {
    async fn table(&mut self, table: &OldTable, told: &mut dyn FnMut(&str, u64, u64)) -> Result<(), ImportError> {
        let mut report = TableReport { table: table.name, rows: self.old.count(table)?, ..TableReport::default() };
        let size = if table.name == PIPELINES.name { PIPELINE_BATCH } else { BATCH };
        let (mut after, mut done) = (None, 0);
        loop {
            let rows = self.old.rows(table, after, size)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            done += rows.len() as u64;
            let mut records = Vec::with_capacity(rows.len());
            for row in &rows {
                match self.map(row, &mut report)? {
                    Some(record) => records.push(record),
                    None => report.left_out += 1,
                }
            }
            self.write(records, &mut report).await?;
            told(table.name, done, report.rows);
        }
        report.left_out -= report.merged;
        self.report.tables.push(report);
        Ok(())
    }

    /// The record of a row.
    fn map(&mut self, row: &Row, report: &mut TableReport) -> Result<Option<Record>, ImportError> {
        let now = self.options.now;
        if row.table == APPS.name {
            if self.old.is_outdated(row.id)? {
                report.merged += 1;
                self.notes.add(NoteKind::OlderVersion, row, "a newer version of the same app is imported in its place");
                return Ok(None);
            }
            let is_there = |path: &str| self.options.workspace.join(path).is_dir();
            let record = app::app(row, self.options.root, is_there, now, &mut self.notes);
            let Some(app) = record else { return Ok(None) };
            if !self.seen.insert(app.uid.0.clone()) {
                report.merged += 1;
                self.notes.add(NoteKind::OlderVersion, row, format!("an earlier row stands for {:?}", app.spec.path));
                return Ok(None);
            }
            self.remember(&app);
            return Ok(Some(Record::App(Box::new(app))));
        }
        if row.table == TASKS.name {
            let (repeats, has_parent) = self.old.kin(row.id)?;
            if repeats {
                self.notes.add(NoteKind::RepeatedIdentity, row, "its task_id is that of an earlier row, which counts");
                return Ok(None);
            }
            if !has_parent {
                self.notes.add(NoteKind::ParentGone, row, "its main task is not in the table");
            }
            let mut notes = std::mem::take(&mut self.notes);
            let record = self.task(row, &mut notes);
            self.notes = notes;
            return Ok(record?.map(|task| Record::Task(Box::new(task))));
        }
        self.run(row)
    }

    fn remember(&mut self, app: &AppRecord) {
        if let (Some(model), Some(number)) = (&app.spec.model, app.spec.number) {
            let flat = app::flat(self.options.root, model, number).name();
            if flat != app.name {
                self.within.entry(flat).or_insert_with(|| app.name.clone());
            }
        }
    }

    /// A task with the name of its app as that is here.
    fn task(&self, row: &Row, notes: &mut Notes) -> Result<Option<TaskRecord>, ImportError> {
        let is_main = row.text("service_name").is_none() || row.is_true("is_main_task");
        let children = match row.text("task_id").filter(|_| is_main) {
            Some(id) => self.old.children(id, CHILDREN_MAX)?,
            None => Vec::new(),
        };
        let mut record = task::task(row, &children, self.options.now, notes);
        if let Some(task) = &mut record
            && let Some(name) = self.within.get(&task.spec.app)
        {
            task.spec.app.clone_from(name);
        }
        Ok(record)
    }

    fn run(&mut self, row: &Row) -> Result<Option<Record>, ImportError> {
        let progress = pipeline::progress(row, &mut self.notes);
        let mut tasks = Vec::with_capacity(progress.main_tasks.len());
        for id in &progress.main_tasks {
            // What is wrong with a task was told where it was mapped itself.
            tasks.push(match self.old.task(id)? {
                Some(row) => self.task(&row, &mut Notes::default())?,
                None => None,
            });
        }
        let record = pipeline::run(row, &progress, &tasks, self.options.now, &mut self.notes);
        let Some(run) = record else { return Ok(None) };
        if !self.seen.insert(run.uid.0.clone()) {
            self.notes.add(NoteKind::RepeatedIdentity, row, "its pipeline_id is that of an earlier row, which counts");
            return Ok(None);
        }
        Ok(Some(Record::Run(Box::new(run))))
    }

    async fn write(&mut self, records: Vec<Record>, report: &mut TableReport) -> Result<(), ImportError> {
        let written = match self.target {
            Target::Store(store) => store.write_imported(records.clone(), self.options.now).await?,
            Target::Nowhere(connection) => {
                let look = |record: &Record| self.would_be(connection.as_ref(), record);
                records.iter().map(look).collect::<Result<_, _>>()?
            }
        };
        for (record, written) in records.iter().zip(written) {
            self.count(record, &written, report);
        }
        Ok(())
    }

    /// What would become of a record, if it and those before it were written.
    fn would_be(&self, connection: Option<&Connection>, record: &Record) -> Result<Written, StoreError> {
        let written = connection.map_or(Ok(Written::New), |connection| look_up(connection, record))?;
        let (table, _, uid, name, path) = parts(record);
        Ok(match self.would.get(&(table, name.to_owned())) {
            Some((holder, _)) if written == Written::New && holder == uid => Written::Known,
            Some((_, holder)) if written == Written::New && !path.is_empty() => Written::Taken(holder.clone()),
            Some(_) if written == Written::New => {
                Written::Renamed(identity::other_name(name, &crate::resource::name::Uid(uid.to_owned())))
            }
            _ => written,
        })
    }

    fn count(&mut self, record: &Record, written: &Written, report: &mut TableReport) {
        let (table, row, uid, name, path) = parts(record);
        match written {
            Written::Known => return report.known += 1,
            Written::Taken(holder) => {
                report.left_out += 1;
                let message = format!("{path:?} would be App {name:?}, which stands for {holder:?}");
                return self.notes.about(NoteKind::NameTaken, table, row, message);
            }
            Written::Renamed(other) => {
                self.notes.about(
                    NoteKind::Renamed,
                    table,
                    row,
                    format!("{name:?} is taken, so it is called {other:?}"),
                );
            }
            Written::New => {}
        }
        report.imported += 1;
        if self.report.dry_run {
            self.would.insert((table, name.to_owned()), (uid.to_owned(), path.to_owned()));
        }
        if let Record::Task(task) = record {
            *self.report.phases.entry(task.phase).or_default() += 1;
            let days = Span::minutes(self.options.retention_days.saturating_mul(24 * 60));
            self.report.over_retention += u64::from(task.finished_at < self.options.now.minus(days));
        }
    }
}

/// Table, row, uid, name and, of an app, the path of a record.
fn parts(record: &Record) -> (&'static str, i64, &str, &str, &str) {
    match record {
        Record::App(app) => (APPS.name, app.row, &app.uid.0, &app.name, &app.spec.path),
        Record::Task(task) => (TASKS.name, task.row, &task.uid.0, &task.name, ""),
        Record::Run(run) => (PIPELINES.name, run.row, &run.uid.0, &run.name, ""),
    }
}
