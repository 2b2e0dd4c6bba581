//! How long answers may go on that are meant to.

use std::time::Duration;

use crate::model::{self, Problem, Problems};

/// Limits of an exchange once the header of its answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// Longest silence of the service.
    pub idle: Duration,
    /// Longest duration of the whole exchange, from its beginning.
    pub total: Duration,
}

impl Lasting {
    /// Compiles `stream` of a route's policies; problems carry `path` (`….policies.stream`).
    pub fn compile(model: &model::Stream, path: &str, problems: &mut Problems) -> Self {
        let limits = Self { idle: model.idle_timeout.get(), total: model.max_duration.get() };
        for (key, limit) in [("idleTimeout", limits.idle), ("maxDuration", limits.total)] {
            if limit.is_zero() {
                let what = format!("a stream with `{key}: 0` would end at once");
                problems.push(Problem::error("stream.range", format!("{path}.{key}"), what));
            }
        }
        limits
    }
}

impl Default for Lasting {
    /// What holds where `stream` is not given: an upgraded connection without limits would
    /// stay as long as its ends like.
    fn default() -> Self {
        let model = model::Stream::default();
        Self { idle: model.idle_timeout.get(), total: model.max_duration.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    #[test]
    fn a_limit_of_nothing_is_refused() {
        let mut problems = Problems::default();
        let model = model::Stream { idle_timeout: Span::from_secs(0), ..model::Stream::default() };
        Lasting::compile(&model, "p.stream", &mut problems);
        assert_eq!(problems.0.len(), 1);
        assert_eq!(problems.0[0].path, "p.stream.idleTimeout");
        Lasting::compile(&model::Stream::default(), "p.stream", &mut problems);
        assert_eq!(problems.0.len(), 1);
    }
}
