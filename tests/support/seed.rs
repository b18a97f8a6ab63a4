//! What a test draws from.

/// What a test draws from: another one each time, which is printed where a test fails. `LOCKKEEPER_TEST_SEED` draws the
/// same again.
pub fn seed() -> u64 {
    let asked_for = std::env::var("LOCKKEEPER_TEST_SEED").ok();
    let seed = asked_for.map_or_else(rand::random, |text| {
        text.parse().expect("LOCKKEEPER_TEST_SEED: a number")
    });
    eprintln!("LOCKKEEPER_TEST_SEED={seed}");
    seed
}
