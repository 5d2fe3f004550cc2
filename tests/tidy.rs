//! The rules of the house as tests. Each check is a function in `tidy/`, proven there to fail on what is wrong; here it meets the repository.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/habits.rs"]
mod habits;
#[path = "tidy/promises.rs"]
mod promises;
#[path = "tidy/shipped.rs"]
mod shipped;
#[path = "tidy/source.rs"]
mod source;

use clap::CommandFactory;
use manifestd::cli::Cli;
use manifestd::config::TABLE;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use source::{Source, TextFile, file, root, sources, text_files};

const OURS: [&str; 3] = ["src/", "tests/", "benches/"];

/// Fails with every violation, one on a line.
fn assert_none(wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{} violations\n{}", wrong.len(), wrong.join("\n"));
}

/// A check over the sources below some folders.
fn check(folders: &[&str], check: impl Fn(&Source) -> Vec<String>) {
    assert_none(sources(folders).into_iter().flat_map(check));
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    check(&OURS, |source| habits::opening(source).into_iter().collect());
}

#[test]
fn every_file_names_its_own_floor_and_lower_ones_only() {
    check(&["src/"], floors::climbs);
}

#[test]
fn the_pure_floors_know_no_world_no_clock_and_no_chance() {
    check(&["src/"], floors::impurities);
}

#[test]
fn yaml_sql_http_and_the_terminal_each_have_one_folder() {
    check(&["src/"], |source| [floors::strays(source), floors::sql(source)].concat());
}

#[test]
fn no_file_has_more_than_400_lines() {
    check(&["src/"], |source| habits::length(source).into_iter().collect());
}

#[test]
fn no_function_may_have_more_than_70_lines() {
    assert!(file("clippy.toml").contains("too-many-lines-threshold = 70\n"), "clippy.toml no longer says so");
    assert!(file("Cargo.toml").contains("\ntoo_many_lines = \"warn\"\n"), "the lint is off");
}

#[test]
fn nothing_is_unfinished_and_every_test_runs() {
    check(&OURS, habits::unfinished);
}

#[test]
fn no_test_sleeps_in_place_of_a_signal() {
    check(&OURS, habits::sleeps);
}

#[test]
fn names_say_what_a_thing_is() {
    check(&OURS, habits::names);
}

/// Texts that must be as they are: golden files with broken whitespace, and what other programs wrote.
fn is_kept_as_it_is(file: &TextFile) -> bool {
    ["tests/golden/", "tests/fixtures/", "tests/schemas/"].iter().any(|folder| file.path.starts_with(folder))
}

#[test]
fn no_text_has_trailing_spaces_or_lacks_its_last_newline() {
    assert_none(text_files().iter().filter(|file| !is_kept_as_it_is(file)).flat_map(habits::whitespace));
}

#[test]
fn no_text_names_a_directory_of_the_machine_it_was_written_on() {
    let home = std::env::home_dir().unwrap_or_default();
    // Put together here, so that this file does not match itself.
    let usual = ["home", "Users", "root", "work", "workspaces"].map(|name| format!("/{name}/"));
    let usual: Vec<&str> = usual.iter().map(String::as_str).collect();
    let of_this_machine = [env!("CARGO_MANIFEST_DIR"), home.to_str().unwrap_or_default()];
    let files = text_files();
    let both = [usual.as_slice(), &of_this_machine].concat();
    assert_none(files.iter().flat_map(|file| habits::machine_paths(file, &both)));
}

#[test]
fn every_dependency_is_used_and_has_its_reason_beside_it() {
    let cargo = file("Cargo.toml");
    assert_none(habits::unexplained_dependencies(&cargo));
    assert_none(habits::unused_dependencies(&cargo, &sources(&OURS)));
}

fn manifests_below(folder: &str) -> Vec<TextFile> {
    // Apps to be analysed may have YAML files of their own, and settings are no manifests.
    let is_manifest = |path: &str| {
        path.starts_with(folder)
            && path.ends_with(".yaml")
            && !path.starts_with("examples/apps/")
            && !path.ends_with("/manifestd.yaml")
    };
    text_files().into_iter().filter(|file| is_manifest(&file.path)).collect()
}

#[test]
fn every_shipped_manifest_is_valid_and_names_only_what_is_there() {
    for folder in ["manifests/", "examples/"] {
        let files = manifests_below(folder);
        assert!(files.len() > 4, "{folder} is empty");
        assert_none([shipped::problems(&files, root()), shipped::missing_apps(&files, root())].concat());
    }
}

#[test]
fn every_kind_has_a_sample() {
    let files = manifests_below("manifests/samples/");
    for &kind in Kind::DECLARED {
        let path = format!("manifests/samples/{}.yaml", kind.singular());
        let found: Vec<&TextFile> = files.iter().filter(|file| file.path == path).collect();
        assert_eq!(shipped::kinds(&found), [kind], "{path}");
    }
}

