//! What is lost on the way, and what that means for the result.

mod estimate;

pub(crate) use estimate::{Histories, Losses};
