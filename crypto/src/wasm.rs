//! The web module. Thin: the same as the Python one, in camelCase, with `bigint` for ids.
//!
//! What fails throws an `Error` whose `name` is that of the Python class. Several values come as
//! an object, for a wasm function returns one.

use wasm_bindgen::prelude::*;

use crate::safety::Person;
use crate::{Error, content, keys, prekeys, safety, sender_key, session};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What everything in this module throws, by its `name`. */
export interface CryptoError extends Error {
  readonly name: "Malformed" | "TooNew" | "BadSignature" | "BadKey" | "Undecryptable" | "CryptoError";
}

/** What one device has published, as a server that nobody trusts hands it out. */
export interface BundleFields {
  readonly signing: Uint8Array;
  readonly agreement: Uint8Array;
  readonly agreementSignature: Uint8Array;
  readonly prekeyId: bigint;
  readonly prekey: Uint8Array;
  readonly prekeySignature: Uint8Array;
  readonly kemId: bigint;
  readonly kem: Uint8Array;
  readonly kemSignature: Uint8Array;
  readonly oneTimeId?: bigint | null;
  readonly oneTime?: Uint8Array | null;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The interface above.
    #[wasm_bindgen(typescript_type = "BundleFields")]
    pub type BundleFields;

    #[wasm_bindgen(method, getter)]
    fn signing(this: &BundleFields) -> Vec<u8>;
    #[wasm_bindgen(method, getter)]
    fn agreement(this: &BundleFields) -> Vec<u8>;
    #[wasm_bindgen(method, getter, js_name = agreementSignature)]
    fn agreement_signature(this: &BundleFields) -> Vec<u8>;
    #[wasm_bindgen(method, getter, js_name = prekeyId)]
    fn prekey_id(this: &BundleFields) -> u64;
    #[wasm_bindgen(method, getter)]
    fn prekey(this: &BundleFields) -> Vec<u8>;
    #[wasm_bindgen(method, getter, js_name = prekeySignature)]
    fn prekey_signature(this: &BundleFields) -> Vec<u8>;
    #[wasm_bindgen(method, getter, js_name = kemId)]
    fn kem_id(this: &BundleFields) -> u64;
    #[wasm_bindgen(method, getter)]
    fn kem(this: &BundleFields) -> Vec<u8>;
    #[wasm_bindgen(method, getter, js_name = kemSignature)]
    fn kem_signature(this: &BundleFields) -> Vec<u8>;
    #[wasm_bindgen(method, getter, js_name = oneTimeId)]
    fn one_time_id(this: &BundleFields) -> Option<u64>;
    #[wasm_bindgen(method, getter, js_name = oneTime)]
    fn one_time(this: &BundleFields) -> Option<Vec<u8>>;
}

impl From<Error> for JsValue {
    fn from(error: Error) -> Self {
        let thrown = js_sys::Error::new(&error.to_string());
        thrown.set_name(error.name());
        thrown.into()
    }
}

type Result<T> = std::result::Result<T, JsValue>;

/// An Ed25519 key pair, such as a user's identity.
#[wasm_bindgen]
pub struct SigningKey(keys::SigningKey);

#[wasm_bindgen]
impl SigningKey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        Ok(Self(keys::SigningKey::generate()?))
    }

    /// The one whose secret this is (32 bytes).
    pub fn load(secret: &[u8]) -> Result<Self> {
        Ok(Self(keys::SigningKey::load(secret)?))
    }

    /// What `load` takes.
    pub fn secret(&self) -> Vec<u8> {
        self.0.secret().to_vec()
    }

    /// What others verify with (32 bytes).
    #[wasm_bindgen(getter)]
    pub fn public(&self) -> Vec<u8> {
        self.0.public().to_vec()
    }

    /// A signature (64 bytes) over the message, good for the purpose that the tag names alone.
    pub fn sign(&self, tag: &str, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.sign(tag, message)?.to_vec())
    }
}

/// Throws BadSignature unless the key signed this message for this purpose, or BadKey.
#[wasm_bindgen]
pub fn verify(public: &[u8], tag: &str, message: &[u8], signature: &[u8]) -> Result<()> {
    Ok(keys::verify(public, tag, message, signature)?)
}

