//! Pingora's errors in the words of the fault table.

use pingora::{Error, ErrorSource, ErrorType};

use crate::fault::Fault;

/// The fault that an error of Pingora's amounts to: first by who failed, then by how.
pub(super) fn reject(error: &Error) -> Fault {
    match error.esource() {
        ErrorSource::Downstream => downstream(error.etype()),
        ErrorSource::Upstream => upstream(error.etype()),
        ErrorSource::Internal | ErrorSource::Unset => internal(error.etype()),
    }
}

const fn downstream(kind: &ErrorType) -> Fault {
    match kind {
        ErrorType::ReadTimedout => Fault::RequestTimeout,
        ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::ConnectionClosed
        | ErrorType::H2Error => Fault::ClientGone,
        _ => Fault::MalformedRequest,
    }
}

const fn upstream(kind: &ErrorType) -> Fault {
    match kind {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Fault::ConnectTimeout,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Fault::ResponseTimeout,
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed => {
            Fault::ConnectionLost
        }
        ErrorType::InvalidHTTPHeader
        | ErrorType::H1Error
        | ErrorType::H2Error
        | ErrorType::InvalidH2
        | ErrorType::H2Downgrade => Fault::ResponseInvalid,
        kind if is_tls(kind) => Fault::UpstreamTlsFailed,
        kind if is_connect(kind) => Fault::ConnectFailed,
        _ => Fault::ConnectionLost,
    }
}

const fn internal(kind: &ErrorType) -> Fault {
    match kind {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Fault::ConnectTimeout,
        kind if is_tls(kind) => Fault::UpstreamTlsFailed,
        kind if is_connect(kind) => Fault::ConnectFailed,
        _ => Fault::Internal,
    }
}

/// Whether a connection could not be made.
const fn is_connect(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::ConnectProxyFailure
            | ErrorType::SocketError
            | ErrorType::BindError
            | ErrorType::HandshakeError
    )
}

/// Whether there was a connection, and no way to trust it. Pingora makes TLS with services only:
/// clients' handshakes are over before it sees the connection.
const fn is_tls(kind: &ErrorType) -> bool {
    matches!(kind, ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_that_failed_decides_first() {
        let cases = [
            (Error::new_down(ErrorType::ReadTimedout), Fault::RequestTimeout),
            (Error::new_up(ErrorType::ReadTimedout), Fault::ResponseTimeout),
            (Error::new_down(ErrorType::InvalidHTTPHeader), Fault::MalformedRequest),
            (Error::new_up(ErrorType::InvalidHTTPHeader), Fault::ResponseInvalid),
            (Error::new_up(ErrorType::ConnectRefused), Fault::ConnectFailed),
            (Error::new_up(ErrorType::ConnectTimedout), Fault::ConnectTimeout),
            (Error::new_up(ErrorType::TLSHandshakeFailure), Fault::UpstreamTlsFailed),
            (Error::new_in(ErrorType::InvalidCert), Fault::UpstreamTlsFailed),
            (Error::new_up(ErrorType::ConnectionClosed), Fault::ConnectionLost),
            (Error::new_down(ErrorType::WriteError), Fault::ClientGone),
            (Error::new_in(ErrorType::InternalError), Fault::Internal),
        ];
        for (error, fault) in cases {
            assert_eq!(reject(&error), fault, "{error}");
        }
    }
}
