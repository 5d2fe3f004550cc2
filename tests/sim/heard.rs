//! What the program says in its log of itself: an error, or that something failed which should not. On its thread alone, so that worlds do not
//! hear each other.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Words of lines that are no breach: a world makes them true on purpose.
const EXPECTED: [&str; 2] = ["the disk is full", "disk is full"];

/// Words of warnings that are one: nothing here should fail at the store, or end twice.
const SUSPICIOUS: [&str; 4] =
    ["it will be tried again", "trying again", "could not be written", "late ending rejected"];

/// Hears what is said on this thread.
pub(crate) struct Ear;

/// Takes what was heard since the last time.
pub(crate) fn take() -> Vec<String> {
    HEARD.with_borrow_mut(std::mem::take)
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<tracing::metadata::LevelFilter> {
        Some(tracing::metadata::LevelFilter::WARN)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let said = line.0.trim_end().to_owned();
        let is_bad = *event.metadata().level() == Level::ERROR || SUSPICIOUS.iter().any(|word| said.contains(word));
        if is_bad && !EXPECTED.iter().any(|word| said.contains(word)) {
            HEARD.with_borrow_mut(|heard| heard.push(said));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
