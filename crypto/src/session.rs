//! A session: the Double Ratchet between two devices, begun by a handshake.
//!
//! A message is the version, whether a handshake stands in it, the handshake behind its length
//! if so, and the ratchet's own message. The ratchet keeps at most 40 keys of skipped messages
//! per chain and five chains, and refuses a message more than 2,000 ahead in its chain.

use subtle::ConstantTimeEq;
use vodozemac::olm::{
    DecryptionError, Message, OlmMessage, Session as Ratchet, SessionConfig, SessionPickle,
};

use crate::handshake::{self, Header, Randomness};
use crate::keys::{DeviceKeys, KEY_BYTES};
use crate::prekeys::{Bundle, KemPrekey, Prekey};
use crate::wire::{self, Reader, State, Writer};
use crate::{Error, Result};

/// Bytes of a session's id.
pub const SESSION_ID_BYTES: usize = 32;

/// What a message tells of the handshake in it, before anything of it is verified.
pub struct Handshake {
    /// The session that it begins, or belongs to.
    pub session_id: [u8; SESSION_ID_BYTES],
    /// Which keys it names.
    pub header: Header,
}

/// The handshake in a message; None once the responder has answered.
///
/// Next, look for a session of this id: it decrypts the message. If there is none, find the named
/// secrets and call [`Session::inbound`]. Fails with `Malformed` or `TooNew`.
pub fn handshake_of(message: &[u8]) -> Result<Option<Handshake>> {
    let parts = Parts::of(message)?;
    let Some(header) = parts.header else { return Ok(None) };
    Ok(Some(Handshake { session_id: handshake::session_id(header), header: Header::decode(header)? }))
}

/// One side of a session.
pub struct Session {
    ratchet: Ratchet,
    id: [u8; SESSION_ID_BYTES],
    peer_signing: [u8; KEY_BYTES],
    peer_agreement: [u8; KEY_BYTES],
    /// The encoded handshake, while the peer has not answered.
    header: Option<Vec<u8>>,
}

impl Session {
    /// Begins a session with the device that published `bundle`. Whether that device is its
    /// user's, only the caller can know; `context` binds what the caller takes it for.
    ///
    /// Fails with `BadSignature` or `BadKey` if the bundle is not good.
    pub fn outbound(device: &DeviceKeys, bundle: &Bundle, context: &[u8]) -> Result<Self> {
        Self::outbound_with(device, bundle, context, &Randomness::fresh()?)
    }

    /// [`Session::outbound`] with given secrets: for test vectors, which need the same each time.
    pub fn outbound_with(
        device: &DeviceKeys,
        bundle: &Bundle,
        context: &[u8],
        random: &Randomness,
    ) -> Result<Self> {
        let (header, ratchet) = handshake::initiate(device, bundle, context, random)?;
        let header = header.encode();
        Ok(Self {
            ratchet,
            id: handshake::session_id(&header),
            peer_signing: bundle.signing,
            peer_agreement: bundle.agreement,
            header: Some(header),
        })
    }

    /// Answers the handshake in `message` with the secrets that it names, and decrypts it.
    ///
    /// Next, delete the one-time prekey together with saving the session. Fails with
    /// `Undecryptable` if a secret or the context is another than the initiator's, with
    /// `BadSignature` or `BadKey` if the initiator's keys are not good, with `Malformed` or `TooNew`.
    pub fn inbound(
        device: &DeviceKeys,
        message: &[u8],
        prekey: &Prekey,
        kem: &KemPrekey,
        one_time: Option<&Prekey>,
        context: &[u8],
    ) -> Result<(Self, Vec<u8>)> {
        let parts = Parts::of(message)?;
        let encoded = parts.header.ok_or(Error::Malformed("no handshake in the message"))?;
        let header = Header::decode(encoded)?;
        let mut ratchet = handshake::respond(device, &header, prekey, kem, one_time, context)?;
        let plaintext = ratchet.decrypt(&parts.message()?).map_err(refusal)?;
        let session = Self {
            ratchet,
            id: handshake::session_id(encoded),
            peer_signing: header.signing,
            peer_agreement: header.agreement,
            header: None,
        };
        Ok((session, plaintext))
    }

    /// Encrypts for the peer. Next, save the session before the message leaves: a key that is
    /// used twice tells the difference of two plaintexts.
    pub fn encrypt(&mut self, plaintext: &[u8]) -> Result<Vec<u8>> {
        let message = match self.ratchet.encrypt(plaintext).map_err(|_| Error::BadKey("the peer's key"))? {
            OlmMessage::Normal(message) => message.to_bytes(),
            OlmMessage::PreKey(message) => message.message().to_bytes(),
        };
        Ok(match &self.header {
            None => Writer::versioned(message.len() + 1).u8(BARE).raw(&message).done(),
            Some(header) => Writer::versioned(message.len() + header.len() + 5)
                .u8(WITH_HANDSHAKE)
                .sized(header)
                .raw(&message)
                .done(),
        })
    }

