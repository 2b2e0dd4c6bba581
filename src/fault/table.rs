//! The fault table: every way in which the gateway refuses or fails, each in one row.

/// Declares the table once; the enum, its accessors and the documentation follow from it.
macro_rules! faults {
    ($(
        $(#[$doc:meta])*
        $variant:ident $status:literal $code:literal $title:literal $log:ident;
    )+) => {
        /// A row of the fault table. Codes are part of the public contract: they are added,
        /// never renamed, never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault { $($(#[$doc])* $variant,)+ }

        impl Fault {
            /// Every row, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The HTTP status sent with this fault.
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Self::$variant => $status,)+ } }

            /// The stable code, `subject.what`.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(Self::$variant => $code,)+ } }

            /// One sentence for people, without details of this occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// The beginning of a problem body, from `{` to the status: every character of it is
            /// known when the program is built.
            pub(super) const fn problem_head(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!(
                        "{\"type\":\"about:blank#", $code,
                        "\",\"title\":\"", $title, "\",\"status\":", $status,
                    ),)+
                }
            }

            /// The members of a problem body that follow the details.
            pub(super) const fn problem_middle(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!(
                        ",\"code\":\"", $code, "\",\"error\":\"", $title, "\",\"request_id\":",
                    ),)+
                }
            }

            /// Whether this is the gateway doing its job (a refused client), not a failure.
            #[must_use]
            pub const fn is_routine(self) -> bool {
                match self { $(Self::$variant => routine!($log),)+ }
            }
        }
    };
}

macro_rules! routine {
    (routine) => {
        true
    };
    (failure) => {
        false
    };
}

