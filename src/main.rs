use std::process::ExitCode;

use mimalloc::MiMalloc;
use pvz::cli;

/// glibc's was a sixth of the server's CPU time under load. Without huge pages,
/// which double its memory and make nothing faster (benches/README.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => ExitCode::from(cli::run(command)),
        Err(early) => ExitCode::from(early.print()),
    }
}
