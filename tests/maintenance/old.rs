//! A workspace with finished tasks and runs whose records are made as old as a test wants them.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use manifestd::runtime::clock::system_time;
use manifestd::store::database_path;
use rusqlite::Connection;

use crate::support::daemon::{Home, document, task};

/// Tasks of [`finished`] that no run asked for.
pub(crate) const TASKS: usize = 8;

/// Days in milliseconds.
pub(crate) const DAY: i64 = 24 * 60 * 60 * 1000;

/// Tasks and a run of `items` children that have completed, on apps that an AppSet has found.
pub(crate) fn finished(items: usize) -> Home {
    finished_in(Home::new(""), items)
}

/// The same in a home that was made for it.
pub(crate) fn finished_in(home: Home, items: usize) -> Home {
    for app in 1..=4 {
        make_app(&home, app);
    }
    let set = document("AppSet", "found", "{root: generated/apps, maxDisappear: {percent: 100, count: 1000}}");
    let analyzer = document("Analyzer", "echo", "{command: {argv: [echo, done], tool: echo}, capacity: 8}");
    let tasks = (1..=TASKS).map(|n| task(&format!("t{n}"), &format!("acme-app{}", n % 4 + 1), "echo", ""));
    let spec = format!(
        "{{runPolicy: Manual, parallelism: 8, steps: [{{name: all, analyzer: echo, app: acme-app1, forEach: {{range: {{from: 1, to: {items}}}}}}}]}}"
    );
    let all = tasks.chain([set, analyzer, document("Pipeline", "line", &spec)]);
    home.drop_in("all.yaml", &all.collect::<String>());
    home.run(&["reconcile", "--once"]).ok();
    home.run(&["run", "line", "--wait"]).ok();
    home
}

/// Makes the directory of an app of the AppSet.
pub(crate) fn make_app(home: &Home, number: u32) {
    let place = home.path(&format!("generated/apps/acme/app{number}"));
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("main.py"), "print(1)\n").unwrap();
}

/// Changes the database by hand while nobody uses it. What only the program may not do, such as ending something at another time, is
/// allowed here.
pub(crate) fn edit(home: &Home, statements: &str) {
    let connection = Connection::open(database_path(&home.state())).unwrap();
    let mut query = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let triggers: Vec<(String, String)> = triggers.collect::<Result<_, _>>().unwrap();
    drop(query);
    triggers.iter().for_each(|(name, _)| connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    connection.execute_batch(statements).unwrap_or_else(|error| panic!("{error}: {statements}"));
    triggers.iter().for_each(|(_, sql)| connection.execute_batch(sql).unwrap());
}

/// One value out of the database.
pub(crate) fn one(home: &Home, query: &str) -> i64 {
    home.database().query_row(query, [], |row| row.get(0)).unwrap()
}

/// The moment so many days ago.
pub(crate) fn ago(days: i64) -> i64 {
    system_time().0 - days * DAY
}

/// Makes tasks that fit a condition end so many days ago, with their events.
pub(crate) fn ended(home: &Home, which: &str, days: i64) {
    let (at, uids) = (ago(days), format!("(SELECT uid FROM task WHERE {which})"));
    edit(
        home,
        &format!(
            "UPDATE event SET first_at = {at}, last_at = {at} WHERE uid IN {uids};
             UPDATE attempt SET opened_at = {at}, ended_at = {at} WHERE task_uid IN {uids};
             UPDATE task SET finished_at = {at}, since = {at} WHERE {which};"
        ),
    );
}

/// Makes a directory below results/ that nobody knows, last written so many minutes ago.
pub(crate) fn stray(home: &Home, path: &str, minutes: u64) {
    let place = home.state().join("results").join(path);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("log.txt"), "whose?").unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(system_time().0).unwrap() - minutes * 60_000);
    File::open(&place).unwrap().set_modified(at).unwrap();
}

/// Every directory of results, in order.
pub(crate) fn results(home: &Home) -> Vec<String> {
    let root = home.state().join("results");
    let mut found = Vec::new();
    let names = |place: &Path| -> Vec<String> {
        let entries = fs::read_dir(place).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    for app in names(&root) {
        for task in names(&root.join(&app)) {
            found.extend(names(&root.join(&app).join(&task)).iter().map(|number| format!("{app}/{task}/{number}")));
        }
    }
    found.sort();
    found
}

/// Copies the state directory of a home that nobody uses, and what its apps are.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Puts a state that was copied away back into its place.
pub(crate) fn put_back(home: &Home, kept: &Path) {
    fs::remove_dir_all(home.state()).unwrap();
    copy(kept, &home.state());
}
