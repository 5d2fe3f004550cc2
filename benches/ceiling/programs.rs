//! The program half of the reference: spawns and waits, with or without the store. Each slot is a thread that starts one program after another, so that
//! both cores start programs at the same time.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::course::Course;
use super::store::Group;

/// What the course is told.
pub(crate) enum Told {
    /// These steps are durable.
    Acknowledged(Group),
    /// The program of this task has exited.
    Exited(u32),
}

/// Runs the course, `/bin/true` for each task.
pub(crate) fn run(mut course: Course, slots: u32, told: &Receiver<Told>, teller: &Sender<Told>) {
    let (jobs, queue) = channel();
    let queue = Arc::new(Mutex::new(queue));
    let threads: Vec<_> = (0..slots)
        .map(|_| {
            let (queue, exits) = (Arc::clone(&queue), teller.clone());
            std::thread::spawn(move || work(&queue, &exits))
        })
        .collect();
    let mut begin = course.begin();
    while !course.is_over() {
        begin.drain(..).for_each(|task| jobs.send(task).expect("a thread of a slot"));
        let mut ended = Vec::new();
        begin = match told.recv().expect("a message") {
            Told::Acknowledged(group) => course.acknowledged(group),
            Told::Exited(task) => {
                ended.push(task);
                Vec::new()
            }
        };
        // What is ready meanwhile is one group.
        while let Ok(more) = told.try_recv() {
            match more {
                Told::Acknowledged(group) => begin.extend(course.acknowledged(group)),
                Told::Exited(task) => ended.push(task),
            }
        }
        if !ended.is_empty() {
            begin.extend(course.ended(ended));
        }
    }
    drop(jobs);
    threads.into_iter().for_each(|thread| thread.join().expect("a thread of a slot"));
}

/// Runs programs until there are no more.
fn work(queue: &Mutex<Receiver<u32>>, exits: &Sender<Told>) {
    loop {
        let next = queue.lock().expect("a lock that nobody panics with").recv();
        let Ok(task) = next else { return };
        let mut command = Command::new("/bin/true");
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("a program").success(), "/bin/true has failed");
        if exits.send(Told::Exited(task)).is_err() {
            return;
        }
    }
}
