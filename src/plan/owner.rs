//! Who a task belongs to, for fair share between those who wait for one analyzer. A hint for dispatch and nothing else: no right follows
//! from it.

use std::collections::BTreeMap;

/// The label by which a manifest names the owner of its tasks itself.
pub const OWNER_LABEL: &str = "manifestd.dev/owner";

/// The owner of a task: what its label says; else its file when that declares several tasks; else the directory of the file, so that a
/// folder of single tasks shares one place in line, and one big file does not keep a small one waiting.
#[must_use]
pub fn owner(labels: &BTreeMap<String, String>, file: &str, tasks_in_file: usize) -> String {
    match labels.get(OWNER_LABEL).filter(|owner| !owner.is_empty()) {
        Some(owner) => owner.clone(),
        None if tasks_in_file > 1 => file.to_owned(),
        None => file.rfind('/').map_or_else(|| "./".to_owned(), |slash| file[..=slash].to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_goes_before_a_file_of_many_and_that_before_a_directory() {
        let none = BTreeMap::new();
        let label = |owner: &str| BTreeMap::from([(OWNER_LABEL.to_owned(), owner.to_owned())]);
        assert_eq!(owner(&label("web"), "a/b.yaml", 9), "web");
        assert_eq!(owner(&label(""), "a/b.yaml", 9), "a/b.yaml");
        assert_eq!(owner(&none, "a/b.yaml", 2), "a/b.yaml");
        assert_eq!(owner(&none, "a/c/b.yaml", 1), "a/c/");
        assert_eq!(owner(&none, "b.yaml", 1), "./");
    }
}
