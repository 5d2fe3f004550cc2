//! Endings that come in while the store is busy.

use std::any::Any;
use std::fs;
use std::sync::mpsc;

use super::*;
use crate::plan::Plan;
use crate::resource::attempt::AttemptId;
use crate::resource::name::Uid;
use crate::resource::outcome::Verdict;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::runtime::core::alone;
use crate::runtime::mirror::Mirror;
use crate::runtime::pass::pass;
use crate::runtime::twist::Twist;
use crate::store::Held;

const MANIFESTS: &str = "apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: lint}
spec: {command: {argv: [/bin/true], output: exitCode}, capacity: 2}
";

/// Plans for one task fail.
struct Fails(Key);

impl Twist for Fails {
    fn observed(&self, key: &Key, _: &mut dyn Any) {
        assert!(*key != self.0, "on purpose");
    }

    fn planned(&self, _: &Key, _: &mut Plan) {}
}

fn lane() -> Key {
    Key::Lane("lint".into())
}

/// Three tasks of an analyzer with two slots, which the first two have. Nothing runs.
async fn two_of_three(core: &Core) -> Vec<Uid> {
    let mirror = Mirror::new(core);
    fs::create_dir_all(mirror.directory()).unwrap();
    fs::write(mirror.directory().join("0.yaml"), MANIFESTS).unwrap();
    for name in ["a", "b", "c"] {
        let task = format!(
            "apiVersion: manifestd.dev/v1alpha1\nkind: Task\nmetadata: {{name: {name}}}\nspec: {{analyzer: lint}}\n"
        );
        fs::write(mirror.directory().join(format!("{name}.yaml")), task).unwrap();
        mirror.scan().await.unwrap();
    }
    drop(pass(core, vec![lane()]).await.unwrap());
    core.store.declared_tasks().await.unwrap().into_iter().map(|task| task.uid).collect()
}

async fn phases(core: &Core, uids: &[Uid]) -> Vec<Phase> {
    let mut phases = Vec::new();
    for uid in uids {
        let task = core.store.observe_task(uid.clone(), Held::new(), core.settings.budgets()).await.unwrap();
        phases.push(task.unwrap().status.phase);
    }
    phases
}

fn completed(core: &Core, uid: &Uid) -> Closing {
    let id = AttemptId { task: uid.clone(), number: 1 };
    let verdict = Verdict::without_tools(Outcome::Completed, Reason::AllToolsRan, "it ran");
    let close = CloseAttempt { id, verdict, result: None, at: core.now(), slot_until: None, cache_key: None };
    Closing { close, lane: Some("lint".into()) }
}

/// Ends the first two while the store does something else.
async fn end_both(core: &Core, uids: &[Uid]) -> [Ended; 2] {
    let (closing, other) = (completed(core, &uids[0]), completed(core, &uids[1]));
    let (release, released) = mpsc::channel::<()>();
    // It is run once more when what is in one group with it is taken back; it waits for nothing then.
    let busy = core.store.write(move |_| Ok(_ = released.recv()));
    let go_on = async move { drop(release) };
    let (_, one, other, ()) = tokio::join!(biased; busy, end(core, &closing), end(core, &other), go_on);
    [one.unwrap().unwrap(), other.unwrap().unwrap()]
}

#[tokio::test]
async fn endings_that_come_in_together_are_written_together_and_who_is_next_has_the_slot() {
    let state = tempfile::tempdir().unwrap();
    let core = alone(state.path());
    let uids = two_of_three(&core).await;
    assert_eq!(phases(&core, &uids).await, [Phase::Running, Phase::Running, Phase::Pending]);
    let ended = end_both(&core, &uids).await;
    assert_eq!(phases(&core, &uids).await, [Phase::Completed, Phase::Completed, Phase::Running]);
    // The lane was passed over once, after both, and needs no other look.
    let passed: Vec<&Key> = ended.iter().flat_map(|ended| &ended.passed).map(Passed::key).collect();
    assert_eq!(passed.len(), 3);
    assert_eq!(passed.iter().filter(|key| ***key == lane()).count(), 1);
    assert!(ended.iter().all(|ended| !ended.woken.contains(&lane())));
    let next = AttemptId { task: uids[2].clone(), number: 1 };
    assert!(core.attempts.carried(&next, core.now()).is_some(), "it is registered before it is carried");
}

#[tokio::test]
async fn a_task_that_cannot_be_settled_keeps_no_ending_from_being_written() {
    let state = tempfile::tempdir().unwrap();
    let mut core = alone(state.path());
    let uids = two_of_three(&core).await;
    let unsettled = Key::Task(uids[0].clone());
    core.twist = Some(Arc::new(Fails(unsettled.clone())));
    let [one, other] = end_both(&core, &uids).await;
    // Its next pass sees what it came to; nobody else has to wait for that.
    assert_eq!(phases(&core, &uids[..2]).await, [Phase::Running, Phase::Completed]);
    assert!(one.woken.contains(&unsettled) && one.woken.contains(&lane()));
    assert!(other.woken.contains(&lane()));
    for uid in &uids[..2] {
        assert!(end(&core, &completed(&core, uid)).await.unwrap().is_none(), "it was written already");
    }
}
