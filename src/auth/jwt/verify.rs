//! The checks of a token, in the one order there is.
//!
//! [`Verification::of`] is what requests go through and what explanations follow: it announces
//! each check before making it, so that whoever listens knows how far a token came. Requests
//! listen with a function that does nothing, which costs nothing.

use std::sync::Arc;

use jsonwebtoken::signature::Verifier;

use super::claims;
use super::confirmation;
use super::proof::Binding;
use super::provider::Provider;
use super::signature::SignatureVerifier;
use super::strict_json::Value;
use super::token::{Decoded, Token};
use super::validity::Validity;
use crate::auth::challenge::{self, TokenError};
use crate::auth::credentials::Credentials;
use crate::auth::keyset::keyring::{KeySet, NoKey, UnknownKey};
use crate::auth::question::{Denied, Question};
use crate::auth::{Evidence, ProviderIndex};
use crate::edge::{ClientCertificate, Identity};

/// One check of a token. The order of the variants is the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::auth) enum Check {
    /// Its form and its header.
    Form,
    /// Who issued it, and which provider that is.
    Issuer,
    /// Its algorithm is one of the provider's.
    Algorithm,
    /// The key that it names is one of the provider's and made for the algorithm.
    Key,
    /// Its signature is that key's.
    Signature,
    /// `exp`.
    Expiry,
    /// `nbf`.
    NotBefore,
    /// `iat`.
    IssuedAt,
    /// `aud`.
    Audience,
    /// It says who the caller is.
    Subject,
    /// An access token of RFC 9068 is whole.
    AccessToken,
    /// `cnf` is of a kind that is checked here.
    Confirmation,
    /// What it says can be passed on.
    Headers,
    /// The connection has the certificate that it is bound to.
    Certificate,
    /// It was not revoked.
    Revocation,
}

impl Check {
    /// Every check, in their order.
    pub(in crate::auth) const ALL: [Self; 15] = [
        Self::Form,
        Self::Issuer,
        Self::Algorithm,
        Self::Key,
        Self::Signature,
        Self::Expiry,
        Self::NotBefore,
        Self::IssuedAt,
        Self::Audience,
        Self::Subject,
        Self::AccessToken,
        Self::Confirmation,
        Self::Headers,
        Self::Certificate,
        Self::Revocation,
    ];
}

/// A token whose form is right, with the key that it names. Nothing in it is believed yet.
pub(in crate::auth) struct Selected<'a> {
    token: Token<'a>,
    provider: &'a Provider,
    verifier: &'a SignatureVerifier,
    /// What every verdict on it rests on.
    pub(in crate::auth) binding: Binding,
}

/// What a good token proves.
#[derive(Debug)]
pub(in crate::auth) struct Verified {
    pub(in crate::auth) identity: Arc<Identity>,
    /// Last second, in Unix time, in which the token is good.
    pub(in crate::auth) good_until: u64,
}

/// What tokens are verified with.
#[derive(Clone, Copy)]
pub(in crate::auth) struct Verification<'a> {
    pub(in crate::auth) credentials: &'a Credentials,
    pub(in crate::auth) evidence: &'a Evidence<'a>,
}

impl<'a> Verification<'a> {
    /// Verifies a token; `reach` hears of each check before it is made.
    ///
    /// # Errors
    /// Returns the first check that fails, or the question that has to be asked before the next
    /// one can be made.
    pub(in crate::auth) fn of(
        self,
        text: &str,
        reach: &mut impl FnMut(Check),
    ) -> Result<Verified, Denied> {
        reach(Check::Form);
        let decoded = Decoded::of(text)?;
        let selected = self.select(&decoded, reach)?;
        Ok(self.prove(selected, reach)?)
    }

