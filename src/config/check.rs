use super::{Config, problem::Problem};
impl Config {
    /// What contradicts itself.
    pub fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
}