/// The keys of one device: a signing key, and an agreement key that it vouches for.
#[wasm_bindgen]
pub struct DeviceKeys(keys::DeviceKeys);

#[wasm_bindgen]
impl DeviceKeys {
    /// New ones.
    pub fn generate() -> Result<Self> {
        Ok(Self(keys::DeviceKeys::generate()?))
    }

    /// Those that `save` wrote.
    pub fn load(state: &[u8]) -> Result<Self> {
        Ok(Self(keys::DeviceKeys::load(state)?))
    }

    /// All there is to know of them. Secret.
    pub fn save(&self) -> Vec<u8> {
        self.0.save()
    }

    /// The public signing key (Ed25519, 32 bytes).
    #[wasm_bindgen(getter)]
    pub fn signing(&self) -> Vec<u8> {
        self.0.signing().to_vec()
    }

    /// The public agreement key (X25519, 32 bytes).
    #[wasm_bindgen(getter)]
    pub fn agreement(&self) -> Vec<u8> {
        self.0.agreement().to_vec()
    }

    /// The signing key's word for the agreement key (64 bytes).
    #[wasm_bindgen(getter, js_name = agreementSignature)]
    pub fn agreement_signature(&self) -> Vec<u8> {
        self.0.agreement_signature().to_vec()
    }

    /// A signature of the device, as `SigningKey.sign`.
    pub fn sign(&self, tag: &str, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.sign(tag, message)?.to_vec())
    }

    /// Signs a prekey and the id that it is published under.
    #[wasm_bindgen(js_name = signPrekey)]
    pub fn sign_prekey(&self, id: u64, public: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.sign_prekey(id, public)?.to_vec())
    }

    /// Signs a KEM prekey and the id that it is published under.
    #[wasm_bindgen(js_name = signKemPrekey)]
    pub fn sign_kem_prekey(&self, id: u64, public: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.sign_kem_prekey(id, public)?.to_vec())
    }
}

/// An X25519 key to publish: signed and kept for a while, or for one session.
#[wasm_bindgen]
pub struct Prekey(prekeys::Prekey);

#[wasm_bindgen]
impl Prekey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        Ok(Self(prekeys::Prekey::generate()?))
    }

    /// The one whose secret this is (32 bytes).
    pub fn load(secret: &[u8]) -> Result<Self> {
        Ok(Self(prekeys::Prekey::load(secret)?))
    }

    /// What `load` takes.
    pub fn secret(&self) -> Vec<u8> {
        self.0.secret().to_vec()
    }

    /// What is published (32 bytes).
    #[wasm_bindgen(getter)]
    pub fn public(&self) -> Vec<u8> {
        self.0.public().to_vec()
    }
}

/// An ML-KEM-1024 key to publish, signed.
#[wasm_bindgen]
pub struct KemPrekey(prekeys::KemPrekey);

#[wasm_bindgen]
impl KemPrekey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        Ok(Self(prekeys::KemPrekey::generate()?))
    }

    /// The one whose secret this is (64 bytes).
    pub fn load(secret: &[u8]) -> Result<Self> {
        Ok(Self(prekeys::KemPrekey::load(secret)?))
    }

    /// What `load` takes: the seed of the pair.
    pub fn secret(&self) -> Vec<u8> {
        self.0.secret().to_vec()
    }

    /// What is published (1,568 bytes).
    #[wasm_bindgen(getter)]
    pub fn public(&self) -> Vec<u8> {
        self.0.public().to_vec()
    }
}

/// What one device has published, with the lengths of its fields checked.
#[wasm_bindgen]
pub struct Bundle(prekeys::Bundle);

