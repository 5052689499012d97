use std::process::ExitCode;

use mimalloc::MiMalloc;
use pvz::cli;

/// glibc's was a sixth of the server's CPU time under load. Without huge pages,
/// which double its memory and make nothing faster (benches/README.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(early) => return ExitCode::from(early.print()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("error: the asynchronous runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(cli::run(command));
    // A thread that waits for standard input cannot be asked to stop.
    runtime.shutdown_background();
    ExitCode::from(exit)
}
