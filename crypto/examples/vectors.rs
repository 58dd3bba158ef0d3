//! Writes the recorded test vectors anew: `cargo run --release --example vectors >crypto.json`.
//!
//! What is made from given secrets comes out the same each time. Session states and sender keys do
//! not, for the ratchets take their secrets from the system: those vectors are kept so that a later
//! version still reads what this one wrote. Bytes are in hexadecimal, ids are strings.

use serde_json::{Value, json};
use tidings_core::content::{pad, seal_with};
use tidings_core::handshake::Randomness;
use tidings_core::keys::{DeviceKeys, SigningKey};
use tidings_core::prekeys::{Bundle, BundleFields, KemPrekey, Prekey};
use tidings_core::safety::{Person, safety_code, safety_number};
use tidings_core::sender_key::{ReceivedSenderKey, SenderKey};
use tidings_core::session::Session;
use tidings_core::{Error, Result};
use zeroize::Zeroizing;

fn main() -> Result<()> {
    let vectors = json!({
        "signatures": [signature(1, "device-list", b"version 7")?, signature(2, "t", b"")?],
        "kem_prekeys": [kem_prekey(3)?],
        "safety_numbers": [safety(b"alice", 4, b"bob", 5)?, safety(&[0; 8], 6, &[0xff; 8], 7)?],
        "sealed": [sealed(8, b"hello", b"aad")?, sealed(9, b"", b"")?],
        "padded": [padded(b"")?, padded(b"hello")?, padded(&[7; 200])?],
        "handshakes": [handshake(10, true)?, handshake(30, false)?],
        "sessions": sessions()?,
        "sender_keys": [sender_key()?],
        "refused": refused()?,
    });
    println!("{vectors:#}");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A secret that is anything but secret, another for each number.
fn secret<const N: usize>(number: u8) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([number; N]);
    bytes.iter_mut().zip(0..).for_each(|(byte, place)| *byte ^= place);
    bytes
}

fn signature(number: u8, tag: &str, message: &[u8]) -> Result<Value> {
    let key = SigningKey::load(&*secret::<32>(number))?;
    Ok(json!({
        "secret": hex(&*key.secret()),
        "public": hex(&key.public()),
        "tag": tag,
        "message": hex(message),
        "signature": hex(&key.sign(tag, message)?),
    }))
}

fn kem_prekey(number: u8) -> Result<Value> {
    let kem = KemPrekey::load(&*secret::<64>(number))?;
    Ok(json!({"secret": hex(&*kem.secret()), "public": hex(kem.public())}))
}

fn safety(user_a: &[u8], a: u8, user_b: &[u8], b: u8) -> Result<Value> {
    let identities =
        (SigningKey::load(&*secret::<32>(a))?.public(), SigningKey::load(&*secret::<32>(b))?.public());
    let alice = Person { user: user_a, identity: &identities.0 };
    let bob = Person { user: user_b, identity: &identities.1 };
    Ok(json!({
        "user_a": hex(user_a),
        "identity_a": hex(&identities.0),
        "user_b": hex(user_b),
        "identity_b": hex(&identities.1),
        "number": safety_number(alice, bob)?,
        "code_a": hex(&safety_code(alice, bob)?),
        "code_b": hex(&safety_code(bob, alice)?),
    }))
}

fn sealed(number: u8, plaintext: &[u8], aad: &[u8]) -> Result<Value> {
    let key = secret::<32>(number);
    Ok(json!({
        "key": hex(&*key),
        "aad": hex(aad),
        "plaintext": hex(plaintext),
        "sealed": hex(&seal_with(&key, plaintext, aad)?),
    }))
}

fn padded(plaintext: &[u8]) -> Result<Value> {
    Ok(json!({"plaintext": hex(plaintext), "padded": hex(&pad(plaintext)?)}))
}

