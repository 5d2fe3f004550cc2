//! What outlives a controller: the database, the directories, the outside world, and what the laws remember. A world has one controller after
//! another; each is a [`Life`](super::life::Life).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use manifestd::config::{self, Settings};
use manifestd::resource::attempt::AttemptId;
use manifestd::store::{self, StateLock, Store};
use rusqlite::Connection;
use rusqlite::backup::Backup;
use tempfile::TempDir;

use super::audit;
use super::declared::Declared;
use super::dice::Dice;
use super::laws::{Breach, Judged, Moment};
use super::ledger::Ledger;
use super::model::Model;
use super::mutant::Mutant;
use super::script::Focus;
use super::troubles::Place;

/// When every world begins by its clock: long after any time that the machine itself writes on its files.
pub(crate) const START: i64 = 4_102_444_800_000;

/// One database after another, over one connection: what is compiled for it is compiled once.
pub(crate) struct Bench {
    connection: Arc<Mutex<Connection>>,
    tables: Vec<String>,
}

impl Bench {
    /// A database with the schema of the program, or with what a mutant makes of it.
    pub(crate) fn new(mutant: Option<&Mutant>) -> Self {
        let template = template();
        let mut connection = Connection::open_in_memory().expect("a database");
        Backup::new(&template.lock().expect("the template"), &mut connection)
            .and_then(|backup| backup.run_to_completion(1_000, std::time::Duration::ZERO, None))
            .expect("a copy of the template");
        store::configure(&connection).expect("a connection like the program's");
        // It reads and writes, for the program and for the laws.
        connection.set_prepared_statement_cache_capacity(400);
        if let Some(mutant) = mutant {
            connection.execute_batch(mutant.schema).expect("the schema of a mutant");
        }
        audit::install(&connection);
        let tables = {
            // Objects take with them what belongs to them; what runs are pinned to can only go after these.
            let query = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT IN ('kind', 'meta')
                         ORDER BY name <> 'object', name = 'pinned'";
            let mut statement = connection.prepare(query).expect("the schema");
            let names = statement.query_map([], |row| row.get(0)).expect("the schema");
            names.collect::<Result<Vec<String>, _>>().expect("the schema")
        };
        Self { connection: Arc::new(Mutex::new(connection)), tables }
    }

    /// An empty database.
    fn cleared(&self) -> Arc<Mutex<Connection>> {
        let connection = self.connection.lock().expect("the connection");
        connection.execute_batch("BEGIN").expect("a transaction");
        for table in &self.tables {
            let mut delete = connection.prepare_cached(&format!("DELETE FROM main.{table}")).expect("a table");
            delete.execute([]).expect("a table is emptied");
        }
        let rest = "DELETE FROM main.meta WHERE key <> 'state_id'; COMMIT; DELETE FROM temp.audit";
        connection.execute_batch(rest).expect("a transaction");
        drop(connection);
        Arc::clone(&self.connection)
    }
}

/// A database that the program has made, to be copied.
fn template() -> &'static Mutex<Connection> {
    static TEMPLATE: std::sync::LazyLock<Mutex<Connection>> = std::sync::LazyLock::new(|| {
        let place = tempfile::tempdir().expect("a directory");
        let lock = StateLock::acquire(place.path()).expect("a state directory");
        drop(Store::open(lock).expect("a store"));
        let made = Connection::open(place.path().join("manifestd.db")).expect("the database");
        let mut kept = Connection::open_in_memory().expect("a database");
        Backup::new(&made, &mut kept)
            .and_then(|backup| backup.run_to_completion(1_000, std::time::Duration::ZERO, None))
            .expect("a copy");
        Mutex::new(kept)
    });
    &TEMPLATE
}

/// Everything that outlives a controller.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) focus: Focus,
    settings: Mutex<Arc<Settings>>,
    pub(crate) connection: Arc<Mutex<Connection>>,
    /// By how much the clock was set.
    pub(crate) skew: Arc<AtomicI64>,
    pub(crate) mutant: Option<&'static Mutant>,
    directory: TempDir,
    state: Mutex<State>,
}

