//! The program `lockkeeper`; all of it is in the library.

fn main() -> std::process::ExitCode {
    lockkeeper::cli::main()
}
