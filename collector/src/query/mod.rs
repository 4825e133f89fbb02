//! Questions of readers, without HTTP: what a request names, within what its token may see.

pub(crate) mod resolve;
pub(crate) mod share;