/// Device keys from two secrets, in the format of their state.
fn device(number: u8) -> Result<DeviceKeys> {
    DeviceKeys::load(&[b"\x01D".as_slice(), &*secret::<32>(number), &*secret::<32>(number + 1)].concat())
}

/// A device that has published its keys.
struct Published {
    device: DeviceKeys,
    prekey: Prekey,
    kem: KemPrekey,
    one_time: Option<Prekey>,
}

const PREKEY_ID: u64 = 1;
const KEM_ID: u64 = 1 << 63;
const ONE_TIME_ID: u64 = u64::MAX;
const CONTEXT: &[u8] = b"who they are";

impl Published {
    fn new(number: u8, spare: bool) -> Result<Self> {
        Ok(Self {
            device: device(number)?,
            prekey: Prekey::load(&*secret::<32>(number + 2))?,
            kem: KemPrekey::load(&*secret::<64>(number + 3))?,
            one_time: spare.then(|| Prekey::load(&*secret::<32>(number + 4))).transpose()?,
        })
    }

    fn bundle(&self) -> Result<Bundle> {
        let one_time = self.one_time.as_ref().map(Prekey::public);
        Bundle::new(BundleFields {
            signing: &self.device.signing(),
            agreement: &self.device.agreement(),
            agreement_signature: &self.device.agreement_signature(),
            prekey_id: PREKEY_ID,
            prekey: &self.prekey.public(),
            prekey_signature: &self.device.sign_prekey(PREKEY_ID, &self.prekey.public())?,
            kem_id: KEM_ID,
            kem: self.kem.public(),
            kem_signature: &self.device.sign_kem_prekey(KEM_ID, self.kem.public())?,
            one_time_id: one_time.map(|_| ONE_TIME_ID),
            one_time: one_time.as_ref().map(|public| public.as_slice()),
        })
    }

    fn answer(&self, message: &[u8]) -> Result<(Session, Vec<u8>)> {
        Session::inbound(&self.device, message, &self.prekey, &self.kem, self.one_time.as_ref(), CONTEXT)
    }
}

/// Everything that a handshake is made of, and its first messages.
fn handshake(number: u8, spare: bool) -> Result<Value> {
    let (initiator, responder) = (device(number)?, Published::new(number + 2, spare)?);
    let (ephemeral, ratchet, encapsulation) = (secret(number + 7), secret(number + 8), secret(number + 9));
    let random = Randomness { ephemeral, ratchet, encapsulation };
    let mut session = Session::outbound_with(&initiator, &responder.bundle()?, CONTEXT, &random)?;
    let messages = [b"first".as_slice(), b"", &[7; 100]]
        .iter()
        .map(|plaintext| Ok(pair(&session.encrypt(plaintext)?, plaintext)))
        .collect::<Result<Vec<_>>>()?;
    Ok(json!({
        "initiator": {
            "device_keys": hex(&initiator.save()),
            "signing": hex(&initiator.signing()),
            "agreement": hex(&initiator.agreement()),
            "ephemeral": hex(&*random.ephemeral),
            "ratchet": hex(&*random.ratchet),
            "encapsulation": hex(&*random.encapsulation),
        },
        "responder": {
            "device_keys": hex(&responder.device.save()),
            "prekey": hex(&*responder.prekey.secret()),
            "kem": hex(&*responder.kem.secret()),
            "one_time": responder.one_time.as_ref().map(|key| hex(&*key.secret())),
            "prekey_id": PREKEY_ID.to_string(),
            "kem_id": KEM_ID.to_string(),
            "one_time_id": responder.one_time.as_ref().map(|_| ONE_TIME_ID.to_string()),
        },
        "context": hex(CONTEXT),
        "session_id": hex(&session.id()),
        "messages": messages,
    }))
}

fn pair(message: &[u8], plaintext: &[u8]) -> Value {
    json!({"message": hex(message), "plaintext": hex(plaintext)})
}

