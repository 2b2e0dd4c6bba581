//! What stands between braces in a table.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the names mean in one case.
pub(crate) struct Values {
    /// When the case began.
    began: SystemTime,
    /// Its own path.
    pub(crate) path: String,
    /// The host that it asks, unless it says otherwise.
    pub(crate) host: String,
}

impl Values {
    #[expect(clippy::disallowed_methods, reason = "dates of answers; this is no data path")]
    pub(crate) fn new(path: String, host: String) -> Self {
        Self { began: SystemTime::now(), path, host }
    }

    /// The text with everything between braces replaced; what means nothing stays.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled += before;
            let known = after.split_once('}').and_then(|(name, behind)| {
                let value = self.value(name)?;
                Some((value, behind))
            });
            if let Some((value, behind)) = known {
                filled += &value;
                rest = behind;
            } else {
                filled.push('{');
                rest = after;
            }
        }
        filled + rest
    }

    fn value(&self, name: &str) -> Option<String> {
        if let Some((text, count)) = name.rsplit_once('*') {
            return Some(text.repeat(count.parse().ok()?));
        }
        match name {
            "path" => Some(self.path.clone()),
            "here" => Some(format!("http://{}{}", self.host, self.path)),
            _ => {
                let offset = name.strip_prefix("now")?;
                let seconds = if offset.is_empty() { 0 } else { offset.parse::<i64>().ok()? };
                Some(self.date(seconds))
            }
        }
    }

    /// The date so many seconds after the case began.
    fn date(&self, seconds: i64) -> String {
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = began.as_secs().saturating_add_signed(seconds);
        http_date(at)
    }
}

/// The date now.
#[expect(clippy::disallowed_methods, reason = "dates of answers; this is no data path")]
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    http_date(since.as_secs())
}

fn http_date(seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}
