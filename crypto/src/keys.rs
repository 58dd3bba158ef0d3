//! Keys that sign, and the keys of one device.
//!
//! Every signature is over a tag too, so that one made for one purpose serves no other.

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey};
use zeroize::Zeroizing;

use crate::wire::{self, Reader, State, Writer};
use crate::{Error, Result, random};

/// Bytes of an Ed25519 or X25519 key, public or secret.
pub const KEY_BYTES: usize = 32;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

const PREFIX: &[u8] = b"tidings/1 ";
const AGREEMENT: &str = "agreement";
const PREKEY: &str = "prekey";
const KEM_PREKEY: &str = "kem-prekey";

/// An Ed25519 key pair: a user's identity, or the signing half of a device's keys.
pub struct SigningKey(Box<ed25519_dalek::SigningKey>);

impl SigningKey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        Self::load(random::bytes::<KEY_BYTES>()?.as_slice())
    }

    /// The one whose `secret` this is (32 bytes).
    pub fn load(secret: &[u8]) -> Result<Self> {
        let secret = secret_of(secret)?;
        Ok(Self(Box::new(ed25519_dalek::SigningKey::from_bytes(&secret))))
    }

    /// What `load` takes.
    pub fn secret(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// What others verify with.
    pub fn public(&self) -> [u8; KEY_BYTES] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a message for the purpose that `tag` names.
    pub fn sign(&self, tag: &str, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES]> {
        Ok(self.0.sign(&tagged(tag, message)?).to_bytes())
    }
}

/// Fails with `BadSignature` unless `public` signed this message for this purpose, and with
/// `BadKey` if `public` is no key, or one under which a signature could fit many messages.
pub fn verify(public: &[u8], tag: &str, message: &[u8], signature: &[u8]) -> Result<()> {
    let key = public
        .try_into()
        .ok()
        .and_then(|bytes| VerifyingKey::from_bytes(bytes).ok())
        .filter(|key| !key.is_weak())
        .ok_or(Error::BadKey("not an Ed25519 key"))?;
    let signature = Signature::from_slice(signature).map_err(|_| Error::BadSignature)?;
    key.verify_strict(&tagged(tag, message)?, &signature).map_err(|_| Error::BadSignature)
}

/// What is really signed. A NUL ends the tag, so none may stand inside.
fn tagged(tag: &str, message: &[u8]) -> Result<Vec<u8>> {
    if tag.is_empty() || tag.contains('\0') {
        return Err(Error::Malformed("a tag is not empty and has no NUL"));
    }
    Ok([PREFIX, tag.as_bytes(), b"\0", message].concat())
}

/// The keys of one device: one signs, one agrees on secrets, and the first vouches for the second.
pub struct DeviceKeys {
    signing: SigningKey,
    agreement: Curve25519SecretKey,
    agreement_signature: [u8; SIGNATURE_BYTES],
}

impl DeviceKeys {
    /// New ones.
    pub fn generate() -> Result<Self> {
        Self::from_secrets(SigningKey::generate()?, random::bytes()?)
    }

    /// Those that `save` wrote.
    pub fn load(state: &[u8]) -> Result<Self> {
        let mut reader = Reader::state(State::DeviceKeys, state)?;
        let signing = SigningKey::load(reader.raw(KEY_BYTES)?)?;
        let agreement = secret_of(reader.raw(KEY_BYTES)?)?;
        reader.end()?;
        Self::from_secrets(signing, agreement)
    }

    /// All there is to know of them. Secret.
    pub fn save(&self) -> Vec<u8> {
        Writer::state(State::DeviceKeys, 2 * KEY_BYTES)
            .raw(self.signing.secret().as_slice())
            .raw(Zeroizing::new(*self.agreement.to_bytes()).as_slice())
            .done()
    }

    fn from_secrets(signing: SigningKey, agreement: Zeroizing<[u8; KEY_BYTES]>) -> Result<Self> {
        let agreement = Curve25519SecretKey::from_slice(&agreement);
        let public = Curve25519PublicKey::from(&agreement);
        let agreement_signature = signing.sign(AGREEMENT, public.as_bytes())?;
        Ok(Self { signing, agreement, agreement_signature })
    }

