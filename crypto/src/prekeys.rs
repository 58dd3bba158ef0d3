//! What a device publishes so that others can write to it while it is away.

use libcrux_ml_kem::mlkem1024::{self, MlKem1024Ciphertext, MlKem1024PublicKey};
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey};
use zeroize::{Zeroize, Zeroizing};

use crate::keys::{self, KEY_BYTES, SIGNATURE_BYTES, secret_of};
use crate::{Error, Result, random, wire};

/// Bytes of an ML-KEM-1024 public key.
pub const KEM_PUBLIC_BYTES: usize = 1568;
/// Bytes of an ML-KEM-1024 ciphertext.
pub const KEM_CIPHERTEXT_BYTES: usize = 1568;
/// Bytes of the seed that an ML-KEM key pair is made from (FIPS 203: d ‖ z).
pub const KEM_SEED_BYTES: usize = 64;

/// An X25519 prekey, signed or one-time.
pub struct Prekey(Curve25519SecretKey);

impl Prekey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        Self::load(random::bytes::<KEY_BYTES>()?.as_slice())
    }

    /// The one whose `secret` this is (32 bytes).
    pub fn load(secret: &[u8]) -> Result<Self> {
        Ok(Self(Curve25519SecretKey::from_slice(&*secret_of(secret)?)))
    }

    /// What `load` takes.
    pub fn secret(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        Zeroizing::new(*self.0.to_bytes())
    }

    /// What is published.
    pub fn public(&self) -> [u8; KEY_BYTES] {
        Curve25519PublicKey::from(&self.0).to_bytes()
    }

    pub(crate) fn key(&self) -> &Curve25519SecretKey {
        &self.0
    }
}

/// An ML-KEM-1024 prekey. Only its seed is kept: the 3 kB private key is made when it is used.
pub struct KemPrekey {
    seed: Zeroizing<[u8; KEM_SEED_BYTES]>,
    public: Box<[u8; KEM_PUBLIC_BYTES]>,
}

impl KemPrekey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        Self::load(random::bytes::<KEM_SEED_BYTES>()?.as_slice())
    }

    /// The one whose `secret` this is (64 bytes).
    pub fn load(secret: &[u8]) -> Result<Self> {
        let seed = secret_of(secret)?;
        let (mut private, public) = mlkem1024::generate_key_pair(*seed).into_parts();
        private[0..].zeroize();
        Ok(Self { seed, public: Box::new(*public.as_slice()) })
    }

    /// What `load` takes: the seed.
    pub fn secret(&self) -> Zeroizing<[u8; KEM_SEED_BYTES]> {
        self.seed.clone()
    }

    /// What is published.
    pub fn public(&self) -> &[u8; KEM_PUBLIC_BYTES] {
        &self.public
    }

    /// The secret inside a ciphertext. One made for another key gives another secret, no error.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8; KEM_CIPHERTEXT_BYTES]) -> Zeroizing<[u8; 32]> {
        let (mut private, _) = mlkem1024::generate_key_pair(*self.seed).into_parts();
        let secret = mlkem1024::decapsulate(&private, &MlKem1024Ciphertext::from(ciphertext));
        private[0..].zeroize();
        Zeroizing::new(secret)
    }
}

/// A secret, and the ciphertext that brings it to the holder of a KEM prekey.
pub(crate) struct Encapsulated {
    pub(crate) ciphertext: Box<[u8; KEM_CIPHERTEXT_BYTES]>,
    pub(crate) secret: Zeroizing<[u8; 32]>,
}

/// A secret for the holder of `public`.
pub(crate) fn encapsulate(public: &[u8; KEM_PUBLIC_BYTES], randomness: &[u8; 32]) -> Result<Encapsulated> {
    let key = MlKem1024PublicKey::from(public);
    // Zeros alone pass the check of FIPS 203 §7.2, but everybody can open what is made for them.
    if *public == [0; KEM_PUBLIC_BYTES] || !mlkem1024::validate_public_key(&key) {
        return Err(Error::BadKey("not an ML-KEM-1024 key"));
    }
    let (ciphertext, secret) = mlkem1024::encapsulate(&key, *randomness);
    Ok(Encapsulated { ciphertext: Box::new(*ciphertext.as_slice()), secret: Zeroizing::new(secret) })
}