#[wasm_bindgen]
impl Bundle {
    /// Throws Malformed if a field has not its length. Verifies no signature.
    #[wasm_bindgen(constructor)]
    pub fn new(fields: &BundleFields) -> Result<Self> {
        Ok(Self(prekeys::Bundle::new(prekeys::BundleFields {
            signing: &fields.signing(),
            agreement: &fields.agreement(),
            agreement_signature: &fields.agreement_signature(),
            prekey_id: fields.prekey_id(),
            prekey: &fields.prekey(),
            prekey_signature: &fields.prekey_signature(),
            kem_id: fields.kem_id(),
            kem: &fields.kem(),
            kem_signature: &fields.kem_signature(),
            one_time_id: fields.one_time_id(),
            one_time: fields.one_time().as_deref(),
        })?))
    }

    /// Throws BadSignature or BadKey unless the signing key vouches for the other keys. Whose
    /// signing key it is, only the caller can know.
    pub fn verify(&self) -> Result<()> {
        Ok(self.0.verify()?)
    }

    /// The device's public signing key.
    #[wasm_bindgen(getter)]
    pub fn signing(&self) -> Vec<u8> {
        self.0.signing().to_vec()
    }

    /// The device's public agreement key.
    #[wasm_bindgen(getter)]
    pub fn agreement(&self) -> Vec<u8> {
        self.0.agreement().to_vec()
    }
}

/// What a message tells of the handshake in it, before anything of it is verified.
#[wasm_bindgen]
pub struct Handshake(session::Handshake);

#[wasm_bindgen]
impl Handshake {
    /// The session that it begins or belongs to (32 bytes).
    #[wasm_bindgen(getter, js_name = sessionId)]
    pub fn session_id(&self) -> Vec<u8> {
        self.0.session_id.to_vec()
    }

    /// Which signed prekey it used.
    #[wasm_bindgen(getter, js_name = prekeyId)]
    pub fn prekey_id(&self) -> u64 {
        self.0.header.prekey_id
    }

    /// Which KEM prekey it used.
    #[wasm_bindgen(getter, js_name = kemId)]
    pub fn kem_id(&self) -> u64 {
        self.0.header.kem_id
    }

    /// Which one-time prekey it used, if any.
    #[wasm_bindgen(getter, js_name = oneTimeId)]
    pub fn one_time_id(&self) -> Option<u64> {
        self.0.header.one_time_id
    }

    /// The initiator's public signing key: to be looked up in its user's device list.
    #[wasm_bindgen(getter)]
    pub fn signing(&self) -> Vec<u8> {
        self.0.header.signing.to_vec()
    }

    /// The initiator's public agreement key.
    #[wasm_bindgen(getter)]
    pub fn agreement(&self) -> Vec<u8> {
        self.0.header.agreement.to_vec()
    }
}

/// The handshake in a message; undefined in one that was written after the responder's answer.
///
/// Next, look for a session of this id: it decrypts the message. If there is none, find the named
/// secrets and call `Session.inbound`.
#[wasm_bindgen(js_name = handshakeOf)]
pub fn handshake_of(message: &[u8]) -> Result<Option<Handshake>> {
    Ok(session::handshake_of(message)?.map(Handshake))
}

/// A session that a first message began, and what the message says.
#[wasm_bindgen]
pub struct Inbound {
    session: session::Session,
    plaintext: Vec<u8>,
}

#[wasm_bindgen]
impl Inbound {
    /// What the message says.
    #[wasm_bindgen(getter)]
    pub fn plaintext(&self) -> Vec<u8> {
        self.plaintext.clone()
    }

    /// The session; this object is used up.
    #[wasm_bindgen(js_name = intoSession)]
    pub fn into_session(self) -> Session {
        Session(self.session)
    }
}

/// One side of a session between two devices.
///
/// A chain keeps the keys of the 40 messages last skipped, for five chains; a message more than
/// 2,000 ahead in its chain is refused.
#[wasm_bindgen]
pub struct Session(session::Session);

#[wasm_bindgen]
impl Session {
    /// Begins a session with the device of the bundle. Throws BadSignature or BadKey.
    ///
    /// The context is whatever both sides must agree on, such as users, identities and devices.
    pub fn outbound(device: &DeviceKeys, bundle: &Bundle, context: &[u8]) -> Result<Self> {
        Ok(Self(session::Session::outbound(&device.0, &bundle.0, context)?))
    }