    /// Reads a token and finds whose it claims to be, and with which key it is to be checked.
    ///
    /// # Errors
    /// As [`Verification::of`].
    pub(in crate::auth) fn select<'t>(
        self,
        decoded: &'t Decoded<'t>,
        reach: &mut impl FnMut(Check),
    ) -> Result<Selected<'t>, Denied>
    where
        'a: 't,
    {
        let token = Token::read(decoded)?;
        reach(Check::Issuer);
        let issuer = token.claims.get("iss").and_then(Value::as_str);
        let (index, provider) = self.provider(issuer)?;
        reach(Check::Algorithm);
        if !provider.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm.into());
        }
        reach(Check::Key);
        let set = provider.keys(self.evidence.keys).ok_or_else(challenge::keys_unavailable)?;
        let verifier = self.verifier(provider, set, &token)?;
        let binding = Binding {
            provider: index,
            fingerprint: provider.fingerprint,
            generation: set.generation(),
            key: token.kid.as_ref().map(|_| verifier.digest()),
        };
        Ok(Selected { token, provider, verifier, binding })
    }

    /// Checks the signature and what it signs.
    ///
    /// # Errors
    /// Returns the first check that fails.
    pub(in crate::auth) fn prove(
        self,
        selected: Selected<'_>,
        reach: &mut impl FnMut(Check),
    ) -> Result<Verified, TokenError> {
        let Selected { token, provider, verifier, .. } = selected;
        reach(Check::Signature);
        verifier.verify(token.signed(), token.signature()).map_err(|_| TokenError::Signature)?;
        // From here on the claims are the issuer's words.
        let (identity, good_until) = self.believe(&token, provider, reach)?;
        Ok(Verified { identity: Arc::new(identity), good_until })
    }

    /// What the claims of a token prove whose signature is good.
    fn believe(
        self,
        token: &Token<'_>,
        provider: &Provider,
        reach: &mut impl FnMut(Check),
    ) -> Result<(Identity, u64), TokenError> {
        let Evidence { providers, now, .. } = *self.evidence;
        let validity = Validity::new(&token.claims, provider, now);
        reach(Check::Expiry);
        let good_until = validity.expiry()?;
        reach(Check::NotBefore);
        validity.not_before()?;
        reach(Check::IssuedAt);
        validity.issued_at()?;
        reach(Check::Audience);
        validity.audience()?;
        reach(Check::Subject);
        validity.subject()?;
        reach(Check::AccessToken);
        if token.follows_rfc9068 {
            validity.access_token()?;
        }
        reach(Check::Confirmation);
        confirmation::read(&token.claims)?;
        reach(Check::Headers);
        let reading = claims::Reading {
            provider: &provider.name,
            names: &provider.claims,
            tenants: &providers.tenants,
            headers: &providers.headers,
        };
        let facts = claims::facts(&token.claims, token.kept(), &reading)?;
        Ok((Identity::prove(facts), good_until))
    }

    /// The accepted provider that a token claims to be from. Unverified: it only chooses whose
    /// keys and rules apply, and no other provider's key can then make the token good.
    ///
    /// # Errors
    /// No accepted provider has this issuer.
    pub(in crate::auth) fn provider(
        self,
        issuer: Option<&str>,
    ) -> Result<(ProviderIndex, &'a Provider), TokenError> {
        let issuer = issuer.ok_or(TokenError::Issuer)?;
        self.accepted().find(|(_, provider)| provider.issuer == issuer).ok_or(TokenError::Issuer)
    }

    /// The providers whose tokens are accepted.
    pub(in crate::auth) fn accepted(
        self,
    ) -> impl Iterator<Item = (ProviderIndex, &'a Provider)> + use<'a> {
        let Self { credentials, evidence } = self;
        credentials
            .providers
            .iter()
            .filter_map(|index| Some((*index, evidence.providers.get(*index)?)))
    }

    fn verifier<'k>(
        self,
        provider: &Provider,
        set: &'k KeySet,
        token: &Token<'_>,
    ) -> Result<&'k SignatureVerifier, Denied> {
        set.select(token.kid.as_deref(), token.algorithm).map_err(|none| match none {
            NoKey::Unfit => TokenError::KeyUnfit.into(),
            NoKey::Unnamed => TokenError::KeyUnnamed.into(),
            NoKey::Unknown => match provider.fetched() {
                Some((id, _)) if !self.evidence.answers.key => {
                    let kid = token.kid.as_deref().unwrap_or_default().into();
                    Denied::Ask(Question::Key(UnknownKey { set: id.clone(), kid }))
                }
                // Once nothing newer can be had, an unknown key is one that is not trusted.
                _ => TokenError::KeyUnknown.into(),
            },
        })
    }
}

/// What is checked on every request, also of a token that was verified before: whatever depends
/// on more than the token.
///
/// # Errors
/// Returns the first check that fails.
pub(in crate::auth) fn on_every_request(
    identity: &Identity,
    certificate: Option<&ClientCertificate>,
    reach: &mut impl FnMut(Check),
) -> Result<(), TokenError> {
    reach(Check::Certificate);
    confirmation::check(identity.bound_certificate.as_deref(), certificate)
}
