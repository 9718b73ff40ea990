//! Shared file: the same text in every example that carries it; `cargo xtask ci` compares them.
//!
//! What the compiler refuses: each file in `tests/refused` begins with the error that it has to
//! cause, as in `// error[E0382]: why`. A file that compiles, or fails otherwise, fails the test.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn each_of_these_is_refused_by_the_compiler_for_its_reason() -> Result<(), Box<dyn Error>> {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    // A type too long for a message is written to a file beside the output.
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_PKG_NAME"));
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refused"))? {
        let path = entry?.path();
        let source = fs::read_to_string(&path)?;
        let reason = source
            .strip_prefix("// error[")
            .and_then(|rest| rest.split_once(']'));
        let (code, _) = reason.ok_or_else(|| format!("{}: which error?", path.display()))?;
        let refused = Command::new(&compiler)
            .args(["--edition=2024", "--crate-type=lib", "--emit=metadata"])
            .args([Path::new("-o"), &output, &path])
            .output()?;
        let message = String::from_utf8(refused.stderr)?;
        let expected = format!("error[{code}]");
        assert!(!refused.status.success(), "{} compiles", path.display());
        assert!(
            message.contains(&expected),
            "{}: not {expected} but\n{message}",
            path.display()
        );
        // Exactly this error, not a misspelt name beside it.
        let errors = message.matches("\nerror").count() + usize::from(message.starts_with("error"));
        assert_eq!(
            errors,
            2,
            "{}: one error and the closing line, but\n{message}",
            path.display()
        );
        seen += 1;
    }
    assert!(seen > 0, "there is nothing in tests/refused");
    Ok(())
}
