//! The end-to-end encryption of Tidings: one implementation for the Python and the web client.
//!
//! Two devices agree on a secret by PQXDH (`handshake`) and talk through a Double Ratchet
//! (`session`); groups use sender keys (`sender_key`); a message's content is sealed once and
//! its key travels (`content`); people compare safety numbers (`safety`).
//!
//! It knows no files, clocks, users or servers: who is who, what to keep and what to send are
//! the caller's. Primitives and ratchets are libraries'; ours are the handshake, the encodings
//! and the bindings. Whatever bytes come in, what goes out is a value or an [`Error`].

#![forbid(unsafe_code)]

pub mod content;
pub mod error;
pub mod handshake;
pub mod keys;
pub mod prekeys;
pub mod safety;
pub mod sender_key;
pub mod session;

mod random;
mod wire;

#[cfg(feature = "py")]
mod py;
#[cfg(feature = "wasm")]
mod wasm;

pub use error::{Error, Result};
