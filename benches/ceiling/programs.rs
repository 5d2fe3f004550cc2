//! The program half of the reference: spawns and waits, with or without the store. One thread starts programs, another reaps them.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender};

use rustix::process::{Pid, WaitOptions, wait};

use super::course::Course;
use super::store::Group;

/// What the starting thread is told.
pub(crate) enum Told {
    /// These steps are durable.
    Acknowledged(Group),
    /// This program has exited.
    Exited(Pid),
}

/// Runs the course, `/bin/true` for each task.
pub(crate) fn run(mut course: Course, told: &Receiver<Told>, teller: &Sender<Told>) {
    let (children, alive) = std::sync::mpsc::channel::<()>();
    let exits = teller.clone();
    let reaper = std::thread::spawn(move || {
        // One message for each program that was started: without any, there is nothing to wait for.
        while alive.recv().is_ok() {
            let (pid, status) = wait(WaitOptions::empty()).expect("a child").expect("a child");
            assert_eq!(status.exit_status(), Some(0), "/bin/true has failed");
            if exits.send(Told::Exited(pid)).is_err() {
                return;
            }
        }
    });
    let mut running = HashMap::new();
    let mut begin = course.begin();
    while !course.is_over() {
        for task in begin.drain(..) {
            running.insert(start(), task);
            children.send(()).expect("the reaper");
        }
        begin = match told.recv().expect("a message") {
            Told::Acknowledged(group) => course.acknowledged(group),
            Told::Exited(pid) => course.ended(vec![running.remove(&pid).expect("a program of ours")]),
        };
    }
    drop(children);
    reaper.join().expect("the reaper");
}

#[expect(clippy::zombie_processes, reason = "the reaper waits for it")]
fn start() -> Pid {
    let mut command = Command::new("/bin/true");
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("a program");
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id")
}
