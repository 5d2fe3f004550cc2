//! Who is let in: TLS when there is a certificate, and a token when one is asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};

use crate::disk::secret::{self, NoSecret, Token};

/// How clients come in. By default everybody does, in the clear.
#[derive(Debug, Clone, Default)]
pub struct Door {
    /// The files of the certificate, with those that lead up to its authority behind it, and of its private key; both in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// What a client must show.
    pub proof: Proof,
}

/// What a client must show.
#[derive(Debug, Clone, Default)]
pub enum Proof {
    /// Nothing.
    #[default]
    Nothing,
    /// This token.
    Token(Token),
    /// The token that is in this file when the client comes.
    File(PathBuf),
}

/// A door whose certificate has been read.
pub(super) struct OpenDoor {
    /// Speaks TLS with those who come, if anybody does.
    pub(super) tls: Option<TlsAcceptor>,
    proof: Proof,
}

impl std::fmt::Debug for OpenDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenDoor").field("tls", &self.tls.is_some()).field("proof", &self.proof).finish()
    }
}

impl Door {
    /// Whether nobody can listen on the way, and nobody comes in without a token.
    #[must_use]
    pub const fn is_guarded(&self) -> bool {
        self.tls.is_some() && !matches!(self.proof, Proof::Nothing)
    }

    /// Reads the certificate, and the token once, so that what is wrong is said at once. Blocking.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(super) fn open(&self) -> Result<OpenDoor, String> {
        if let Proof::File(path) = &self.proof {
            read_token(path).map_err(|no| no.0)?;
        }
        let tls = self.tls.as_ref().map(|(chain, key)| server(chain, key)).transpose()?;
        Ok(OpenDoor { tls, proof: self.proof.clone() })
    }
}

fn read_token(path: &Path) -> Result<Token, NoSecret> {
    secret::at(path)?.token(&path.display().to_string())
}

fn server(chain: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let text = std::fs::read(chain).map_err(|error| wrong(chain, &error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| wrong(chain, &error))?;
    if certificates.is_empty() {
        return Err(wrong(chain, &"it holds no certificate in PEM"));
    }
    let secret = secret::at(key).map_err(|no| no.0)?;
    let private = PrivateKeyDer::from_pem_slice(secret.bytes());
    let private = private.map_err(|error| wrong(key, &format!("it holds no private key in PEM: {error}")))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let config = builder.with_no_client_auth().with_single_cert(certificates, private);
    config.map(|config| TlsAcceptor::from(Arc::new(config))).map_err(|error| wrong(chain, &error))
}

impl OpenDoor {
    /// What the next client must show; read now, so that a new token needs no restart.
    ///
    /// # Errors
    /// Why nobody can come in.
    pub(super) async fn wanted(&self) -> Result<Option<Token>, NoSecret> {
        let path = match &self.proof {
            Proof::Nothing => return Ok(None),
            Proof::Token(token) => return Ok(Some(token.clone())),
            Proof::File(path) => path.clone(),
        };
        let read = tokio::task::spawn_blocking(move || read_token(&path)).await;
        read.map_err(|error| NoSecret(error.to_string())).flatten().map(Some)
    }
}

/// Lets a request in, or says why not.
#[expect(clippy::result_large_err, reason = "tungstenite asks for this type")]
pub(super) fn admit(
    request: &Request,
    response: Response,
    wanted: &Result<Option<Token>, NoSecret>,
) -> Result<Response, ErrorResponse> {
    match wanted {
        Ok(None) => Ok(response),
        Ok(Some(token)) if shown(request).is_some_and(|word| is_it(word, token)) => Ok(response),
        Ok(Some(_)) => Err(refusal(StatusCode::UNAUTHORIZED)),
        Err(no) => {
            tracing::error!("nobody can come in: {no}");
            Err(refusal(StatusCode::SERVICE_UNAVAILABLE))
        }
    }
}

/// The token that a request shows. Source: RFC 6750, section 2.1.
fn shown(request: &Request) -> Option<&[u8]> {
    let (scheme, word) = request.headers().get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| word.trim_ascii())
}

/// Whether a word is the token. How long the answer takes tells nothing about how much of it is right, nor how long it is.
fn is_it(word: &[u8], token: &Token) -> bool {
    Sha256::digest(word).ct_eq(&Sha256::digest(token.word())).into()
}

fn refusal(status: StatusCode) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = status;
    refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(wanted: &Result<Option<Token>, NoSecret>, header: Option<&str>) -> u16 {
        let mut request = Request::new(());
        if let Some(value) = header {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        admit(&request, Response::new(()), wanted).map_or_else(|refusal| refusal.status().as_u16(), |_| 101)
    }

    #[test]
    fn only_the_whole_token_opens_the_door() {
        let token = Token::random().unwrap();
        let (word, wanted) = (token.word().to_owned(), Ok(Some(token)));
        for good in [format!("Bearer {word}"), format!("bearer {word}"), format!("BEARER  {word} ")] {
            assert_eq!(status(&wanted, Some(&good)), 101, "{good}");
        }
        let (short, other) = (&word[..word.len() - 1], Token::random().unwrap());
        for bad in ["", "Bearer", "Bearer ", &word, &format!("Basic {word}"), &format!("Bearer {short}")] {
            assert_eq!(status(&wanted, Some(bad)), 401, "{bad}");
        }
        assert_eq!(status(&wanted, Some(&format!("Bearer {word}x"))), 401);
        assert_eq!(status(&wanted, Some(&format!("Bearer {}", other.word()))), 401);
        assert_eq!((status(&wanted, None), status(&Ok(None), None)), (401, 101));
        // A token that cannot be read any more lets nobody in.
        assert_eq!(status(&Err(NoSecret("gone".into())), Some(&format!("Bearer {word}"))), 503);
    }
}
