//! HTTP caching as RFC 9111 has it, and nothing else: pure, without a store, a route or a clock.

pub(super) mod control;
pub(super) mod freshness;
pub(super) mod merge;
pub(super) mod reuse;
pub(super) mod storable;
pub(super) mod targeted;
pub(super) mod vary;