/// States of one session, from its beginning to a few turns later, and what each still reads.
fn sessions() -> Result<Vec<Value>> {
    let bob = Published::new(50, true)?;
    let mut hers = Session::outbound(&DeviceKeys::generate()?, &bob.bundle()?, CONTEXT)?;
    let mut recorded = Vec::new();

    let waiting = hers.save()?;
    let (mut his, _) = bob.answer(&hers.encrypt(b"hello")?)?;
    let answer = his.encrypt(b"answer")?;
    recorded.push(state(&hers, "waits for the first answer", &waiting, &[(&answer, b"answer")]));
    hers.decrypt(&answer)?;

    let skipped = his.encrypt(b"skipped")?;
    let read = his.encrypt(b"read")?;
    hers.decrypt(&read)?;
    let behind = hers.save()?;
    his.decrypt(&hers.encrypt(b"a turn")?)?;
    recorded.push(state(&hers, "has a key of a skipped message", &behind, &[(&skipped, b"skipped")]));

    let next = hers.encrypt(b"next")?;
    let later = hers.encrypt(b"later")?;
    let turn = [(later.as_slice(), b"later".as_slice()), (&next, b"next")];
    recorded.push(state(&his, "is about to hear of a message that it skips", &his.save()?, &turn));
    Ok(recorded)
}

fn state(session: &Session, what: &str, state: &[u8], reads: &[(&[u8], &[u8])]) -> Value {
    json!({
        "what": what,
        "state": hex(state),
        "session_id": hex(&session.id()),
        "peer_signing": hex(&session.peer_signing()),
        "peer_agreement": hex(&session.peer_agreement()),
        "messages": reads.iter().map(|(message, plaintext)| pair(message, plaintext)).collect::<Vec<_>>(),
    })
}

fn sender_key() -> Result<Value> {
    let mut key = SenderKey::generate();
    key.encrypt(b"before it is shared");
    let shared = key.share();
    let own = key.save()?;
    let messages: Vec<_> = [b"one".as_slice(), b"two", b""]
        .iter()
        .map(|plaintext| {
            let index = key.index();
            json!({"message": hex(&key.encrypt(plaintext)), "plaintext": hex(plaintext), "index": index})
        })
        .collect();
    Ok(json!({
        "own_state": hex(&own),
        "shared": hex(&shared),
        "state": hex(&ReceivedSenderKey::new(&shared)?.save()?),
        "first_index": ReceivedSenderKey::new(&shared)?.first_index(),
        "messages": messages,
    }))
}

/// Bytes that must not be taken, with the error's name.
fn refused() -> Result<Vec<Value>> {
    let hers = Session::outbound(&device(70)?, &Published::new(72, false)?.bundle()?, CONTEXT)?;
    let (good, key) = (hers.save()?, SenderKey::generate());
    let newer = |bytes: &[u8]| [&[2], bytes.get(1..).unwrap_or_default()].concat();
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    let refusal = |reader: &str, bytes: &[u8], error: Error| json!({"reader": reader, "bytes": hex(bytes), "error": error.name()});
    let malformed = Error::Malformed("");
    Ok(vec![
        refusal("session", b"", malformed),
        refusal("session", &newer(&good), Error::TooNew),
        refusal("session", &longer(&good), malformed),
        refusal("session", &key.save()?, malformed),
        refusal("handshake_of", b"\x01", malformed),
        refusal("handshake_of", b"\x01\x02", malformed),
        refusal("handshake_of", b"\x01\x01\xff\xff\xff\xff", malformed),
        refusal("handshake_of", b"\x02\x00", Error::TooNew),
        refusal("shared_sender_key", &newer(&key.share()), Error::TooNew),
        refusal("shared_sender_key", &longer(&key.share()), malformed),
        refusal("padded", &longer(&pad(b"")?), malformed),
        refusal("padded", &newer(&pad(b"")?), Error::TooNew),
        refusal("prekey", &[0; 32], Error::BadKey("")),
    ])
}
