//! Pipelines that run each other for ever.

use std::collections::{BTreeMap, VecDeque};

/// The shortest way by which a pipeline comes to run itself, from its name to its name; `None` when it does not. `runs` gives the pipelines that
/// the steps of a pipeline run.
pub fn circle(start: &str, runs: impl Fn(&str) -> Vec<String>) -> Option<Vec<String>> {
    // Each pipeline that was reached, with the one from which it was reached first.
    let mut reached: BTreeMap<String, String> = BTreeMap::new();
    let mut left = VecDeque::from([start.to_owned()]);
    while let Some(next) = left.pop_front() {
        for name in runs(&next) {
            if name == start {
                let mut way = vec![name, next];
                while let Some(before) = way.last().and_then(|last| reached.get(last)) {
                    way.push(before.clone());
                }
                way.reverse();
                return Some(way);
            }
            if !reached.contains_key(&name) {
                reached.insert(name.clone(), next.clone());
                left.push_back(name);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(start: &str) -> Option<String> {
        let runs = |name: &str| {
            let to: &[&str] = match name {
                "a" => &["x", "b"],
                "b" => &["x", "c"],
                "c" => &["d", "a"],
                "d" => &["b"],
                "alone" => &["alone"],
                "outside" => &["a"],
                _ => &[],
            };
            to.iter().map(|name| (*name).to_owned()).collect()
        };
        circle(start, runs).map(|way| way.join(" "))
    }

    #[test]
    fn the_shortest_way_back_is_told_and_nothing_where_there_is_none() {
        assert_eq!(way("a").as_deref(), Some("a b c a"));
        assert_eq!(way("d").as_deref(), Some("d b c d"));
        assert_eq!(way("alone").as_deref(), Some("alone alone"));
        assert_eq!((way("x"), way("outside")), (None, None));
    }
}
