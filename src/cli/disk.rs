//! The room that the state directory takes and has, without a walk through it: results may be millions of files.

use std::path::Path;

use serde::Serialize;

use crate::executor::results::free_bytes;
use crate::store::database_path;

/// The room of a state directory, in bytes; what cannot be found out is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Disk {
    /// The database file.
    pub(crate) database_bytes: Option<u64>,
    /// The log that is not folded into it yet.
    pub(crate) wal_bytes: Option<u64>,
    /// What is free on its file system.
    pub(crate) free_bytes: Option<u64>,
}

/// Looks at a state directory.
pub(crate) fn look(state: &Path) -> Disk {
    let database = database_path(state);
    let wal = database.with_extension("db-wal");
    let size = |path: &Path| path.metadata().ok().map(|metadata| metadata.len());
    Disk { database_bytes: size(&database), wal_bytes: size(&wal), free_bytes: free_bytes(state).ok() }
}

/// Bytes as people read them: `640 KiB`, `12.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut tenths, mut unit) = (u128::from(count) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths {
        0..1000 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{} {}", tenths / 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_for_people() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (655_360, "640 KiB"),
            (13_421_772_800, "12.5 GiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