#[test]
fn released_migrations_are_never_edited() {
    let files = text_files();
    let migrations: Vec<&TextFile> = files.iter().filter(|file| file.path.starts_with("migrations/")).collect();
    let found = shipped::digests(&migrations);
    assert!(!found.is_empty(), "no migrations");
    let golden = root().join("tests/golden/migrations.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).expect("the golden file");
    }
    let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
    let help = "a released migration stays as it is: add another one. For one that was never released: UPDATE_GOLDEN=1 cargo test --test tidy";
    assert_eq!(wanted, found, "{help}");
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = file("README.md");
    let settings = documents::section(&readme, "Settings");
    let rows = TABLE.iter().map(documents::settings_row);
    assert_none(
        rows.filter(|row| !settings.lines().any(|line| line == row)).map(|row| format!("not in README.md:\n{row}")),
    );
    let names: Vec<&str> = TABLE.iter().map(|setting| setting.name).collect();
    assert_none(documents::table(&readme, "Settings", &names));
}

#[test]
fn the_readme_lists_every_phase_reason_exit_code_and_command() {
    let readme = file("README.md");
    let phases: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let codes = documents::exit_codes(&file("src/cli/exit.rs"));
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    assert!(codes.len() > 3 && commands.len() > 10, "{codes:?} {commands:?}");
    for (heading, words) in [("Phases", phases), ("Reasons", reasons), ("Exit codes", codes), ("Commands", commands)] {
        assert_none(documents::table(&readme, heading, &words));
    }
}

#[test]
fn the_architecture_knows_every_outcome_every_folder_and_every_suite() {
    let architecture = file("ARCHITECTURE.md");
    let outcomes: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
    assert_none(documents::table(&architecture, "Outcomes and budgets", &outcomes));
    let map = documents::section(&architecture, "Code map");
    let folders = std::fs::read_dir(root().join("src")).expect("src").map(|entry| entry.expect("an entry").path());
    let missing = folders.filter_map(|path| {
        let name = path.strip_prefix(root()).ok()?.to_str()?.to_owned();
        let wanted = if path.is_dir() { format!("`{name}/`") } else { format!("`{name}`") };
        (!map.contains(&wanted)).then(|| format!("Code map: nothing about {wanted}"))
    });
    assert_none(missing);
    let listed = documents::first_cells(documents::section(&architecture, "Tests"));
    let suites = std::fs::read_dir(root().join("tests")).expect("tests").map(|entry| entry.expect("an entry").path());
    let suites = suites.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let name =
        |path: std::path::PathBuf| path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    assert_none(
        suites.map(name).filter(|name| !listed.contains(name)).map(|name| format!("Tests: no row for `{name}`")),
    );
}

#[test]
fn what_can_no_longer_happen_has_thirty_six_rows_and_every_test_they_name_is_there() {
    let architecture = file("ARCHITECTURE.md");
    assert_none(promises::numbering(&architecture, 36));
    assert_none(promises::unproven(&architecture, &sources(&OURS)));
}

#[test]
fn every_claim_about_security_names_tests_that_are_there() {
    assert_none(promises::unproven_claims(&file("SECURITY.md"), "What holds", &sources(&OURS)));
}

#[test]
fn every_setting_is_read_where_it_acts() {
    assert_none(promises::unread_settings(&file("src/config.rs"), &sources(&["src/"])));
}

#[test]
fn every_yaml_example_in_the_readme_is_a_valid_manifest() {
    let examples = documents::yaml_examples(&file("README.md"));
    assert!(examples.len() >= 4, "the examples are not there");
    let check = |(line, text): (usize, String)| shipped::faults(&format!("README.md, example at line {line}"), &text);
    assert_none(examples.into_iter().flat_map(check));
}

#[test]
fn every_path_and_make_target_in_the_documents_is_there() {
    let makefile = file("Makefile");
    let targets = documents::targets(&makefile);
    assert!(targets.len() > 8, "{targets:?}");
    let silent = targets.iter().filter(|(_, explained)| !explained);
    assert_none(silent.map(|(target, _)| format!("Makefile: make help says nothing about {target}")));
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"] {
        let document = file(name);
        assert_none(documents::dead_paths(&document, |path| root().join(path).exists()));
        assert_none(documents::unknown_targets(&document, &targets));
    }
    let below_docs = text_files().into_iter().filter(|file| file.path.starts_with("docs/"));
    assert_none(below_docs.flat_map(|file| {
        // A link leads on from the folder of its document.
        let exists = |path: &str| root().join("docs").join(path).exists() || root().join(path).exists();
        [documents::dead_paths(&file.text, exists), documents::unknown_targets(&file.text, &targets)].concat()
    }));
}

#[test]
fn the_page_of_benchmarks_has_a_row_for_every_goal_and_a_place_for_every_question() {
    let page = file("docs/benchmarks.md");
    let goals = documents::goals(&file("benches/goals.rs"));
    let goals: Vec<&str> = goals.iter().map(String::as_str).collect();
    assert!(goals.len() >= 25, "{goals:?}");
    assert_none(documents::table(&page, "Goals", &goals));
    let questions = documents::questions(&file("benches/main.rs"));
    assert!(questions.len() >= 10, "{questions:?}");
    let place = |name: &String| page.contains(&format!("<!-- figures of {name} -->\n"));
    assert_none(questions.iter().filter(|name| !place(name)).map(|name| format!("Figures: no place for {name}")));
}