/// The fields of a [`Bundle`], as they come from a server: of any length.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct BundleFields<'a> {
    pub signing: &'a [u8],
    pub agreement: &'a [u8],
    pub agreement_signature: &'a [u8],
    pub prekey_id: u64,
    pub prekey: &'a [u8],
    pub prekey_signature: &'a [u8],
    pub kem_id: u64,
    pub kem: &'a [u8],
    pub kem_signature: &'a [u8],
    pub one_time_id: Option<u64>,
    pub one_time: Option<&'a [u8]>,
}

/// What one device has published, as another one gets it from a server that nobody trusts.
pub struct Bundle {
    pub(crate) signing: [u8; KEY_BYTES],
    pub(crate) agreement: [u8; KEY_BYTES],
    agreement_signature: [u8; SIGNATURE_BYTES],
    pub(crate) prekey_id: u64,
    pub(crate) prekey: [u8; KEY_BYTES],
    prekey_signature: [u8; SIGNATURE_BYTES],
    pub(crate) kem_id: u64,
    pub(crate) kem: Box<[u8; KEM_PUBLIC_BYTES]>,
    kem_signature: [u8; SIGNATURE_BYTES],
    pub(crate) one_time: Option<OneTime>,
}

/// A one-time prekey. It is not signed: it adds forward secrecy, never authority.
#[derive(Clone, Copy)]
pub(crate) struct OneTime {
    pub(crate) id: u64,
    pub(crate) public: [u8; KEY_BYTES],
}

impl Bundle {
    /// Fails with `Malformed` if a field has not its length. Verifies nothing yet.
    pub fn new(fields: BundleFields<'_>) -> Result<Self> {
        let one_time = match (fields.one_time_id, fields.one_time) {
            (Some(id), Some(public)) => Some(OneTime { id, public: wire::array(public)? }),
            (None, None) => None,
            _ => return Err(Error::Malformed("a one-time prekey has an id, and the id a prekey")),
        };
        Ok(Self {
            signing: wire::array(fields.signing)?,
            agreement: wire::array(fields.agreement)?,
            agreement_signature: wire::array(fields.agreement_signature)?,
            prekey_id: fields.prekey_id,
            prekey: wire::array(fields.prekey)?,
            prekey_signature: wire::array(fields.prekey_signature)?,
            kem_id: fields.kem_id,
            kem: Box::new(wire::array(fields.kem)?),
            kem_signature: wire::array(fields.kem_signature)?,
            one_time,
        })
    }

    /// Fails with `BadSignature` or `BadKey` unless its signing key vouches for all that it should.
    /// Whose signing key that is, only the caller can know.
    pub fn verify(&self) -> Result<()> {
        keys::verify_agreement(&self.signing, &self.agreement, &self.agreement_signature)?;
        keys::verify_prekey(&self.signing, self.prekey_id, &self.prekey, &self.prekey_signature)?;
        keys::verify_kem_prekey(&self.signing, self.kem_id, &*self.kem, &self.kem_signature)
    }

    /// The device's public signing key, to look up in its user's device list.
    pub fn signing(&self) -> [u8; KEY_BYTES] {
        self.signing
    }

    /// The device's public agreement key.
    pub fn agreement(&self) -> [u8; KEY_BYTES] {
        self.agreement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kem_secret_arrives() {
        let kem = KemPrekey::generate().unwrap();
        let Encapsulated { ciphertext, secret } = encapsulate(kem.public(), &[7; 32]).unwrap();
        let again = KemPrekey::load(kem.secret().as_slice()).unwrap();
        assert_eq!(again.public(), kem.public());
        assert_eq!(*again.decapsulate(&ciphertext), *secret);
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for bad in [[0; KEM_PUBLIC_BYTES], [0xff; KEM_PUBLIC_BYTES]] {
            assert!(matches!(encapsulate(&bad, &[7; 32]), Err(Error::BadKey(_))));
        }
    }
}