    /// Answers the handshake in a message. Next, delete the one-time prekey together with saving
    /// the session; the object of it that is handed in is used up. The caller checks that the signing
    /// key is in the device list of who it should be.
    ///
    /// Throws Undecryptable if a secret or the context is another than the initiator's, BadSignature
    /// or BadKey if its keys are bad.
    pub fn inbound(
        device: &DeviceKeys,
        message: &[u8],
        prekey: &Prekey,
        kem: &KemPrekey,
        #[wasm_bindgen(js_name = oneTime)] one_time: Option<Prekey>,
        context: &[u8],
    ) -> Result<Inbound> {
        let one_time = one_time.as_ref().map(|one_time| &one_time.0);
        let (session, plaintext) =
            session::Session::inbound(&device.0, message, &prekey.0, &kem.0, one_time, context)?;
        Ok(Inbound { session, plaintext })
    }

    /// A message for the peer. Next, save the session before the message leaves.
    pub fn encrypt(&mut self, plaintext: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.encrypt(plaintext)?)
    }

    /// What the peer's message says. Next, save the session together with it.
    ///
    /// Throws Undecryptable for a message that was read before, is too far ahead, or whose key is no
    /// longer kept; BadKey. After an error the session is what it was before.
    pub fn decrypt(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.decrypt(message)?)
    }

    /// All there is to know of it. Secret.
    pub fn save(&self) -> Result<Vec<u8>> {
        Ok(self.0.save()?)
    }

    /// The one that `save` wrote.
    pub fn load(state: &[u8]) -> Result<Self> {
        Ok(Self(session::Session::load(state)?))
    }

    /// The same on both sides (32 bytes).
    #[wasm_bindgen(getter, js_name = sessionId)]
    pub fn session_id(&self) -> Vec<u8> {
        self.0.id().to_vec()
    }

    /// The peer's public signing key.
    #[wasm_bindgen(getter, js_name = peerSigning)]
    pub fn peer_signing(&self) -> Vec<u8> {
        self.0.peer_signing().to_vec()
    }

    /// The peer's public agreement key.
    #[wasm_bindgen(getter, js_name = peerAgreement)]
    pub fn peer_agreement(&self) -> Vec<u8> {
        self.0.peer_agreement().to_vec()
    }

    /// Whether something of the peer was decrypted, so that it is known to have the session.
    #[wasm_bindgen(getter, js_name = isAnswered)]
    pub fn is_answered(&self) -> bool {
        self.0.is_answered()
    }
}

/// Sealed content, and the key that opens it.
#[wasm_bindgen(getter_with_clone)]
pub struct Sealed {
    /// 32 bytes.
    pub key: Vec<u8>,
    /// What the key opens.
    pub sealed: Vec<u8>,
}

/// Seals content with a fresh key.
#[wasm_bindgen]
pub fn seal(plaintext: &[u8], aad: &[u8]) -> Result<Sealed> {
    let (key, sealed) = content::seal(plaintext, aad)?;
    Ok(Sealed { key: key.to_vec(), sealed })
}

/// What was sealed. Throws Undecryptable if the key or AAD is another, or a byte was changed.
#[wasm_bindgen(js_name = openSealed)]
pub fn open_sealed(key: &[u8], sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
    Ok(content::open_sealed(key, sealed, aad)?)
}

/// Hides the length: at least 128 bytes, and at most 12 % more than what it is given, or 5 bytes.
#[wasm_bindgen]
pub fn pad(plaintext: &[u8]) -> Result<Vec<u8>> {
    Ok(content::pad(plaintext)?)
}

/// What `pad` was given.
#[wasm_bindgen]
pub fn unpad(padded: &[u8]) -> Result<Vec<u8>> {
    Ok(content::unpad(padded)?)
}

/// One's own key of a group: each message is encrypted once for all members.
#[wasm_bindgen]
pub struct SenderKey(sender_key::SenderKey);

#[wasm_bindgen]
impl SenderKey {
    /// A new one.
    pub fn generate() -> Self {
        Self(sender_key::SenderKey::generate())
    }

