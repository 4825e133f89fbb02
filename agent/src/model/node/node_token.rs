//! The node's token on disk: `<data-dir>/node-token`, readable by the agent alone.

use std::path::Path;
use std::{fs, io};

use systole_shared::Token;

use crate::files;

const FILE: &str = "node-token";

/// Whether there is one.
pub(crate) fn exists(data_dir: &Path) -> bool {
    read(data_dir).is_some()
}

/// The token, if there is one.
pub(crate) fn read(data_dir: &Path) -> Option<Token> {
    let text = fs::read_to_string(data_dir.join(FILE)).ok()?;
    Some(Token::new(&text)).filter(|token| !token.is_empty())
}

/// Keeps the token. A crash in the middle leaves the old one or the new one, never half of one.
pub(crate) fn write(data_dir: &Path, token: &Token) -> io::Result<()> {
    files::make_dir(data_dir)?;
    files::replace(&data_dir.join(FILE), token.reveal().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_kept_for_the_agent_alone_and_can_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("deep/data");
        assert!(!exists(&data_dir));
        write(&data_dir, &Token::new("first")).unwrap();
        write(&data_dir, &Token::new("second")).unwrap();
        assert_eq!(read(&data_dir).unwrap().reveal(), "second");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data_dir), mode(&data_dir.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn an_empty_file_is_no_token() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), " \n").unwrap();
        assert!(!exists(dir.path()));
    }
}
