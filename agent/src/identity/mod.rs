//! Who this node is: its name, its machine, its labels, its token.

pub(crate) mod labels;
pub(crate) mod machine;
pub(crate) mod name;
pub(crate) mod node_file;
pub(crate) mod node_token;
pub(crate) mod vector;
