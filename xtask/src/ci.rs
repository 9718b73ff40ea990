use crate::error::{Result, failed};

pub fn main(_args: lexopt::Parser) -> Result {
    Err(failed("not yet"))
}