faults! {
    /// The request line, a header or the target cannot be accepted as HTTP.
    MalformedRequest 400 "request.malformed" "The request could not be read." routine;
    /// Host is missing, repeated or not a host name.
    HostInvalid 400 "request.host_invalid" "The Host header is missing or not valid." routine;
    /// The path holds an encoding that could be read in two ways.
    PathRefused 400 "request.path_refused" "The path holds an ambiguous encoding." routine;
    /// A header that the route requires is absent.
    HeaderMissing 400 "request.header_missing" "A required header is missing." routine;
    /// The body is longer than the route allows.
    BodyTooLarge 413 "request.body_too_large" "The request body is too large." routine;
    /// The target is longer than the gateway accepts.
    UriTooLong 414 "request.uri_too_long" "The request target is too long." routine;
    /// The content type is not one that the route allows.
    ContentTypeRefused 415 "request.content_type" "This content type is not accepted here." routine;
    /// The header block is larger, or has more fields, than the gateway accepts.
    HeadersTooLarge 431 "request.headers_too_large" "The request headers are too large." routine;
    /// The client took too long to send its request.
    RequestTimeout 408 "request.timeout" "The request was not received in time." routine;
    /// No route matches.
    RouteNotFound 404 "route.not_found" "No route matches this request." routine;
    /// Routes match the path, none the method.
    MethodNotAllowed 405 "route.method_not_allowed" "This method is not allowed here." routine;
    /// The route wants credentials and there are none.
    CredentialsMissing 401 "auth.credentials_missing" "Credentials are required." routine;
    /// The token is not a well-formed JWT, or too large.
    TokenMalformed 401 "auth.token_malformed" "The token could not be read." routine;
    /// Signature, algorithm, key or issuer is not one that is trusted here.
    TokenUntrusted 401 "auth.token_untrusted" "The token is not trusted here." routine;
    /// `exp` has passed.
    TokenExpired 401 "auth.token_expired" "The token has expired." routine;
    /// The token, or the caller behind any credentials, was revoked before its end.
    TokenRevoked 401 "auth.token_revoked" "The credentials were revoked." routine;
    /// `nbf` or `iat` lies in the future.
    TokenNotYetValid 401 "auth.token_not_yet_valid" "The token is not valid yet." routine;
    /// `aud` does not name this API.
    TokenAudience 401 "auth.token_audience" "The token was issued for another audience." routine;
    /// The route wants a client certificate and the connection has none.
    CertificateMissing 401 "auth.certificate_missing"
        "A client certificate is required." routine;
    /// The API key is unknown or disabled.
    ApiKeyUnknown 401 "auth.api_key_unknown" "The API key is not known here." routine;
    /// A signature on the request is not good: not by a party of ours, or not over this request.
    SignatureInvalid 401 "auth.signature_invalid" "The signature of the request is not valid."
        routine;
    /// The signature was created too long ago, in the future, or for a time that is over.
    SignatureExpired 401 "auth.signature_expired"
        "The signature of the request does not count now." routine;
    /// The nonce of the signature was used before.
    SignatureReplayed 401 "auth.signature_replayed"
        "The signature of the request was used before." routine;
    /// The body of a signed request is not the one that was signed.
    DigestMismatch 401 "auth.digest_mismatch" "The body is not the one that was signed." routine;
    /// A scope that the route requires is absent.
    ScopeInsufficient 403 "auth.scope_insufficient" "The token lacks a required scope." routine;
    /// A role that the route requires is absent.
    RoleInsufficient 403 "auth.role_insufficient" "The caller lacks a required role." routine;
    /// The caller may not use the product that the route belongs to.
    ProductRefused 403 "auth.product_refused" "The caller may not use this product." routine;
    /// The route does not serve clients of this network.
    AddressRefused 403 "auth.address_refused"
        "Requests from this address are not accepted here." routine;
    /// The tenant's status is not one that the route accepts.
    TenantRefused 403 "auth.tenant_refused" "The tenant may not use this API." routine;
    /// The database, or the issuer of an opaque token, cannot be asked about the caller.
    CallerUnavailable 503 "auth.unavailable" "Who the caller is cannot be found out at the moment."
        failure;
    /// No verification key can be had from the identity provider.
    KeysUnavailable 503 "auth.keys_unavailable"
        "Credentials cannot be verified at the moment." failure;
    /// The request lacks what a rate limit counts by, and nothing may stand for that.
    LimitKeyMissing 403 "limit.key_missing"
        "The request lacks what its rate limit counts by." routine;
    /// A rate limit has been used up.
    LimitExceeded 429 "limit.exceeded" "The rate limit has been used up." routine;
    /// Redis cannot be asked and the limit fails closed.
    LimiterUnavailable 503 "limit.unavailable"
        "The rate limit cannot be checked at the moment." failure;
    /// This node serves as many requests as it may, and nobody can wait any longer.
    OverloadShed 503 "overload.shed" "The gateway takes no more requests at the moment." routine;
    /// No endpoint of the service can take the request.
    NoEndpoint 503 "upstream.no_endpoint" "No healthy endpoint is available." failure;
    /// As many requests are under way as the service may have.
    Overloaded 503 "upstream.overloaded"
        "The service takes no more requests at the moment." routine;
    /// The service fails too many requests and is left alone for a while.
    CircuitOpen 503 "upstream.circuit_open" "The service is failing and is given a pause." routine;
    /// The endpoint refused the connection or could not be reached.
    ConnectFailed 502 "upstream.connect_failed" "The service could not be reached." failure;
    /// The endpoint has no certificate that is trusted, is not the one that was meant, or does
    /// not speak TLS.
    UpstreamTlsFailed 502 "upstream.tls_failed"
        "No secure connection to the service could be made." failure;
    /// The endpoint did not accept the connection in time.
    ConnectTimeout 504 "upstream.connect_timeout"
        "The service could not be reached in time." failure;
    /// The endpoint did not answer in time.
    ResponseTimeout 504 "upstream.response_timeout" "The service did not answer in time." failure;
    /// The endpoint's answer is not valid HTTP.
    ResponseInvalid 502 "upstream.response_invalid" "The service gave an invalid answer." failure;
    /// The endpoint closed the connection before its answer was complete.
    ConnectionLost 502 "upstream.connection_lost" "The connection to the service was lost." failure;
    /// The service of a stream was silent for longer than its route allows.
    StreamIdle 504 "upstream.stream_idle" "The service was silent for too long." failure;
    /// A stream or an upgraded connection went on for as long as its route allows.
    StreamTooLong 504 "upstream.stream_too_long" "The exchange went on for too long." routine;
    /// The client wants nothing but what is kept (`only-if-cached`), and nothing kept answers it.
    NotKept 504 "cache.not_kept" "No kept answer serves this request." routine;
    /// A redirect of the configuration would send the client to where it is.
    RedirectLoop 500 "route.redirect_loop" "This address leads to itself." failure;
    /// The gateway itself failed; any occurrence is a defect.
    Internal 500 "gateway.internal" "The gateway failed." failure;
    /// The client went away; nothing is sent, the code is for log and metrics only.
    ClientGone 499 "client.gone" "The client closed the connection." routine;
}
