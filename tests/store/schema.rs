//! What the schema itself refuses, whatever the program asks for: it knows the same words as the program, in one spelling, and has no place for a
//! second object of one name or for a time that is not a number.

use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use rusqlite::{Connection, params};

use crate::fixture::Fixture;

/// Writes a task past every guard but those of the schema.
fn task(sql: &Connection, name: &str, phase: &str, finished_at: Option<i64>) -> rusqlite::Result<usize> {
    let object = "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest)
                  VALUES (?1, 'Task', ?1, '{}', '{}', '{}', 1, 5, 5, 'a.yaml', 1, '')";
    sql.execute(object, [name])?;
    let task = "INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation, phase, finished_at)
                VALUES (?1, ?1, 'demo', 'lint', 1, 5, 1, ?2, ?3)";
    sql.execute(task, params![name, phase, finished_at])
}

#[test]
fn the_final_phases_of_the_schema_are_those_of_the_program() {
    let fixture = Fixture::empty();
    let sql = fixture.sql();
    for phase in Phase::ALL {
        let word = phase.as_str();
        for (name, finished_at) in [(format!("{word}-open"), None), (format!("{word}-ended"), Some(9))] {
            let written = task(&sql, &name, word, finished_at);
            assert_eq!(written.is_ok(), finished_at.is_some() == phase.is_terminal(), "{name}: {written:?}");
        }
    }
}

#[test]
fn a_phase_or_an_outcome_has_one_spelling() {
    let fixture = Fixture::empty();
    let sql = fixture.sql();
    task(&sql, "a", "Running", None).unwrap();
    let attempt = "INSERT INTO attempt (task_uid, number, round, generation, analyzer, replica, opened_at, deadline_at, ended_at, outcome)
                   VALUES ('a', ?1, 1, 1, 'lint', '', 5, 9, 7, ?2)";
    for (number, outcome) in (1..).zip(Outcome::ALL) {
        assert_eq!(sql.execute(attempt, params![number, outcome.as_str()]), Ok(1), "{outcome:?}");
        for wrong in [outcome.as_str().to_lowercase(), outcome.as_str().to_uppercase()] {
            assert!(sql.execute(attempt, params![99, wrong]).is_err(), "{wrong}");
        }
    }
    for phase in Phase::ALL {
        for wrong in [phase.as_str().to_lowercase(), phase.as_str().to_uppercase()] {
            let finished_at = phase.is_terminal().then_some(9);
            assert!(task(&sql, &wrong, &wrong, finished_at).is_err(), "{wrong}");
        }
    }
}

#[test]
fn every_table_is_strict_and_a_time_is_a_number() {
    let fixture = Fixture::empty();
    let sql = fixture.sql();
    let lax = "SELECT count(*), sum(strict) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'";
    let (tables, strict): (u32, u32) = sql.query_row(lax, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert!(tables > 8, "{tables} tables");
    assert_eq!(strict, tables);
    let times = "SELECT m.name || '.' || c.name FROM sqlite_schema m, pragma_table_info(m.name) c
                 WHERE m.type = 'table' AND (c.name LIKE '%\\_at' ESCAPE '\\' OR c.name LIKE '%since') AND c.type <> 'INTEGER'";
    let texts: Vec<String> =
        sql.prepare(times).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(texts, Vec::<String>::new());
    task(&sql, "a", "Pending", None).unwrap();
    for text in ["2026-01-05 10:00:00", "2026-01-05T10:00:00+05:45"] {
        assert!(sql.execute("UPDATE task SET next_at = ?1", [text]).is_err(), "{text}");
    }
}

#[test]
fn a_second_object_of_one_name_has_no_place() {
    let fixture = Fixture::empty();
    let sql = fixture.sql();
    task(&sql, "a", "Pending", None).unwrap();
    let copy = |name: &str| {
        let copy = "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest)
                    SELECT 'another', kind, ";
        let rest = ", labels, annotations, spec, generation, created_at, updated_at, file, line, digest FROM object WHERE uid = 'a'";
        sql.execute(&format!("{copy}{name}{rest}"), [])
    };
    assert!(copy("name").is_err(), "the same name");
    assert!(copy("NULL").is_err(), "a name that is NULL is equal to no other");
    assert_eq!(copy("'b'"), Ok(1), "the copy is wrong in nothing else");
}