/// What changes in a world.
pub(crate) struct State {
    pub(crate) age: u64,
    pub(crate) lives: u64,
    pub(crate) dice: Dice,
    pub(crate) log: String,
    pub(crate) breach: Option<Breach>,
    pub(crate) ledger: Ledger,
    pub(crate) declared: Declared,
    pub(crate) model: Model,
    pub(crate) pinned: BTreeMap<String, serde_json::Value>,
    pub(crate) jumps: Vec<u64>,
    /// By how much clocks were turned back, all in all.
    pub(crate) turned_back: u64,
    pub(crate) turned_ahead: u64,
    pub(crate) cared_at: Option<u64>,
    pub(crate) weather: Weather,
    /// How often what has happened.
    pub(crate) tally: BTreeMap<String, u64>,
    /// How many files were written, which gives each its own time.
    pub(crate) written: u64,
    /// Steps that passed the gate, and those at this very moment.
    pub(crate) steps: u64,
    pub(crate) at_once: (u64, u64),
    /// Changes that a law about rest would not want.
    pub(crate) moved: u64,
}

/// What goes wrong just now.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    pub(crate) kill: Option<(u64, Place)>,
    pub(crate) full_until: u64,
    pub(crate) slow_until: u64,
    pub(crate) thief_until: u64,
    pub(crate) thief_percent: u64,
    pub(crate) calm: bool,
    /// Whether the controller is being stopped.
    pub(crate) stopping: bool,
    /// How long after a kill the next controller starts.
    pub(crate) down: u64,
}

impl World {
    /// A world in which nothing has happened yet.
    pub(crate) fn new(seed: u64, focus: Focus, bench: &Bench, mutant: Option<&'static Mutant>) -> Arc<Self> {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let directory = directory.expect("a directory");
        for name in ["work/manifests", "work/apps", "work/gen", "work/made", "work/.manifestd/results"] {
            std::fs::create_dir_all(directory.path().join(name)).expect("a directory");
        }
        let state = State {
            age: 0,
            lives: 0,
            dice: Dice::of(seed, "order", 0),
            log: String::new(),
            breach: None,
            ledger: Ledger::default(),
            declared: Declared::default(),
            model: Model::default(),
            pinned: BTreeMap::new(),
            jumps: Vec::new(),
            turned_back: 0,
            turned_ahead: 0,
            cared_at: None,
            weather: Weather::default(),
            tally: BTreeMap::new(),
            written: 0,
            steps: 0,
            at_once: (0, 0),
            moved: 0,
        };
        Arc::new(Self {
            seed,
            focus,
            settings: Mutex::new(Arc::new(settings(seed, focus))),
            connection: bench.cleared(),
            skew: Arc::default(),
            mutant,
            directory,
            state: Mutex::new(state),
        })
    }

    /// Where everything lies that is on disk.
    pub(crate) fn place(&self) -> &Path {
        self.directory.path()
    }

    /// A path in the workspace.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.place().join("work").join(relative)
    }

    /// The state directory, where the settings say.
    pub(crate) fn state_directory(&self) -> PathBuf {
        self.path(&self.settings().state)
    }

    /// Where results lie.
    pub(crate) fn results(&self) -> PathBuf {
        self.state_directory().join("results")
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the state of the world")
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.lock().expect("the settings"))
    }

    /// The next controller is started with other settings.
    pub(crate) fn set(&self, settings: Settings) {
        *self.settings.lock().expect("the settings") = Arc::new(settings);
    }

    /// What the clock shows at an age.
    pub(crate) fn wall(&self, age: u64) -> i64 {
        START + age.cast_signed() + self.skew.load(Ordering::SeqCst)
    }
}

impl State {
    /// Writes a line into the log.
    pub(crate) fn say(&mut self, line: std::fmt::Arguments<'_>) {
        use std::fmt::Write as _;
        let (age, life) = (self.age, self.lives);
        let _ = writeln!(self.log, "{:>9}.{:03} #{life} {line}", age / 1000, age % 1000);
    }

