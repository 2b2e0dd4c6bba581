//! Strict HTTP, on the wire: what can be read in two ways reaches nobody.
//!
//! `requests.case` holds what clients send and `answers.case` what services say, one case after
//! the other; `table.rs` says how they are written. One gateway and one origin serve a whole
//! table, so that it takes seconds. Each case is followed by a request of its own connection: what
//! came before must not have left anything behind.

mod answers;
mod requests;
mod table;

use tidegate_kit::{Gateway, Result, Setup, WireOrigin};

/// The gateway that is tested, in front of one origin.
async fn start() -> Result<(WireOrigin, Gateway)> {
    let origin = WireOrigin::start().await?;
    let config = format!(
        "services:\n  api: {{endpoints: [{{address: \"{}\"}}]}}\nroutes:\n  - name: all\n    \
         match: {{pathPrefix: /}}\n    upstream: {{service: api}}\n    policies: {{auth: none}}\n",
        origin.address()
    );
    let gateway = Setup::new(env!("CARGO_BIN_EXE_tidegate"), config).start().await?;
    Ok((origin, gateway))
}
