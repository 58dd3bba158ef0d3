//! Sender keys for groups: one ciphertext for all members. Megolm, with MACs of full length.
//!
//! Whoever has a sender key from index n on reads every message from n on: a group's members
//! renew theirs when somebody leaves. A message read twice is not refused here, for history is
//! read again: the caller remembers the indexes that it has seen.

use vodozemac::megolm::{
    GroupSession, GroupSessionPickle, InboundGroupSession, InboundGroupSessionPickle, MegolmMessage,
    SessionConfig, SessionKey, SessionKeyDecodeError,
};
use zeroize::Zeroizing;

use crate::wire::{self, Reader, State, Writer};
use crate::{Error, Result};

/// Bytes of a shared sender key behind its version.
const SHARED_BYTES: usize = 229;

/// One's own sender key.
pub struct SenderKey(GroupSession);

impl SenderKey {
    /// A new one.
    pub fn generate() -> Self {
        Self(GroupSession::new(SessionConfig::version_2()))
    }

    /// What members need to read from the next message on. Secret: it goes through sessions.
    pub fn share(&self) -> Vec<u8> {
        let shared = Zeroizing::new(self.0.session_key().to_bytes());
        Writer::versioned(shared.len()).raw(&shared).done()
    }

    /// Encrypts for all members. Next, save the key before the message leaves.
    pub fn encrypt(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let message = self.0.encrypt(plaintext).to_bytes();
        Writer::versioned(message.len()).raw(&message).done()
    }

    /// How many messages it has encrypted; the index of the next one.
    pub fn index(&self) -> u32 {
        self.0.message_index()
    }

    /// All there is to know of it. Secret.
    pub fn save(&self) -> Result<Vec<u8>> {
        let state = wire::pack(&self.0.pickle())?;
        Ok(Writer::state(State::SenderKey, state.len()).raw(&state).done())
    }

    /// The one that `save` wrote.
    pub fn load(state: &[u8]) -> Result<Self> {
        let packed = Reader::state(State::SenderKey, state)?.rest();
        let key = GroupSession::from_pickle(wire::unpack::<GroupSessionPickle>(packed)?);
        if key.session_config() != SessionConfig::version_2() {
            return Err(Error::Malformed("a sender key with short MACs"));
        }
        Ok(Self(key))
    }
}

/// The sender key of somebody else.
pub struct ReceivedSenderKey(InboundGroupSession);

impl ReceivedSenderKey {
    /// From what [`SenderKey::share`] gave, if a session with the sender brought it.
    ///
    /// Fails with `BadSignature`, `BadKey`, `Malformed` or `TooNew`.
    pub fn new(shared: &[u8]) -> Result<Self> {
        let bytes = Reader::versioned(shared)?.rest();
        if bytes.len() != SHARED_BYTES {
            return Err(Error::Malformed("not of its length"));
        }
        let key = SessionKey::from_bytes(bytes).map_err(|error| match error {
            SessionKeyDecodeError::Signature(_) => Error::BadSignature,
            SessionKeyDecodeError::PublicKey(_) => Error::BadKey("not an Ed25519 key"),
            _ => Error::Malformed("not a sender key"),
        })?;
        Ok(Self(InboundGroupSession::new(&key, SessionConfig::version_2())))
    }

    /// The plaintext, and the message's index, which no two messages of a sender key share.
    ///
    /// Fails with `Undecryptable` for a message of another key, changed, or from before
    /// `first_index`, and with `Malformed` or `TooNew`.
    pub fn decrypt(&mut self, message: &[u8]) -> Result<(Vec<u8>, u32)> {
        let bytes = Reader::versioned(message)?.rest();
        let message = MegolmMessage::from_bytes(bytes).map_err(|_| Error::Malformed("not a message"))?;
        if message.to_bytes() != bytes {
            return Err(Error::Malformed("a message written in another way"));
        }
        let decrypted = self
            .0
            .decrypt(&message)
            .map_err(|_| Error::Undecryptable("from before the key, of another key, or changed"))?;
        Ok((decrypted.plaintext, decrypted.message_index))
    }

    /// The index of the first message that it can decrypt.
    pub fn first_index(&self) -> u32 {
        self.0.first_known_index()
    }

    /// All there is to know of it. Secret.
    pub fn save(&self) -> Result<Vec<u8>> {
        let state = wire::pack(&self.0.pickle())?;
        Ok(Writer::state(State::ReceivedSenderKey, state.len()).raw(&state).done())
    }

    /// The one that `save` wrote.
    pub fn load(state: &[u8]) -> Result<Self> {
        let packed = Reader::state(State::ReceivedSenderKey, state)?.rest();
        Ok(Self(InboundGroupSession::from_pickle(wire::unpack::<InboundGroupSessionPickle>(packed)?)))
    }
}