    /// What members need to read from the next message on. Secret: it goes through sessions.
    pub fn share(&self) -> Vec<u8> {
        self.0.share()
    }

    /// A message for all members. Next, save the key before the message leaves.
    pub fn encrypt(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.0.encrypt(plaintext)
    }

    /// How many messages it has encrypted; the index of the next one.
    #[wasm_bindgen(getter)]
    pub fn index(&self) -> u32 {
        self.0.index()
    }

    /// All there is to know of it. Secret.
    pub fn save(&self) -> Result<Vec<u8>> {
        Ok(self.0.save()?)
    }

    /// The one that `save` wrote.
    pub fn load(state: &[u8]) -> Result<Self> {
        Ok(Self(sender_key::SenderKey::load(state)?))
    }
}

/// A group's message, decrypted.
#[wasm_bindgen(getter_with_clone)]
pub struct GroupMessage {
    /// What it says.
    pub plaintext: Vec<u8>,
    /// Its index: one seen before with another message is a replay.
    pub index: u32,
}

/// Somebody else's key of a group. It reads a message as often as it is asked to.
#[wasm_bindgen]
pub struct ReceivedSenderKey(sender_key::ReceivedSenderKey);

#[wasm_bindgen]
impl ReceivedSenderKey {
    /// From what the sender's `share` gave. Throws BadSignature or BadKey.
    #[wasm_bindgen(constructor)]
    pub fn new(shared: &[u8]) -> Result<Self> {
        Ok(Self(sender_key::ReceivedSenderKey::new(shared)?))
    }

    /// Throws Undecryptable for a message of another key, changed, or from before `firstIndex`.
    pub fn decrypt(&mut self, message: &[u8]) -> Result<GroupMessage> {
        let (plaintext, index) = self.0.decrypt(message)?;
        Ok(GroupMessage { plaintext, index })
    }

    /// The index of the first message that it can decrypt.
    #[wasm_bindgen(getter, js_name = firstIndex)]
    pub fn first_index(&self) -> u32 {
        self.0.first_index()
    }

    /// All there is to know of it. Secret.
    pub fn save(&self) -> Result<Vec<u8>> {
        Ok(self.0.save()?)
    }

    /// The one that `save` wrote.
    pub fn load(state: &[u8]) -> Result<Self> {
        Ok(Self(sender_key::ReceivedSenderKey::load(state)?))
    }
}

/// 60 digits for two people to compare, the same for both. Takes some milliseconds.
#[wasm_bindgen(js_name = safetyNumber)]
pub fn safety_number(
    #[wasm_bindgen(js_name = userA)] user_a: &[u8],
    #[wasm_bindgen(js_name = identityA)] identity_a: &[u8],
    #[wasm_bindgen(js_name = userB)] user_b: &[u8],
    #[wasm_bindgen(js_name = identityB)] identity_b: &[u8],
) -> Result<String> {
    let (a, b) =
        (Person { user: user_a, identity: identity_a }, Person { user: user_b, identity: identity_b });
    Ok(safety::safety_number(a, b)?)
}

/// The same for a QR code on A's screen, A's half first.
#[wasm_bindgen(js_name = safetyCode)]
pub fn safety_code(
    #[wasm_bindgen(js_name = userA)] user_a: &[u8],
    #[wasm_bindgen(js_name = identityA)] identity_a: &[u8],
    #[wasm_bindgen(js_name = userB)] user_b: &[u8],
    #[wasm_bindgen(js_name = identityB)] identity_b: &[u8],
) -> Result<Vec<u8>> {
    let (a, b) =
        (Person { user: user_a, identity: identity_a }, Person { user: user_b, identity: identity_b });
    Ok(safety::safety_code(a, b)?)
}

/// Whether a code from the other's screen fits one's own code.
#[wasm_bindgen(js_name = compareSafetyCode)]
pub fn compare_safety_code(
    #[wasm_bindgen(js_name = mineFirst)] mine_first: &[u8],
    scanned: &[u8],
) -> Result<bool> {
    Ok(safety::compare_safety_code(mine_first, scanned)?)
}
