//! Division of records into produce requests.
//!
//! The client library does not switch off Nagle's algorithm, so a request of
//! 8 KiB to 64 KiB waits 44 ms for the broker's delayed acknowledgement of its
//! first part. Requests are smaller or larger than that.

/// The sizes of requests that would wait, in bytes, with a margin because sizes are
/// estimates.
const DELAYED: std::ops::Range<usize> = 7_800..68_000;
/// The maximum size of a request, in bytes, below the broker's default
/// `max.message.bytes` of 1,048,588.
const MAX_REQUEST: usize = 900_000;
/// The bytes of a request besides its records.
const REQUEST_OVERHEAD: usize = 250;

/// Divides records of the given sizes, in bytes, into requests. Returns the number
/// of records of each request, in order.
pub(super) fn split(sizes: &[usize]) -> Vec<usize> {
    let mut requests = Vec::new();
    let mut rest = sizes;
    let mut total: usize = rest.iter().sum::<usize>() + REQUEST_OVERHEAD;
    while !rest.is_empty() {
        let limit = if total < DELAYED.end { DELAYED.start } else { MAX_REQUEST };
        let mut taken = 0;
        let mut bytes = REQUEST_OVERHEAD;
        for size in rest {
            if taken > 0 && bytes + size > limit {
                break;
            }
            taken += 1;
            bytes += size;
        }
        requests.push(taken);
        rest = &rest[taken..];
        total -= bytes - REQUEST_OVERHEAD;
    }
    requests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{DELAYED, MAX_REQUEST, REQUEST_OVERHEAD, split};

    proptest! {
        #[test]
        fn every_record_is_in_one_request_and_no_request_is_delayed(
            sizes in prop::collection::vec(prop_oneof![400_usize..1_600, 1_usize..7_000], 0..2_000),
        ) {
            let requests = split(&sizes);
            prop_assert_eq!(requests.iter().sum::<usize>(), sizes.len());
            let mut rest = &sizes[..];
            for taken in requests {
                let (request, later) = rest.split_at(taken);
                let bytes = request.iter().sum::<usize>() + REQUEST_OVERHEAD;
                prop_assert!(taken > 0 && bytes <= MAX_REQUEST && !DELAYED.contains(&(bytes - 1)), "{bytes}");
                rest = later;
            }
        }
    }

    #[test]
    fn record_larger_than_the_limit_has_a_request_of_its_own() {
        assert_eq!(split(&[10, 20_000, 10]), [1, 1, 1]);
        assert_eq!(split(&[2_000_000, 2_000_000]), [1, 1]);
        assert_eq!(split(&[]), [0; 0]);
    }
}
