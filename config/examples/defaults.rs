//! Prints every key and its default as TOML: `cargo run --release -p tol-config --example defaults`.
//!
//! `scripts/build` builds it beside `tol`, and says why.

fn main() -> Result<(), toml::ser::Error> {
    print!("{}", toml::to_string(&tol_config::Config::default())?);
    Ok(())
}
