//! The mapping of reasons to gRPC codes, HTTP statuses and exit codes.

use std::fmt::Write as _;

use pvz::adapters::status::{reason_of, status_codes};
use pvz::domain::Reason;

#[test]
fn the_table_of_errors() {
    let mut table = format!(
        "{:24} {:20} {:>4} {:>4}  {}\n",
        "reason", "gRPC code", "HTTP", "exit", "kept under a request_id"
    );
    for reason in Reason::ALL {
        let codes = status_codes(*reason);
        let (code, http) = (format!("{:?}", codes.grpc), codes.http.as_u16());
        let kept = if reason.is_stored() { "yes" } else { "no" };
        let _ = writeln!(table, "{:24} {code:20} {http:>4} {:>4}  {kept}", reason.name(), codes.exit);
    }
    insta::assert_snapshot!(table);
}

#[test]
fn refusals_have_their_own_exit_codes() {
    for reason in Reason::ALL {
        assert!((1..=6).contains(&status_codes(*reason).exit), "{reason:?}");
        assert!(status_codes(*reason).http.as_u16() >= 400, "{reason:?}");
    }
}

#[test]
fn a_status_without_details_maps_to_a_reason_of_its_code_or_to_internal() {
    for reason in Reason::ALL {
        let code = status_codes(*reason).grpc;
        let mapped = reason_of(code);
        assert!(
            status_codes(mapped).grpc == code || mapped == Reason::Internal,
            "{code:?} maps to {mapped:?}"
        );
    }
}
