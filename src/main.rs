//! `tol`.

fn main() -> std::process::ExitCode {
    tree_of_life::cli::main()
}
