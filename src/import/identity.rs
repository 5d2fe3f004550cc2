//! Who an imported record is: a uid and a name that follow from its old identity, so that a second import finds the first.

use sha2::{Digest as _, Sha256};

use crate::resource::name::{NAME_BYTES_MAX, Uid, to_name};

/// Bytes of a name that is told from another of the same name by a digest: a dash and eight digits follow.
const STEM_BYTES_MAX: usize = NAME_BYTES_MAX - 9;

/// The uid of what the old system called so: a UUID of version 8 (RFC 9562: of one's own making) from the digest of table and identity.
#[must_use]
pub fn uid(table: &str, identity: &str) -> Uid {
    let digest = Sha256::digest(format!("manifestd import thesis\n{table}\n{identity}"));
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uid(uuid::Uuid::from_bytes(bytes).to_string())
}

/// The name of a task or a pipeline: its old id as a name.
#[must_use]
pub fn name(identity: &str) -> String {
    to_name(identity)
}

/// The name instead of one that is taken: the same with the beginning of the uid.
#[must_use]
pub fn other_name(name: &str, uid: &Uid) -> String {
    let stem: String = name.chars().take(STEM_BYTES_MAX).collect();
    format!("{}-{}", stem.trim_end_matches(['-', '.']), uid.0.chars().take(8).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::name::check_name;

    #[test]
    fn a_uid_follows_from_the_old_identity_alone() {
        assert_eq!(uid("t", "a"), uid("t", "a"));
        assert!(uid("t", "a") != uid("t", "b") && uid("t", "a") != uid("u", "a"));
        let parsed = uuid::Uuid::parse_str(&uid("t", "a").0).unwrap();
        assert_eq!(parsed.get_version_num(), 8);
    }

    #[test]
    fn a_name_that_is_taken_gives_way_to_one_that_is_valid() {
        for text in ["task_1", "x", &"a".repeat(400), "a.-"] {
            let other = other_name(&name(text), &uid("t", text));
            assert!(check_name(&other).is_ok(), "{other}");
        }
    }
}