    /// Decrypts a message of the peer. Next, save the session together with the plaintext.
    ///
    /// Fails with `Undecryptable` for a message that was read before, is too far ahead, or whose
    /// key is no longer kept, and with `Malformed`, `TooNew` or `BadKey`. The session is then
    /// what it was before.
    pub fn decrypt(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let parts = Parts::of(message)?;
        if parts.header.is_some_and(|header| handshake::session_id(header) != self.id) {
            return Err(Error::Undecryptable("a message of another session"));
        }
        let message = parts.message()?;
        // vodozemac may step its ratchet before it finds that a message is no good.
        let before = self.ratchet.pickle();
        match self.ratchet.decrypt(&message) {
            Ok(plaintext) => {
                self.header = None;
                Ok(plaintext)
            }
            Err(error) => {
                self.ratchet = Ratchet::from_pickle(before);
                Err(refusal(error))
            }
        }
    }

    /// All there is to know of it. Secret.
    pub fn save(&self) -> Result<Vec<u8>> {
        let ratchet = wire::pack(&self.ratchet.pickle())?;
        let header = self.header.as_deref().unwrap_or_default();
        Ok(Writer::state(State::Session, 3 * 32 + 8 + header.len() + ratchet.len())
            .raw(&self.id)
            .raw(&self.peer_signing)
            .raw(&self.peer_agreement)
            .sized(header)
            .sized(&ratchet)
            .done())
    }

    /// The session that `save` wrote.
    pub fn load(state: &[u8]) -> Result<Self> {
        let mut reader = Reader::state(State::Session, state)?;
        let (id, peer_signing, peer_agreement) = (reader.array()?, reader.array()?, reader.array()?);
        let header = Some(reader.sized()?.to_vec()).filter(|header| !header.is_empty());
        let ratchet = Ratchet::from_pickle(wire::unpack::<SessionPickle>(reader.sized()?)?);
        reader.end()?;
        if ratchet.session_config() != SessionConfig::version_2() {
            return Err(Error::Malformed("a ratchet with short MACs"));
        }
        // The handshake is there as long as it has to be repeated, and is this session's.
        let fits = header.as_deref().map_or(ratchet.has_received_message(), |header| {
            !ratchet.has_received_message() && handshake::session_id(header) == id
        });
        if !fits {
            return Err(Error::Malformed("a handshake that does not fit its session"));
        }
        Ok(Self { ratchet, id, peer_signing, peer_agreement, header })
    }

    /// The session's id, the same on both sides.
    pub fn id(&self) -> [u8; SESSION_ID_BYTES] {
        self.id
    }

    /// The peer's public signing key.
    pub fn peer_signing(&self) -> [u8; KEY_BYTES] {
        self.peer_signing
    }

    /// The peer's public agreement key.
    pub fn peer_agreement(&self) -> [u8; KEY_BYTES] {
        self.peer_agreement
    }

    /// Whether the peer is known to have the session, too.
    pub fn is_answered(&self) -> bool {
        self.ratchet.has_received_message()
    }
}

const BARE: u8 = 0;
const WITH_HANDSHAKE: u8 = 1;

/// A message, taken apart.
struct Parts<'a> {
    header: Option<&'a [u8]>,
    message: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::versioned(message)?;
        let header = match reader.u8()? {
            BARE => None,
            WITH_HANDSHAKE => Some(reader.sized()?),
            _ => return Err(Error::Malformed("neither a first message nor a later one")),
        };
        Ok(Self { header, message: reader.rest() })
    }

    /// The ratchet's message. Its encoding has room for more than one way to write the same, all
    /// of which its MAC would pass: only ours is taken.
    fn message(&self) -> Result<OlmMessage> {
        let message = Message::from_bytes(self.message).map_err(|_| Error::Malformed("not a message"))?;
        let canonical: bool = message.to_bytes().ct_eq(self.message).into();
        if canonical {
            Ok(OlmMessage::Normal(message))
        } else {
            Err(Error::Malformed("a message written in another way"))
        }
    }
}

fn refusal(error: DecryptionError) -> Error {
    match error {
        DecryptionError::NonContributoryKey => Error::BadKey("an X25519 key of small order"),
        DecryptionError::MissingMessageKey(_) => {
            Error::Undecryptable("read before, or its key is no longer kept")
        }
        DecryptionError::TooBigMessageGap(..) => Error::Undecryptable("too far ahead in its chain"),
        _ => Error::Undecryptable("the key does not fit, or the message was changed"),
    }
}
