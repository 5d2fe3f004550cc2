//! What each transaction changed, noted by the database itself: temporary triggers write the old and the new row of every table that a law
//! is about. They are part of the transaction, so what was taken back is not noted.

use rusqlite::Connection;
use serde_json::Value;

/// The tables that laws are about, each with the columns that they look at.
const TABLES: [(&str, &[&str]); 10] = [
    ("object", &["uid", "kind", "name", "spec", "generation", "removed_at", "file", "line"]),
    (
        "task",
        &[
            "uid",
            "name",
            "app",
            "analyzer",
            "generation",
            "removed",
            "cancel_round",
            "cancel_generation",
            "retry_round",
            "phase",
            "reason",
            "observed_generation",
            "round",
            "version",
            "attempt",
            "next_at",
            "finished_at",
            "since",
            "waits",
            "recoveries",
            "pool",
            "on_app_change",
            "run",
            "aside_at",
            "purged_at",
        ],
    ),
    (
        "attempt",
        &[
            "task_uid",
            "number",
            "round",
            "generation",
            "analyzer",
            "replica",
            "opened_at",
            "deadline_at",
            "ended_at",
            "outcome",
            "reason",
            "tools",
            "asked",
            "pool",
            "slot_until",
            "resumable",
            "result_dir",
            "result_sha256",
        ],
    ),
    (
        "run",
        &[
            "uid",
            "name",
            "pipeline",
            "digest",
            "cause",
            "scheduled_at",
            "parent",
            "cancel",
            "retry_round",
            "phase",
            "reason",
            "message",
            "round",
            "version",
            "finished_at",
            "aside_at",
        ],
    ),
    ("child", &["run", "step", "item", "uid", "kind", "round", "conclusion"]),
    ("app", &["uid", "app_set", "missing_since", "deleted_at"]),
    ("event", &["uid", "kind", "name", "type", "reason", "message", "count"]),
    ("replica", &["analyzer", "url", "healthy", "failures"]),
    ("condition", &["uid", "type", "holds"]),
    ("removal", &["path"]),
];

/// A row as it was, or is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    columns: &'static [&'static str],
    values: Vec<Value>,
}

impl Row {
    fn value(&self, column: &str) -> &Value {
        let at = self.columns.iter().position(|known| *known == column);
        at.and_then(|at| self.values.get(at)).unwrap_or_else(|| panic!("no column {column} among {:?}", self.columns))
    }

    /// A text; empty for NULL.
    pub(crate) fn text(&self, column: &str) -> &str {
        self.value(column).as_str().unwrap_or_default()
    }

    /// A number; 0 for NULL.
    pub(crate) fn number(&self, column: &str) -> i64 {
        self.value(column).as_i64().unwrap_or_default()
    }

    /// A number that may be NULL.
    pub(crate) fn maybe(&self, column: &str) -> Option<i64> {
        self.value(column).as_i64()
    }

    /// A text that may be NULL.
    pub(crate) fn maybe_text(&self, column: &str) -> Option<&str> {
        self.value(column).as_str()
    }

    /// A JSON text as what it says.
    pub(crate) fn json(&self, column: &str) -> Value {
        serde_json::from_str(self.text(column)).unwrap_or_default()
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut values = self.columns.iter().zip(&self.values).filter(|(_, value)| !value.is_null());
        values.try_for_each(|(column, value)| write!(f, " {column}={value}"))
    }
}

/// One row that a transaction changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) table: &'static str,
    pub(crate) old: Option<Row>,
    pub(crate) new: Option<Row>,
}

impl Change {
    /// The row, as it is now or, if it is gone, as it was.
    pub(crate) fn row(&self) -> &Row {
        self.new.as_ref().or(self.old.as_ref()).expect("a change of a row")
    }
}

/// Has everything noted from now on.
pub(crate) fn install(connection: &Connection) {
    let mut sql = String::from(
        "PRAGMA temp_store = MEMORY;
         CREATE TEMP TABLE audit (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, old TEXT, new TEXT);\n",
    );
    for (at, (table, columns)) in TABLES.iter().enumerate() {
        let list = |row: &str| columns.iter().map(|column| format!("{row}.{column}")).collect::<Vec<_>>().join(", ");
        let (old, new) = (format!("json_array({})", list("OLD")), format!("json_array({})", list("NEW")));
        let watched = columns.join(", ");
        for (what, old, new) in [
            ("INSERT".to_owned(), "NULL", new.as_str()),
            (format!("UPDATE OF {watched}"), old.as_str(), new.as_str()),
            ("DELETE".to_owned(), old.as_str(), "NULL"),
        ] {
            let word = what.split(' ').next().unwrap_or_default();
            sql.push_str(&format!(
                "CREATE TEMP TRIGGER audit_{table}_{word} AFTER {what} ON main.{table}
                 BEGIN INSERT INTO audit (at, old, new) VALUES ({at}, {old}, {new}); END;\n"
            ));
        }
    }
    connection.execute_batch(&sql).expect("the audit is installed");
}

/// Takes what was noted since the last time.
pub(crate) fn take(connection: &Connection) -> Vec<Change> {
    let mut statement =
        connection.prepare_cached("SELECT at, old, new FROM temp.audit ORDER BY id").expect("the audit");
    let mut rows = statement.query([]).expect("the audit");
    let mut changes = Vec::new();
    while let Some(noted) = rows.next().expect("the audit") {
        let at: usize = noted.get(0).expect("a table");
        let (table, columns) = TABLES[at];
        let row = |column: usize| {
            let text: Option<String> = noted.get(column).expect("a row");
            text.map(|text| Row { columns, values: serde_json::from_str(&text).expect("a JSON array") })
        };
        changes.push(Change { table, old: row(1), new: row(2) });
    }
    drop(rows);
    if !changes.is_empty() {
        connection
            .prepare_cached("DELETE FROM temp.audit")
            .and_then(|mut delete| delete.execute([]))
            .expect("the audit");
    }
    changes
}
