//! The `strongroom` binary: a supervisor, a keeper, a gate or a command, chosen from its arguments.

fn main() -> std::process::ExitCode {
    strongroom_cli::main()
}