    /// The public key that verifies what this device signs.
    pub fn signing(&self) -> [u8; KEY_BYTES] {
        self.signing.public()
    }

    /// The public key that others agree with.
    pub fn agreement(&self) -> [u8; KEY_BYTES] {
        Curve25519PublicKey::from(&self.agreement).to_bytes()
    }

    /// The device's own word that `agreement` is its.
    pub fn agreement_signature(&self) -> [u8; SIGNATURE_BYTES] {
        self.agreement_signature
    }

    /// Signs as this device; see [`SigningKey::sign`].
    pub fn sign(&self, tag: &str, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES]> {
        self.signing.sign(tag, message)
    }

    /// Signs a prekey, and the id that it is published under.
    pub fn sign_prekey(&self, id: u64, public: &[u8]) -> Result<[u8; SIGNATURE_BYTES]> {
        self.sign(PREKEY, &numbered(id, public))
    }

    /// Signs a KEM prekey, and the id that it is published under.
    pub fn sign_kem_prekey(&self, id: u64, public: &[u8]) -> Result<[u8; SIGNATURE_BYTES]> {
        self.sign(KEM_PREKEY, &numbered(id, public))
    }

    pub(crate) fn agreement_secret(&self) -> &Curve25519SecretKey {
        &self.agreement
    }
}

pub(crate) fn verify_agreement(signing: &[u8], agreement: &[u8], signature: &[u8]) -> Result<()> {
    verify(signing, AGREEMENT, agreement, signature)
}

pub(crate) fn verify_prekey(signing: &[u8], id: u64, public: &[u8], signature: &[u8]) -> Result<()> {
    verify(signing, PREKEY, &numbered(id, public), signature)
}

pub(crate) fn verify_kem_prekey(signing: &[u8], id: u64, public: &[u8], signature: &[u8]) -> Result<()> {
    verify(signing, KEM_PREKEY, &numbered(id, public), signature)
}

fn numbered(id: u64, public: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes(), public].concat()
}

/// A stored secret. One of zeros alone is storage that was never written, or was wiped.
pub(crate) fn secret_of<const N: usize>(bytes: &[u8]) -> Result<Zeroizing<[u8; N]>> {
    let secret = Zeroizing::new(wire::array(bytes)?);
    if *secret == [0; N] { Err(Error::BadKey("a secret of zeros alone")) } else { Ok(secret) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_serves_one_tag_and_one_message() {
        let key = SigningKey::generate().unwrap();
        let signature = key.sign("list", b"one").unwrap();
        assert_eq!(verify(&key.public(), "list", b"one", &signature), Ok(()));
        assert_eq!(verify(&key.public(), "lost", b"one", &signature), Err(Error::BadSignature));
        assert_eq!(verify(&key.public(), "list", b"two", &signature), Err(Error::BadSignature));
        assert!(key.sign("li\0st", b"one").is_err());
    }

    #[test]
    fn keys_of_small_order_verify_nothing() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        for weak in [[0; 32], identity_point] {
            assert!(matches!(verify(&weak, "t", b"", &[0; 64]), Err(Error::BadKey(_))));
        }
    }

    #[test]
    fn device_keys_come_back_as_they_were() {
        let keys = DeviceKeys::generate().unwrap();
        let again = DeviceKeys::load(&keys.save()).unwrap();
        assert_eq!(keys.save(), again.save());
        assert_eq!(keys.agreement_signature(), again.agreement_signature());
        let good = verify_agreement(&again.signing(), &again.agreement(), &again.agreement_signature());
        assert_eq!(good, Ok(()));
    }

    #[test]
    fn zeros_are_no_secret() {
        assert!(matches!(SigningKey::load(&[0; 32]), Err(Error::BadKey(_))));
        assert!(matches!(SigningKey::load(&[1; 31]), Err(Error::Malformed(_))));
    }
}
