//! The table: one row for each promise about time, with the settings that move it and the cases that hold it to its boundary. It is run once, in
//! a process of its own in Nepal; every case begins a world of its own.

use std::process::Command;
use std::sync::Mutex;

use manifestd::config::{Origin, TABLE, environment, resolve};
use rusqlite::Connection;

use crate::world::START;
use crate::{attempts, maintenance, unavailable};

/// One promise.
pub(crate) struct Row {
    /// What happens by itself.
    pub(crate) what: &'static str,
    /// The settings that move or switch it.
    pub(crate) settings: &'static [Setting],
    /// What is held to.
    pub(crate) cases: &'static [Case],
    /// Tests of the same promise that need the real thing: file and name.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
}

/// Name, environment variable of the old system, default.
pub(crate) type Setting = (&'static str, Option<&'static str>, &'static str);

/// A case, as a sentence, and its proof.
pub(crate) type Case = (&'static str, fn());

/// How far the zone is from UTC, in seconds.
const OFFSET: i64 = 5 * 3600 + 45 * 60;

/// Cases that run at once: most of their time goes by while the disk is told to keep something.
const AT_ONCE: usize = 4;

/// The name of that zone.
const ZONE: &str = "Asia/Kathmandu";

fn rows() -> Vec<&'static Row> {
    [attempts::ROWS, unavailable::ROWS, maintenance::ROWS].concat()
}

#[test]
fn every_row_holds_to_the_millisecond_in_a_zone_that_is_not_utc() {
    if std::env::var_os("TZ").is_none_or(|zone| zone != ZONE) {
        return again_in_zone();
    }
    check_zone();
    let cases: Vec<(&str, &Case)> =
        rows().into_iter().flat_map(|row| row.cases.iter().map(|case| (row.what, case))).collect();
    let waiting = Mutex::new(cases.iter());
    let failed = Mutex::new(Vec::new());
    let next = || waiting.lock().expect("no panic under this lock").next();
    let work = || {
        while let Some((what, (name, case))) = next() {
            // A thread of its own, so that a panic names the case.
            let thread = std::thread::Builder::new().name((*name).to_owned()).spawn(*case).expect("a thread");
            if thread.join().is_err() {
                failed.lock().expect("no panic under this lock").push(format!("{what}: {name}"));
            }
        }
    };
    std::thread::scope(|threads| (0..AT_ONCE).for_each(|_| drop(threads.spawn(work))));
    let failed = failed.into_inner().expect("no panic under this lock");
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
    println!("{} cases hold in {ZONE}", cases.len());
}

/// Runs this test in a process that has the zone.
fn again_in_zone() {
    let program = std::env::current_exe().expect("this program");
    let name = "table::every_row_holds_to_the_millisecond_in_a_zone_that_is_not_utc";
    let output = Command::new(program)
        .args(["--exact", name, "--nocapture"])
        .env("TZ", ZONE)
        .env("RUST_BACKTRACE", "0")
        .output();
    let output = output.expect("this program, again");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "in {ZONE}: {}\n{said}\n{complained}", output.status);
    // A name that matches no test would succeed, too.
    let expected = format!("{} cases hold in {ZONE}", rows().iter().map(|row| row.cases.len()).sum::<usize>());
    assert!(said.contains(&expected), "the table was not run\n{said}\n{complained}");
}

/// Local time is what C and SQL make of it, so both are asked: without data on zones the variable would mean nothing.
fn check_zone() {
    let connection = Connection::open_in_memory().expect("SQLite");
    let local = "SELECT unixepoch(datetime(?1, 'unixepoch', 'localtime')) - ?1";
    let offset: i64 = connection.query_row(local, [START.0 / 1000], |row| row.get(0)).expect("a number");
    assert_eq!(offset, OFFSET, "the local time of this process is not that of {ZONE}; are the tz data installed?");
    let date = Command::new("date").arg("+%z").output().expect("date");
    assert_eq!(String::from_utf8_lossy(&date.stdout).trim(), "+0545", "as `date` sees it");
}

#[test]
fn every_setting_of_a_row_has_its_default_and_its_old_name() {
    for (name, old, default) in rows().iter().flat_map(|row| row.settings) {
        let described = TABLE.iter().find(|described| described.name == *name);
        let described = described.unwrap_or_else(|| panic!("no setting is called {name}"));
        assert_eq!((described.old_env, described.default), (*old, *default), "{name}");
        let Some(old) = old else { continue };
        let layer = environment([((*old).to_owned(), (*default).to_owned())]).expect("known settings");
        let (_, effective) = resolve(&[layer]).expect("valid settings");
        let value = effective.iter().find(|value| value.name == *name).expect("every setting has a value");
        assert_eq!(value.origin, Origin::Environment((*old).to_owned()), "{name}");
    }
}

#[test]
fn every_old_name_but_those_of_addresses_belongs_to_a_row() {
    let rows = rows();
    for described in TABLE.iter().filter(|described| described.old_env.is_some_and(|old| !old.ends_with("_URLS"))) {
        let mut settings = rows.iter().flat_map(|row| row.settings);
        assert!(settings.any(|(name, ..)| *name == described.name), "{} is in no row", described.name);
    }
}

#[test]
fn what_is_tested_elsewhere_is_there() {
    for (file, name) in rows().iter().flat_map(|row| row.elsewhere) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(&format!("fn {name}(")), "{file} has no test {name}");
    }
}
