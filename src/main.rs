use std::process::ExitCode;

use mimalloc::MiMalloc;
use pvz::cli;

/// Takes less CPU time than glibc's allocator. Huge pages are off, because they
/// double the memory and do not speed it up (benches/README.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => ExitCode::from(cli::run(command)),
        Err(early) => ExitCode::from(early.print()),
    }
}
