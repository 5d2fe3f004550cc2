//! The status algebra: the one function that derives a parent's ending from its children's, for tools and for tasks.

/// How one child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did all it should.
    Completed,
    /// It did some of it.
    Partial,
    /// It did nothing that counts.
    Failed,
    /// It was cancelled or skipped.
    Cancelled,
}

/// Folds terminal children into one ending; `None` for no children, since nothing proves success.
///
/// With S completed, P partial, F failed, C cancelled: all S is Completed; S+P = 0 and all C is Cancelled; S+P = 0 is Failed;
/// anything else is Partial.
#[must_use]
pub fn fold(children: impl IntoIterator<Item = Ended>) -> Option<Ended> {
    let (mut completed, mut partial, mut cancelled, mut total) = (0usize, 0usize, 0usize, 0usize);
    for child in children {
        total += 1;
        match child {
            Ended::Completed => completed += 1,
            Ended::Partial => partial += 1,
            Ended::Failed => {}
            Ended::Cancelled => cancelled += 1,
        }
    }
    if total == 0 {
        return None;
    }
    Some(if completed == total {
        Ended::Completed
    } else if completed + partial > 0 {
        Ended::Partial
    } else if cancelled == total {
        Ended::Cancelled
    } else {
        Ended::Failed
    })
}

#[cfg(test)]
mod tests {
    use super::Ended::{Cancelled, Completed, Failed, Partial};
    use super::*;

    #[test]
    fn the_algebra_is_the_one_of_the_design() {
        for (children, whole) in [
            (vec![], None),
            (vec![Completed, Completed], Some(Completed)),
            (vec![Cancelled, Cancelled], Some(Cancelled)),
            (vec![Failed, Cancelled], Some(Failed)),
            (vec![Failed], Some(Failed)),
            (vec![Completed, Failed], Some(Partial)),
            (vec![Completed, Cancelled], Some(Partial)),
            (vec![Partial], Some(Partial)),
        ] {
            assert_eq!(fold(children.clone()), whole, "{children:?}");
        }
    }

    /// Every list of so many endings.
    fn lists(length: usize) -> Vec<Vec<Ended>> {
        (0..length).fold(vec![vec![]], |shorter, _| {
            let longer = |list: Vec<Ended>| {
                [Completed, Partial, Failed, Cancelled].map(|last| [list.as_slice(), &[last]].concat())
            };
            shorter.into_iter().flat_map(longer).collect()
        })
    }

    #[test]
    fn a_parent_is_as_good_as_all_of_its_children_and_never_better() {
        for children in (0..=4).flat_map(lists) {
            let whole = fold(children.clone());
            let all = |wanted| !children.is_empty() && children.iter().all(|child| *child == wanted);
            assert_eq!(whole == Some(Completed), all(Completed), "{children:?}");
            assert_eq!(whole == Some(Cancelled), all(Cancelled), "{children:?}");
            let some_good = children.iter().any(|child| matches!(child, Completed | Partial));
            assert_eq!(matches!(whole, Some(Completed | Partial)), some_good, "{children:?}");
            assert_eq!(whole, fold(children.iter().rev().copied()), "{children:?}: their order says nothing");
        }
    }
}
