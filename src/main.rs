//! `tol`.

/// glibc's allocator takes a fifth of the processor under load and keeps what RocksDB gave back. The name without a prefix serves RocksDB and librdkafka too.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    tree_of_life::cli::main()
}
