//! The `strongroom` binary: a supervisor, a keeper, a gate or a command, chosen from its arguments.

/// Whatever is freed is wiped: the buffers of libraries through which tokens, keys and plaintext pass are not ours to
/// wipe, and a core image or a hole that reads memory finds in them only what is in use.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    strongroom_cli::main()
}
