//! The node's token on disk: `<data-dir>/node-token`, readable by the agent alone.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use systole_shared::Token;

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
    make_data_dir(data_dir)?;
    let whole: PathBuf = data_dir.join(FILE);
    let part = data_dir.join(format!("{FILE}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(token.reveal().as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, &whole)?;
    fs::File::open(data_dir)?.sync_all()
}

/// Makes the data directory, for the agent alone.
pub(crate) fn make_data_dir(data_dir: &Path) -> io::Result<()> {
    if data_dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)
}

#[cfg(test)]
mod tests {
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
