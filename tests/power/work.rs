//! The daily work of a controller: tasks of programs and of the embedded analyzer, requests of people, a kill and a stop, and other starts.

use std::fs;

use manifestd::resource::phase::Phase;
use manifestd::store::database_path;
use manifestd::store::open_read_only;

use crate::found::{assert_told, attempts, opened};
use crate::recording::{Cut, Recording, stage};
use crate::replay::Sort;
use crate::support::daemon::{Home, document, embedded, quick, task};

/// Tasks of the first part, which a controller that runs once works on, and of the second, which is dropped into a running one.
const FIRST: usize = 4;
const SECOND: usize = 24;

fn scene() -> Option<Home> {
    let home = stage("embeddedAnalyzer: true\nembeddedTools: tools.yaml")?;
    fs::write(home.path("tools.yaml"), "tools:\n- {name: noop, builtin: noop}\n").unwrap();
    let apps: String = (0..=7).map(|n| home.app(n)).collect();
    let echo = document("Analyzer", "echo", "{command: {argv: [echo, done], tool: echo}, capacity: 4}");
    // Tasks that run side by side are the first ones of their app.
    let one = |n: usize| {
        let (name, app) = (format!("t{n}"), format!("app{}", n / 4));
        match n % 3 {
            0 => task(&name, &app, "embedded", "tools: [noop], "),
            _ => task(&name, &app, "echo", ""),
        }
    };
    let first: String = (1..=FIRST).map(one).collect();
    home.drop_in("first.yaml", &format!("{apps}{echo}{}{first}", embedded(2)));
    fs::create_dir(home.path("prepared")).unwrap();
    let second: String = (FIRST + 1..=FIRST + SECOND).map(one).collect();
    fs::write(home.path("prepared/second.yaml"), second).unwrap();
    Some(home)
}

const SCRIPT: &str = "
watcher= controller=
trap 'kill $watcher $controller 2> /dev/null || true' EXIT
manifestd reconcile --once
manifestd events --watch -o json &
watcher=$!
manifestd serve &
controller=$!
mv prepared/second.yaml manifests/second.yaml
until manifestd get tasks | grep -q '^t28 '; do :; done
kill -KILL $controller
wait $controller || true
manifestd serve &
controller=$!
until manifestd status; do :; done
manifestd retry t1 t2
manifestd wait --all
kill -TERM $controller
wait $controller
controller=
manifestd retry t3 t4
manifestd reconcile --once
";

#[test]
fn what_was_told_of_tasks_and_results_survives_a_power_cut() {
    let Some(home) = scene() else { return };
    let recording = Recording::of(home, SCRIPT);
    let state = recording.home.state();
    let whole = attempts(&open_read_only(&database_path(&state)).unwrap());
    let completed = whole.values().filter(|ended| ended.0.as_deref() == Some("Completed") && ended.1.is_some()).count();
    assert_eq!(completed, FIRST + SECOND + 4, "{whole:?}");
    let check = |cut: &Cut<'_>| {
        let found = opened(&state);
        assert_told(cut, found.as_ref(), &whole);
        for name in cut.told("task/").filter_map(|line| line.strip_suffix(" another run requested")) {
            let task = cut.home.task(name);
            assert!(task.retry_requested || task.status.round > 1, "the retry of {name} is forgotten");
        }
    };
    recording.cut("work", &[".manifestd"], |cut| {
        check(cut);
        if cut.number % 20 == 0 {
            goes_on(cut.home);
        }
    });
    // The first result is stored with a sync of everything, which covers the state's own name; a start without results is below.
    recording.needs("work", &[".manifestd"], &[Sort::TopNames], check);
}

#[test]
fn what_was_told_by_a_first_start_without_results_survives_a_power_cut() {
    let Some(home) = stage("") else { return };
    let tasks: String = (1..=FIRST).map(|n| task(&format!("t{n}"), "app1", "quick", "")).collect();
    home.drop_in("all.yaml", &format!("{}{}{tasks}", home.app(1), quick()));
    let recording = Recording::of(home, "manifestd reconcile --once\necho done\n");
    let whole = attempts(&recording.home.database());
    assert_eq!(whole.len(), FIRST);
    let check = |cut: &Cut<'_>| assert_told(cut, opened(&cut.home.state()).as_ref(), &whole);
    recording.cut("first", &[".manifestd"], check);
    recording.needs("first", &[".manifestd"], &[], check);
}

/// Everything is done in the end, and is then done.
fn goes_on(home: &Home) {
    let said = home.run(&["reconcile", "--once"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for n in 1..=FIRST + SECOND {
        assert_eq!(home.task(&format!("t{n}")).status.phase, Phase::Completed, "t{n}");
    }
    let again = home.run(&["reconcile", "--once"]).ok();
    assert!(again.contains("nothing to start"), "{again}");
    opened(&home.state());
}
