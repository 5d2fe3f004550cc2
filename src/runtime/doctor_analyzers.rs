//! What doctor looks at of the analyzers: whether what they name outside of the manifests is there and may be used.

use std::path::PathBuf;

use rusqlite::Connection;

use super::doctor::{Diagnosis, Subject};
use crate::disk::TrustedPrograms;
use crate::disk::secret;
use crate::plan::doctor::Check;
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::kind::Kind;
use crate::store::StoreError;
use crate::store::view::{self, Filter};

/// What analyzers may name.
#[derive(Debug, Clone)]
pub struct Outside {
    /// The programs that commands may run; `None` for any.
    pub programs: Option<TrustedPrograms>,
    /// The directory of secrets.
    pub secrets: PathBuf,
}

/// Looks at what the stored analyzers name. One that was accepted before a setting was changed stays as it is until its manifest is.
pub(super) fn analyzers(
    subject: &Subject,
    connection: &Connection,
    diagnosis: &mut Diagnosis,
) -> Result<(), StoreError> {
    let known = view::objects(connection, Kind::Analyzer, &Filter::default())?;
    diagnosis.saw(
        Check::Analyzers,
        format!("analyzers: {}; the secrets and programs that they name were looked for", known.len()),
    );
    for analyzer in known {
        let Ok(spec) = serde_json::from_value::<AnalyzerSpec>(analyzer.spec) else { continue };
        let object = format!("analyzer/{}", analyzer.name);
        if let (Some(command), Some(programs)) = (&spec.command, &subject.outside.programs) {
            let refused = command.argv.first().and_then(|program| programs.find(program).err());
            let dressed = (!command.env.is_empty()).then(|| "it sets variables, which no command may".to_owned());
            for why in refused.into_iter().chain(dressed) {
                let what = format!("cannot be used with the setting commandDirectory: {why}");
                diagnosis.found(Check::Analyzers, &object, what, "change the manifest, or put the program there", None);
            }
        }
        let Some(websocket) = &spec.websocket else { continue };
        let named = |name: &String| secret::named(&subject.outside.secrets, name);
        let token = websocket.token_secret_name.as_ref();
        let token = token.and_then(|name| named(name).and_then(|it| it.token(&format!("the secret {name:?}"))).err());
        let ca = websocket.ca_secret_name.as_ref().and_then(|name| named(name).err());
        for no in token.into_iter().chain(ca) {
            diagnosis.found(
                Check::Analyzers,
                &object,
                format!("cannot be reached: {no}"),
                "mend the file; nothing needs a restart",
                None,
            );
        }
    }
    Ok(())
}
