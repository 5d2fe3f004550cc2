//! Whom this side trusts at the other end of TLS: the authorities of the system, or those of a secret. Names and dates are always checked;
//! nothing can turn that off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore};

use crate::disk::secret::Secret;
use crate::resource::time::Timestamp;

/// So many names of a certificate are told.
const NAMES_MAX: usize = 5;

/// What was prepared for earlier connections. Some thousand certificates are read of the disk for the system's authorities, so that is done
/// once; what a secret holds is compared each time.
#[derive(Debug, Default)]
pub(super) struct Trust {
    system: Mutex<Option<Arc<ClientConfig>>>,
    named: Mutex<HashMap<String, (Secret, Arc<ClientConfig>)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is a single insert or assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trust {
    /// What a connection is made with that trusts the authorities of this system. Blocking.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) fn of_the_system(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = &*locked(&self.system) {
            return Ok(Arc::clone(config));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Old systems have some that no program reads any more.
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            let why = found.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
            return Err(format!(
                "this system has no authorities that certificates could be checked with: {why}; install ca-certificates, or name a secret with caSecretName"
            ));
        }
        let config = config(roots)?;
        *locked(&self.system) = Some(Arc::clone(&config));
        Ok(config)
    }

    /// What a connection is made with that trusts the authorities in a secret and nobody else.
    ///
    /// # Errors
    /// Why the secret holds none.
    pub(super) fn of_a_secret(&self, name: &str, secret: Secret) -> Result<Arc<ClientConfig>, String> {
        if let Some((_, config)) = locked(&self.named).get(name).filter(|(known, _)| *known == secret) {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        for (at, found) in CertificateDer::pem_slice_iter(secret.bytes()).enumerate() {
            let added = found.map_err(|error| error.to_string());
            let added = added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|why| format!("certificate {} in the secret {name:?} cannot be used: {why}", at + 1))?;
        }
        if roots.is_empty() {
            return Err(format!(
                "the secret {name:?} holds no certificate: one in PEM is expected, which begins with -----BEGIN CERTIFICATE-----"
            ));
        }
        let config = config(roots)?;
        locked(&self.named).insert(name.to_owned(), (secret, Arc::clone(&config)));
        Ok(config)
    }
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// What is wrong with the other side of TLS, for a person. `ca` is the secret whose authorities were trusted.
pub(super) fn explain(error: &Error, host: &str, ca: Option<&str>) -> String {
    match error {
        Error::InvalidCertificate(wrong) => certificate(wrong, host, ca),
        Error::InvalidMessage(_) => "it does not speak TLS; if it should not, its address begins with ws://".into(),
        Error::AlertReceived(alert) => format!("it refused the TLS handshake: {alert:?}"),
        Error::PeerIncompatible(why) => format!("it speaks no TLS that is safe, which is 1.2 or 1.3: {why:?}"),
        other => format!("TLS: {other}"),
    }
}

fn certificate(wrong: &CertificateError, host: &str, ca: Option<&str>) -> String {
    use CertificateError as Wrong;
    let day = |seconds: u64| Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)).rfc3339();
    match wrong {
        Wrong::Expired => "its certificate has expired; it needs a new one".into(),
        Wrong::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired, at {}; it needs a new one", day(not_after.as_secs()))
        }
        Wrong::NotValidYet => "its certificate is not valid yet; does the clock of this machine go right?".into(),
        Wrong::NotValidYetContext { not_before, .. } => {
            let from = day(not_before.as_secs());
            format!("its certificate is not valid before {from}; does the clock of this machine go right?")
        }
        Wrong::NotValidForName => format!("its certificate is for another name than {host}"),
        Wrong::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
            format!("its certificate is for another name than {host}; it is for: {names}")
        }
        Wrong::UnknownIssuer => match ca {
            Some(ca) => format!("its certificate is signed by none of the authorities in the secret {ca:?}"),
            None => "its certificate is signed by nobody whom this system trusts; put an authority of your own into a secret and name that with caSecretName".into(),
        },
        other => format!("its certificate cannot be accepted: {other}"),
    }
}