    /// Counts that something happened.
    pub(crate) fn count(&mut self, what: &str) {
        match self.tally.get_mut(what) {
            Some(count) => *count += 1,
            None => _ = self.tally.insert(what.to_owned(), 1),
        }
    }

    /// A law was broken; the first breach counts.
    pub(crate) fn breached(&mut self, judged: Judged) {
        if let Err(breach) = judged
            && self.breach.is_none()
        {
            self.say(format_args!("BREACH of {:?}: {}", breach.law, breach.what));
            self.breach = Some(breach);
        }
    }

    /// Judges something at this moment.
    pub(crate) fn judge(
        &mut self,
        world: &World,
        born: u64,
        carried: Option<&dyn Fn(&AttemptId) -> bool>,
        law: impl FnOnce(&Moment<'_>) -> Judged,
    ) {
        let settings = world.settings();
        let moment = Moment {
            age: self.age,
            wall: world.wall(self.age),
            life: self.lives,
            born,
            is_stopping: self.weather.stopping,
            jumps: &self.jumps,
            troubled: self.weather.full_until.max(self.weather.thief_until).max(self.weather.slow_until).min(self.age),
            cared_at: self.cared_at,
            settings: &settings,
            ledger: &self.ledger,
            declared: &self.declared,
            results: &world.results(),
            pinned: &self.pinned,
            model: &self.model,
            carried,
        };
        let judged = law(&moment);
        self.breached(judged);
    }

    /// What a look at this moment finds.
    pub(crate) fn look(&mut self, world: &World, look: impl FnOnce(&Moment<'_>) -> Vec<String>) -> Vec<String> {
        let mut found = Vec::new();
        self.judge(world, 0, None, |moment| {
            found = look(moment);
            Ok(())
        });
        found
    }
}

/// The settings of a world: short times, so that a run is short, and budgets that differ.
fn settings(seed: u64, focus: Focus) -> Settings {
    let mut dice = Dice::of(seed, "settings", 0);
    let mut chosen = vec![
        ("taskPollInterval", *dice.pick(&["60s", "110s"])),
        ("stuckAfter", *dice.pick(&["2m", "3m"])),
        ("taskTimeout", *dice.pick(&["4m", "6m"])),
        ("preflightMaxRetries", *dice.pick(&["0", "1", "2", "3"])),
        ("transientFailureMaxRetries", *dice.pick(&["0", "1", "3"])),
        ("scanInterval", *dice.pick(&["2m", "4m"])),
        ("rescanInterval", *dice.pick(&["2m", "5m"])),
        ("shutdownGracePeriod", *dice.pick(&["1s", "10s", "30s"])),
        ("stuckTaskTimeoutMinutes", "20"),
        ("workspace", "work"),
    ];
    if focus == Focus::Care {
        chosen.extend([
            ("maintenanceAutoStart", "true"),
            ("maintenanceInterval", *dice.pick(&["1m", "5m"])),
            ("orphanAppRetentionDays", *dice.pick(&["0", "1"])),
            ("pendingTaskTimeoutMinutes", *dice.pick(&["30", "240"])),
            ("taskRetentionDays", *dice.pick(&["0", "1"])),
            ("quarantineDays", *dice.pick(&["0", "1"])),
        ]);
    }
    of(&chosen)
}

/// Settings with these values.
pub(crate) fn of(chosen: &[(&str, &str)]) -> Settings {
    let name = |name: &str| {
        let words: String = name
            .chars()
            .flat_map(|c| c.is_ascii_uppercase().then_some('_').into_iter().chain([c.to_ascii_uppercase()]))
            .collect();
        format!("MANIFESTD_{words}")
    };
    let layer = config::environment(chosen.iter().map(|(setting, value)| (name(setting), (*value).to_owned())));
    let resolved = config::resolve(&[layer.expect("known settings")]);
    resolved.expect("settings that do not contradict each other").0
}
