//! Where the boxes of a picture stand: in layers from left to right, each step one layer after the last of what it needs.

use super::super::picture::Picture;

/// Which layer each step stands in, and which place from above within it, in the order of the steps.
pub(super) fn places(picture: &Picture) -> Vec<(usize, usize)> {
    let mut layers: Vec<usize> = Vec::with_capacity(picture.steps.len());
    for step in picture.steps.iter().filter(|step| !step.is_final) {
        layers.push(layer(&step.needs, &layers, 0));
    }
    // What runs finally begins after everything else.
    let first_final = layers.iter().max().map_or(0, |last| last + 1);
    for step in picture.steps.iter().filter(|step| step.is_final) {
        layers.push(layer(&step.needs, &layers, first_final));
    }
    let mut taken = vec![0; layers.iter().max().map_or(0, |last| last + 1)];
    let mut place = |layer: usize| {
        taken[layer] += 1;
        (layer, taken[layer] - 1)
    };
    layers.iter().map(|layer| place(*layer)).collect()
}

/// The longest way here; steps that come later are in a circle, which a checked pipeline has not, and count for nothing.
fn layer(needs: &[usize], before: &[usize], at_least: usize) -> usize {
    needs.iter().filter_map(|need| before.get(*need)).map(|layer| layer + 1).fold(at_least, usize::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::picture::tests::{picture, step};
    use crate::resource::run::StepPhase;

    #[test]
    fn a_step_stands_after_the_longest_way_to_it_and_what_is_final_after_all() {
        assert_eq!(places(&picture()), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]);
    }

    #[test]
    fn a_diamond_with_a_long_side_and_a_step_without_a_place_are_no_trouble() {
        let of = |needs: &[usize]| step("x", needs, StepPhase::Waiting, (0, 0, 0));
        let picture = Picture { title: String::new(), steps: vec![of(&[]), of(&[0]), of(&[1]), of(&[0, 2]), of(&[9])] };
        assert_eq!(places(&picture), [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1)]);
        assert!(places(&Picture::default()).is_empty());
    }
}
