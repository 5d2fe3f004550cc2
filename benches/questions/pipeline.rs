//! Runs of twenty thousand tasks on the no-op tool of the embedded analyzer: their rate, what they cost in memory, and the longest pass over a run at
//! any moment, as the controller itself measured it. One run over a list of items with a step that counts them; one with failures and apps
//! that another step goes on with, and a second round of that.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::dispatch::NAME;
use crate::figure::{Figure, Unit};
use crate::rounds::Run;
use crate::workspace::{Controller, Workspace};

/// Items of the run with one list, and tasks of the one whose second step follows from the first.
const ITEMS: u32 = 20_000;

/// Wanted of the plan of every pass over a run, in milliseconds.
const PASS_MS_MAX: f64 = 5.0;

/// Wanted peak of the resident set, in MiB.
const RSS_MIB_MAX: f64 = 150.0;

/// Of so many sources one fails.
const FAILS_EVERY: usize = 10;

/// No run takes longer; then something is wrong.
const LONGEST: Duration = Duration::from_secs(600);

/// A workspace with the embedded analyzer at work.
struct Scene {
    // Before the workspace, which is removed when nothing runs in it any more.
    controller: Controller,
    workspace: Workspace,
}

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    listed(run);
    streamed(run);
}

/// One step over a list in the manifest, and one that needs it and names how many of it succeeded.
fn listed(run: &mut Run) {
    let count = run.size(ITEMS);
    let mut items = String::new();
    (0..count).for_each(|item| write!(items, "item-{item:05}, ").expect("a text"));
    let manifest = format!(
        "kind: Pipeline\nmetadata: {{name: listed}}\nspec:\n  parallelism: 64\n  steps:\n    \
         - name: work\n      analyzer: {NAME}\n      app: app\n      tools: [noop]\n      forEach:\n        items: [{items}]\n    \
         - name: report\n      needs: [work]\n      when: [{{step: work, phases: [Completed], succeededAtLeast: {count}}}]\n      \
         analyzer: {NAME}\n      app: app\n      tools: [noop]\n      config: {{report: {{worked: '${{steps.work.outputs.succeeded}}'}}}}\n"
    );
    let scene = Scene::new();
    let began = Instant::now();
    scene.workspace.declare("listed", &manifest);
    scene.wait("listed-g1", 1, "Completed");
    scene.tell(run, &format!("{count} items of one list, 64 at once"), count + 1, began);
    scene.reads(run, "listed-g1");
}

/// Apps that one step makes and another goes on with at once, and a third when all have ended. One of ten fails, and all that did is tried again.
fn streamed(run: &mut Run) {
    let sources = run.size(ITEMS) as usize / 2;
    let mut items = String::new();
    for item in 0..sources {
        let ok = if item % FAILS_EVERY == 0 { "no" } else { "yes" };
        write!(items, "{{name: app-{item:05}, ok: '{ok}'}}, ").expect("a text");
    }
    let follower = |name: &str, more: &str| {
        format!(
            "    - name: {name}\n      analyzer: {NAME}\n      tools: [noop]\n      forEach: {{appsFrom: make}}\n{more}"
        )
    };
    let manifest = format!(
        "kind: Analyzer\nmetadata: {{name: maker}}\nspec: {{command: {{argv: [test, '${{config.ok}}', \
         '=', 'yes'], tool: maker}}, capacity: 64}}\n---\napiVersion: manifestd.dev/v1alpha1\n\
         kind: Pipeline\nmetadata: {{name: streamed}}\nspec:\n  parallelism: 64\n  steps:\n    \
         - name: make\n      analyzer: maker\n      backoffLimit: 0\n      config: {{ok: '${{item.ok}}'}}\n      \
         produces: {{app: '${{item.name}}', path: generated/apps/m/app1, model: m, number: '1'}}\n      forEach:\n        items: [{items}]\n{}{}",
        follower("analyse", ""),
        follower("check", "      needs: [analyse]\n      when: [{step: analyse, failedAtMost: 0}]\n"),
    );
    let scene = Scene::new();
    let began = Instant::now();
    scene.workspace.declare("streamed", &manifest);
    scene.wait("streamed-g1", 1, "PartialSuccess");
    let failing = sources.div_ceil(FAILS_EVERY);
    let tasks = |count: usize| u32::try_from(count).expect("a number of tasks");
    scene.tell(run, &format!("{sources} apps made, two steps go on"), tasks(sources + 2 * (sources - failing)), began);
    let began = Instant::now();
    scene.workspace.run(&["retry", "run/streamed-g1", "--failed"]);
    scene.wait("streamed-g1", 2, "PartialSuccess");
    scene.tell(run, &format!("a second round for {failing} that failed"), tasks(failing), began);
    scene.reads(run, "streamed-g1");
}

impl Scene {
    fn new() -> Self {
        let workspace = Workspace::new();
        workspace.declare_service(NAME, "embedded:", 64, "");
        Self { controller: workspace.serve(&["--embedded-analyzer"]), workspace }
    }

    /// Waits for a round of a run to end, and for it to end as it should.
    fn wait(&self, run: &str, round: i64, phase: &str) {
        let database = self.workspace.database();
        let query = "SELECT phase, message FROM run WHERE name = ?1 AND round = ?2 AND finished_at IS NOT NULL";
        let mut statement = database.prepare(query).expect("a query");
        let began = Instant::now();
        loop {
            let found =
                statement.query_row((run, round), |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
            let problem: Option<String> =
                database.query_row("SELECT message FROM problem LIMIT 1", [], |row| row.get(0)).ok();
            assert_eq!(problem, None, "the manifest of this bench is refused");
            if let Ok((found, message)) = found {
                assert_eq!(found, phase, "{message}");
                return;
            }
            assert!(began.elapsed() < LONGEST, "{run} does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn tell(&self, run: &mut Run, what: &str, tasks: u32, began: Instant) {
        let rate = f64::from(tasks) / began.elapsed().as_secs_f64();
        let status: serde_json::Value =
            serde_json::from_str(&self.workspace.run(&["status", "-o", "json"])).expect("JSON");
        let loops = status["controller"]["loops"].as_array().expect("loops");
        let of = loops.iter().find(|each| each["name"] == "pipelines").expect("the loop of pipelines");
        let ms = |field: &str| Figure::exact(Unit::Millis, of[field].as_f64().expect("a figure") / 1000.0);
        let rss = Figure::exact(Unit::MiB, self.controller.status("VmHWM") as f64 / 1024.0);
        run.report.ours(what, Figure::exact(Unit::PerSecond, rate));
        let limit = Figure::exact(Unit::Millis, PASS_MS_MAX);
        run.report.row("  longest plan of one pass, processor time", ms("longest_plan_us"), limit);
        run.report.ours("  longest look and plan, with the wait for a reader", ms("longest_look_us"));
        run.report.ours("  longest commit, with the wait for its group", ms("longest_commit_us"));
        run.report.row("  peak RSS", rss, Figure::exact(Unit::MiB, RSS_MIB_MAX));
    }

    /// How long people wait for what they ask about such a run.
    fn reads(&self, run: &mut Run, name: &str) {
        let name = format!("run/{name}");
        for arguments in [&["get", "runs"][..], &["tree", &name], &["why", &name], &["describe", &name]] {
            let began = Instant::now();
            self.workspace.run(arguments);
            let took = Figure::exact(Unit::Millis, began.elapsed().as_secs_f64() * 1000.0);
            run.report.ours(&format!("  manifestd {}", arguments.join(" ")), took);
        }
    }
}
