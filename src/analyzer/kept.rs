//! Finished answers, kept under their attempt tokens for a while, so that a client that was killed asks again instead of running an
//! analysis twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::request::Fingerprint;

/// How long an answer is kept. A controller that was killed is back within seconds, and one that a person has to start again within
/// minutes; later than that it has given the attempt up.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(15 * 60);

/// How many answers are kept: several times what a controller has under way at one analyzer.
pub(super) const KEPT_MAX: usize = 256;

/// How much all kept answers may have together: two of the largest, or every one of `KEPT_MAX` at 1 MiB, which few exceed.
pub(super) const KEPT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// One kept answer.
#[derive(Debug)]
struct Answer {
    token: String,
    request: Fingerprint,
    text: Arc<str>,
    since: Instant,
}

/// All kept answers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    answers: VecDeque<Answer>,
    bytes: usize,
}

impl Kept {
    /// Keeps an answer; the oldest go when there is no more room. `token` must not be kept already.
    pub(super) fn keep(&mut self, token: String, request: Fingerprint, text: Arc<str>, now: Instant) {
        self.forget_expired(now);
        self.bytes += text.len();
        self.answers.push_back(Answer { token, request, text, since: now });
        while self.answers.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            self.forget_oldest();
        }
    }

    /// The answer of a token, and which request it answers.
    pub(super) fn get(&mut self, token: &str, now: Instant) -> Option<(Fingerprint, Arc<str>)> {
        self.forget_expired(now);
        let answer = self.answers.iter().find(|answer| answer.token == token)?;
        Some((answer.request, Arc::clone(&answer.text)))
    }

    /// Forgets what is too old.
    pub(super) fn forget_expired(&mut self, now: Instant) {
        while self.answers.front().is_some_and(|oldest| now.duration_since(oldest.since) >= KEPT_FOR) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.answers.pop_front() {
            self.bytes -= oldest.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Fingerprint = Fingerprint([7; 32]);

    fn kept(answers: impl IntoIterator<Item = (usize, Arc<str>)>, now: Instant) -> Kept {
        let mut kept = Kept::default();
        answers.into_iter().for_each(|(n, text)| kept.keep(n.to_string(), REQUEST, text, now));
        kept
    }

    fn tokens(kept: &Kept) -> Vec<&str> {
        kept.answers.iter().map(|answer| answer.token.as_str()).collect()
    }

    #[test]
    fn an_answer_is_there_until_its_time_is_over_however_often_it_was_given() {
        let start = Instant::now();
        let mut kept = kept([(1, "one".into())], start);
        kept.keep("2".into(), REQUEST, "two".into(), start + Duration::from_secs(60));
        let last = start + KEPT_FOR - Duration::from_millis(1);
        for now in [start, last, last] {
            assert_eq!(kept.get("1", now), Some((REQUEST, "one".into())));
        }
        assert_eq!(kept.get("1", start + KEPT_FOR), None);
        assert_eq!((tokens(&kept), kept.bytes), (vec!["2"], 3));
        kept.forget_expired(start + KEPT_FOR + Duration::from_secs(60));
        assert_eq!((kept.answers.len(), kept.bytes), (0, 0));
    }

    #[test]
    fn one_answer_more_than_are_kept_costs_the_oldest() {
        let kept = kept((0..=KEPT_MAX).map(|n| (n, "x".into())), Instant::now());
        assert_eq!((kept.answers.len(), kept.bytes, tokens(&kept)[0]), (KEPT_MAX, KEPT_MAX, "1"));
    }

    #[test]
    fn large_answers_push_out_the_oldest_by_their_size() {
        // One text for all of them: what counts is how much each would hold by itself.
        let large: Arc<str> = "x".repeat(KEPT_BYTES_MAX / 4).into();
        let mut kept = kept((0..4).map(|n| (n, Arc::clone(&large))), Instant::now());
        assert_eq!(tokens(&kept), ["0", "1", "2", "3"]);
        kept.keep("4".into(), REQUEST, "y".into(), Instant::now());
        assert_eq!((tokens(&kept), kept.bytes), (vec!["1", "2", "3", "4"], 3 * large.len() + 1));
    }
}
