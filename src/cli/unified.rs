//! Two texts as a unified diff: what `diff -u` prints, for the texts of manifests.

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// Cells of the table for the common lines, 16 MiB of them. What differs by more is shown as replaced as a whole, which is correct too.
const CELLS_MAX: usize = 4 << 20;

/// What happens to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Same,
    Gone,
    New,
}

/// The unified diff of two texts; empty when they are equal. Lines end with a line break; a text that does not is told as by `diff`.
pub(super) fn unified(from: (&str, &str), to: (&str, &str)) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (from.1.split_inclusive('\n').collect(), to.1.split_inclusive('\n').collect());
    if old == new {
        return String::new();
    }
    let script = script(&old, &new);
    let mut text = format!("--- {}\n+++ {}\n", from.0, to.0);
    for hunk in hunks(&script) {
        let before = |end: usize, but: Sign| script[..end].iter().filter(|(sign, _)| *sign != but).count();
        let (old_start, new_start) = (before(hunk.start, Sign::New), before(hunk.start, Sign::Gone));
        let (old_length, new_length) =
            (before(hunk.end, Sign::New) - old_start, before(hunk.end, Sign::Gone) - new_start);
        let range = |start: usize, length: usize| format!("{},{length}", if length == 0 { start } else { start + 1 });
        text += &format!("@@ -{} +{} @@\n", range(old_start, old_length), range(new_start, new_length));
        for (sign, line) in &script[hunk] {
            text.push(match sign {
                Sign::Same => ' ',
                Sign::Gone => '-',
                Sign::New => '+',
            });
            text += line;
            if !line.ends_with('\n') {
                text += "\n\\ No newline at end of file\n";
            }
        }
    }
    text
}

/// Every line of both, in order, with what happens to it.
fn script<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Sign, &'a str)> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut script: Vec<(Sign, &str)> = old[..head].iter().map(|line| (Sign::Same, *line)).collect();
    script.extend(middle(a, b));
    script.extend(old[old.len() - tail..].iter().map(|line| (Sign::Same, *line)));
    script
}

/// The part between what is common at both ends, by the longest common subsequence of lines.
fn middle<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<(Sign, &'a str)> {
    let width = b.len() + 1;
    let is_large = (a.len() + 1).saturating_mul(width) > CELLS_MAX;
    let mut common = vec![0_u32; if is_large { 0 } else { (a.len() + 1) * width }];
    if !is_large {
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                common[i * width + j] = if a[i] == b[j] {
                    common[(i + 1) * width + j + 1] + 1
                } else {
                    common[(i + 1) * width + j].max(common[i * width + j + 1])
                };
            }
        }
    }
    let (mut i, mut j, mut script) = (0, 0, Vec::with_capacity(a.len() + b.len()));
    while i < a.len() || j < b.len() {
        let both = i < a.len() && j < b.len() && !is_large;
        if both && a[i] == b[j] {
            script.push((Sign::Same, a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (!both || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            script.push((Sign::Gone, a[i]));
            i += 1;
        } else {
            script.push((Sign::New, b[j]));
            j += 1;
        }
    }
    script
}

/// The ranges of the script that are shown: every change with the lines around it; those that touch are one.
fn hunks(script: &[(Sign, &str)]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in script.iter().enumerate().filter(|(_, (sign, _))| *sign != Sign::Same) {
        let (start, end) = (at.saturating_sub(CONTEXT), (at + CONTEXT + 1).min(script.len()));
        match hunks.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(old: &str, new: &str) -> String {
        unified(("a", old), ("b", new))
    }

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(diff("x\ny\n", "x\ny\n"), "");
    }

    #[test]
    fn a_change_is_shown_with_three_lines_around_it() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("10\n", "ten\n");
        assert_eq!(diff(&old, &new), "--- a\n+++ b\n@@ -7,7 +7,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n");
    }

    #[test]
    fn distant_changes_have_hunks_of_their_own_and_near_ones_share_one() {
        let old: String = (1..=30).map(|n| format!("{n}\n")).collect();
        let near = old.replace("10\n", "ten\n").replace("13\n", "");
        let far = old.replace("3\n", "three\n");
        assert_eq!(diff(&old, &near).matches("@@ -").count(), 1);
        assert_eq!(diff(&old, &far).matches("@@ -").count(), 3, "lines 3, 13 and 23");
    }

    #[test]
    fn a_missing_last_line_break_is_told() {
        assert_eq!(diff("x\n", "x"), "--- a\n+++ b\n@@ -1,1 +1,1 @@\n-x\n+x\n\\ No newline at end of file\n");
        assert_eq!(diff("", "x\n"), "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(diff("x\n", ""), "--- a\n+++ b\n@@ -1,1 +0,0 @@\n-x\n");
    }

    #[test]
    fn texts_that_have_too_little_in_common_are_replaced_as_a_whole() {
        let of = |word: &str| (0..3000).map(|n| format!("{word}{n}\n")).collect::<String>();
        let shown = diff(&of("a"), &of("b"));
        assert_eq!((shown.matches("\n-a").count(), shown.matches("\n+b").count()), (3000, 3000));
    }
}
