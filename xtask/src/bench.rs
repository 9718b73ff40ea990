use crate::error::{Result, failed};
use crate::workspace::Example;

pub fn main(_args: lexopt::Parser) -> Result {
    Err(failed("not yet"))
}

pub fn saved_figures(_examples: &[Example]) -> Result<String> {
    Ok(String::new())
}
