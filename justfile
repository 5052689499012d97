# `just` lists the recipes, `just <recipe>` runs one.

[private]
default:
    @just --list

# Everything that must hold before a change lands.
all: lint test build

# The program, in target/release.
build:
    cargo build --release --locked

# The service, with its data in the platform's data directory.
run *flags:
    cargo run --release --locked -- serve {{ flags }}

# Fetches the dependencies that the lock file names.
deps:
    cargo fetch --locked

# What is made from the sources: the configuration template, help texts, snapshots.
generate:
    cargo run --release --locked -- config template > config/default.toml
    TRYCMD=overwrite INSTA_UPDATE=always cargo test --release --locked --test it -- cli_text openapi errors

# Every test; `just test it day::` only some.
test *which:
    tests/run {{ which }}

# Format and lints, as CI has them.
lint:
    cargo fmt --check
    cargo clippy --release --locked --all-targets -- -D warnings

# The shipped program, in target/dist.
dist:
    cargo build --profile dist --locked

# How fast the service is, on a PostgreSQL started for it and on SQLite.
bench: dist
    benches/run

# What REST costs beside gRPC; needs valgrind and wrk.
bench-rest:
    cargo bench --locked --bench rest

# Formats the sources.
fmt:
    cargo fmt

# Checks the orders of the default store against their events.
verify:
    cargo run --release --locked -- verify
