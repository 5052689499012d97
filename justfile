# `just` lists the recipes, `just <recipe>` runs one.

[private]
default:
    @just --list

# Runs all checks of CI.
all:
    .ci/run

# Builds the program quickly, in target/release.
build:
    cargo build --release --locked

# Builds the program for shipping, in target/dist.
dist:
    cargo build --profile dist --locked

# Runs the service with its data in the platform's data directory.
run *flags:
    cargo run --release --locked -- serve {{ flags }}

# Fetches the dependencies of the lock file.
deps:
    cargo fetch --locked

# Writes the generated files: configuration template, help texts, snapshots.
generate:
    cargo run --release --locked -- config template > config/default.toml
    TRYCMD=overwrite INSTA_UPDATE=always cargo test --release --locked --test it -- cli_text openapi errors

# Runs the tests, or some of them: `just test it day::`.
test *which:
    tests/run {{ which }}

# Runs the tests that CI runs in a small size: 20 failovers, 10 s beside each attack.
soak:
    PVZ_TEST_FAILOVER_ROUNDS=20 PVZ_TEST_ATTACK_SECONDS=10 \
        cargo test --release --locked --test it -- --nocapture failover beside_attacks

# Checks format, lints, documentation and dependencies.
lint:
    .ci/lint

# Formats the sources.
fmt:
    cargo fmt

# Opens the documentation of the code.
doc:
    cargo doc --release --locked --no-deps --document-private-items --open

# Measures the service on a temporary PostgreSQL server and on SQLite.
bench: dist
    benches/run

# Measures the cost of REST relative to gRPC; needs valgrind and wrk.
bench-rest:
    cargo bench --locked --bench rest

# Compares the orders of the default store with their events.
verify:
    cargo run --release --locked -- verify
