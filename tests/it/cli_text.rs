//! The command line without a server: help, wrong usage.

#[test]
fn help_and_errors_match_the_snapshots() {
    let cases = trycmd::TestCases::new();
    cases.register_bin("pvz", trycmd::schema::Bin::Path(env!("CARGO_BIN_EXE_pvz").into()));
    for name in ["PVZ_SERVER", "PVZ_ACTOR", "PVZ_TIMEOUT", "PVZ_OUTPUT"] {
        cases.env(name, "");
    }
    cases.case("tests/cmd/*.trycmd");
}
