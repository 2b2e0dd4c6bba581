//! Who holds the key that a request carries.

use std::sync::Arc;

use crate::auth::database::KeyText;
use crate::auth::lookup::Local;
use crate::auth::question::{Denied, Question, Unavailable};
use crate::auth::{Evidence, challenge};
use crate::edge::{Identity, RequestView};

/// The holder of the key that a request carries; none where it carries none. `stale` is whether
/// what was known last counts while nobody can be asked.
///
/// # Errors
/// 401 when the key is unknown, switched off, over its time, or not the only one: the caller is
/// told the same. 503 when who holds it cannot be known, or the question who it is.
pub(in crate::auth) fn identify(
    view: &RequestView<'_>,
    evidence: &Evidence<'_>,
    stale: bool,
) -> Result<Option<Arc<Identity>>, Denied> {
    let Evidence { providers, memory, answers, now, .. } = *evidence;
    let keys = &providers.api_keys;
    let Some(key) = keys.carriers.find(view).map_err(|_| keys.unknown())? else { return Ok(None) };
    if let Some(identity) = keys.listed.find(&key) {
        return Ok(Some(identity));
    }
    // Whoever guesses does not even cost a look-up.
    let ours = std::str::from_utf8(&key).ok().filter(|text| KeyText::check(text));
    let (Some(database), Some(key)) = (&providers.database, ours) else {
        return Err(keys.unknown().into());
    };
    let hash = database.hash(key);
    let holder = match &answers.api_key {
        Some(Ok(holder)) => holder.clone(),
        Some(Err(Unavailable)) if stale => {
            let last = memory.api_keys.last(&hash, now, &database.terms);
            Some(last.ok_or_else(challenge::unavailable)?)
        }
        Some(Err(Unavailable)) => return Err(challenge::unavailable().into()),
        None => match memory.api_keys.look(&hash, now, &database.terms) {
            Local::Found(holder) => Some(holder),
            Local::Nobody => None,
            Local::Unknown => return Err(Denied::Ask(Question::ApiKey(hash))),
        },
    };
    let Some(holder) = holder.filter(|holder| holder.is_good(now)) else {
        return Err(keys.unknown().into());
    };
    let identity = holder.identity(providers).ok_or_else(challenge::unavailable)?;
    Ok(Some(identity))
}
