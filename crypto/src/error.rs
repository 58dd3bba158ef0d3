//! What can go wrong, by what the caller does about it. The names are the same in every language.

use std::fmt;

/// What every fallible function here returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something was refused. The text is for logs: it tells no secret and may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes are not what they should be; the same bytes never will be.
    Malformed(&'static str),
    /// A newer version of this library wrote the bytes: an update helps.
    TooNew,
    /// A signature was not made by the key that it should have been made by.
    BadSignature,
    /// A key that would give an attacker the secret, or that is none at all.
    BadKey(&'static str),
    /// Well formed, but not to be opened with what is at hand.
    Undecryptable(&'static str),
    /// The system gave no random bytes: nothing can be done safely.
    NoRandomness,
}

impl Error {
    /// The name of the class (Python) or of the `Error` (JavaScript) that stands for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Malformed",
            Self::TooNew => "TooNew",
            Self::BadSignature => "BadSignature",
            Self::BadKey(_) => "BadKey",
            Self::Undecryptable(_) => "Undecryptable",
            Self::NoRandomness => "CryptoError",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(why) | Self::BadKey(why) | Self::Undecryptable(why) => why,
            Self::TooNew => "written by a newer version of Tidings",
            Self::BadSignature => "the signature does not fit the key and the message",
            Self::NoRandomness => "the system gave no random bytes",
        })
    }
}

impl std::error::Error for Error {}
