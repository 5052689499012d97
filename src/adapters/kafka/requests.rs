//! How many records go into a request.
//!
//! The client does not switch Nagle's algorithm off, so a request that leaves
//! between 8 KiB and 64 KiB on the wire waits 44 ms for the broker's delayed
//! acknowledgement of its first part. Requests are cut to stay below, or well
//! above.

/// The window to keep out of, in bytes, with a margin for what is only
/// estimated.
const WINDOW: std::ops::Range<usize> = 7_800..68_000;
/// Below the broker's default `max.message.bytes` of 1,048,588.
const LARGEST: usize = 900_000;
/// What a request costs besides its records.
const REQUEST_OVERHEAD: usize = 250;

/// Cuts records of those sizes, in bytes on the wire, into requests: how many
/// records each has, in order.
pub(super) fn cut(sizes: &[usize]) -> Vec<usize> {
    let mut requests = Vec::new();
    let mut rest = sizes;
    let mut total: usize = rest.iter().sum::<usize>() + REQUEST_OVERHEAD;
    while !rest.is_empty() {
        let limit = if total < WINDOW.end { WINDOW.start } else { LARGEST };
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

    use super::{LARGEST, REQUEST_OVERHEAD, WINDOW, cut};

    proptest! {
        #[test]
        fn every_record_goes_once_and_no_request_waits(
            sizes in prop::collection::vec(prop_oneof![400_usize..1_600, 1_usize..7_000], 0..2_000),
        ) {
            let requests = cut(&sizes);
            prop_assert_eq!(requests.iter().sum::<usize>(), sizes.len());
            let mut rest = &sizes[..];
            for taken in requests {
                let (request, later) = rest.split_at(taken);
                let bytes = request.iter().sum::<usize>() + REQUEST_OVERHEAD;
                prop_assert!(taken > 0 && bytes <= LARGEST && !WINDOW.contains(&(bytes - 1)), "{bytes}");
                rest = later;
            }
        }
    }

    #[test]
    fn a_record_that_no_request_suits_goes_alone() {
        assert_eq!(cut(&[10, 20_000, 10]), [1, 1, 1]);
        assert_eq!(cut(&[2_000_000, 2_000_000]), [1, 1]);
        assert_eq!(cut(&[]), [0; 0]);
    }
}
