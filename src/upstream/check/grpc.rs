//! The messages of the gRPC health checking protocol (`grpc.health.v1.Health/Check`), written
//! and read by hand: one string goes out, one number comes back.

use bytes::{BufMut, Bytes, BytesMut};

/// The method.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;

/// The longest answer that is read.
pub(super) const ANSWER_MAX: usize = 4096;

/// A length-prefixed `HealthCheckRequest`; field 1 is the name of the service, left out for the
/// server as a whole.
pub(super) fn request(service: Option<&str>) -> Bytes {
    let name = service.unwrap_or("").as_bytes();
    let mut message = BytesMut::with_capacity(name.len() + 8);
    if !name.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut length = name.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or(0));
        message.put_slice(name);
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
    frame.put(message);
    frame.freeze()
}

/// Whether a length-prefixed `HealthCheckResponse` says that the service serves. Its one field is
/// number 1, a status; an answer without it says `UNKNOWN`.
pub(super) fn serves(answer: &[u8]) -> bool {
    matches!(answer, [0, 0, 0, 0, 2, 0x08, SERVING])
}

#[cfg(test)]
mod tests {
    use super::{request, serves};

    #[test]
    fn the_server_as_a_whole_is_an_empty_message() {
        assert_eq!(&*request(None), [0, 0, 0, 0, 0]);
        assert_eq!(&*request(Some("a.B")), [0, 0, 0, 0, 5, 10, 3, b'a', b'.', b'B']);
    }

    #[test]
    fn long_names_have_a_length_of_two_bytes() {
        let frame = request(Some(&"x".repeat(300)));
        assert_eq!(&frame[..8], [0, 0, 0, 1, 47, 10, 0xac, 2]);
        assert_eq!(frame.len(), 5 + 303);
    }

    #[test]
    fn only_serving_serves() {
        assert!(serves(&[0, 0, 0, 0, 2, 8, 1]));
        for answer in [&[0, 0, 0, 0, 2, 8, 2][..], &[0, 0, 0, 0, 0], &[], &[0, 0, 0, 0, 2, 8]] {
            assert!(!serves(answer), "{answer:?}");
        }
    }
}
