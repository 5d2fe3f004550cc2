//! Which commit the manifests were checked out from, when it is not told by the files themselves: git writes the files first and moves HEAD
//! after that, so what was read in between carries the commit before.

use rusqlite::Connection;

use super::{Store, StoreError};

impl Store {
    /// Makes every object that comes from a file name this commit as the one that is checked out. Returns how many named another one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn follow_checkout(&self, commit: String) -> Result<usize, StoreError> {
        let wanted = commit.clone();
        if !self.read(move |connection| is_behind(connection, &wanted)).await? {
            return Ok(0);
        }
        self.write(move |connection| {
            let update = "UPDATE object SET git_commit = ?1
                 WHERE removed_at IS NULL AND line > 0 AND git_commit IS NOT ?1";
            Ok(connection.execute(update, [&commit])?)
        })
        .await
    }
}

fn is_behind(connection: &Connection, commit: &str) -> Result<bool, StoreError> {
    let query = "SELECT EXISTS (SELECT 1 FROM object
         WHERE removed_at IS NULL AND line > 0 AND git_commit IS NOT ?1)";
    Ok(connection.query_row(query, [commit], |row| row.get(0))?)
}
