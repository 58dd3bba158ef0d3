//! PQXDH: how a device agrees on a secret with another that is away, from its published bundle.
//!
//! As Signal's "The PQXDH Key Agreement Protocol", revision 3, says, with X25519, SHA-256 and
//! ML-KEM-1024. Three things are ours. Devices sign with an Ed25519 key of their own rather than
//! with their agreement key (XEdDSA). What the specification calls associated data is not left to
//! the first message: a hash over everything public that either side saw, and over the caller's
//! context, goes into the key derivation, so two sides that saw different things share no key.
//! The secret then seeds a Double Ratchet as that specification's §5.2 (of the Double Ratchet)
//! says, with vodozemac's own root key derivation.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use vodozemac::olm::{Session as Ratchet, SessionConfig, SessionKeys};
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey, SharedSecret};
use zeroize::Zeroizing;

use crate::keys::{self, DeviceKeys, KEY_BYTES, SIGNATURE_BYTES};
use crate::prekeys::{self, Bundle, KEM_CIPHERTEXT_BYTES, KEM_PUBLIC_BYTES, KemPrekey, OneTime, Prekey};
use crate::wire::{Reader, Writer};
use crate::{Error, Result, random};

/// PQXDH §2.2: info, curve, hash and KEM, joined by underscores. The hash of the transcript follows.
const KDF_INFO: &[u8] = b"Tidings/1_CURVE25519_SHA-256_ML-KEM-1024";
const TRANSCRIPT: &[u8] = b"tidings/1 handshake";
const SESSION_ID: &[u8] = b"tidings/1 session";
/// PQXDH §2.2: stands before the secrets, so that they can never be read as a curve point.
const NOT_A_POINT: [u8; 32] = [0xff; 32];
/// The derivation of root and chain keys inside vodozemac (`olm/session/root_key.rs`).
const RATCHET_INFO: &[u8] = b"OLM_RATCHET";

const HEADER_BYTES: usize = 3 * KEY_BYTES + SIGNATURE_BYTES + 3 * 8 + 1 + KEM_CIPHERTEXT_BYTES;

/// The secrets that one handshake needs.
pub struct Randomness {
    /// The ephemeral key of PQXDH.
    pub ephemeral: Zeroizing<[u8; KEY_BYTES]>,
    /// The first key of the initiator's ratchet.
    pub ratchet: Zeroizing<[u8; KEY_BYTES]>,
    /// What ML-KEM makes its secret of.
    pub encapsulation: Zeroizing<[u8; 32]>,
}

impl Randomness {
    /// Fresh ones: for everything but test vectors.
    pub fn fresh() -> Result<Self> {
        Ok(Self { ephemeral: random::bytes()?, ratchet: random::bytes()?, encapsulation: random::bytes()? })
    }
}

/// What the initiator tells in each message until the responder has answered.
#[derive(Clone)]
pub struct Header {
    /// The initiator's public signing key.
    pub signing: [u8; KEY_BYTES],
    /// The initiator's public agreement key.
    pub agreement: [u8; KEY_BYTES],
    agreement_signature: [u8; SIGNATURE_BYTES],
    ephemeral: [u8; KEY_BYTES],
    /// Which signed prekey of the responder was used.
    pub prekey_id: u64,
    /// Which KEM prekey of the responder was used.
    pub kem_id: u64,
    /// Which one-time prekey of the responder was used, if any was left.
    pub one_time_id: Option<u64>,
    kem_ciphertext: Box<[u8; KEM_CIPHERTEXT_BYTES]>,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let writer = Writer::bare(HEADER_BYTES)
            .raw(&self.signing)
            .raw(&self.agreement)
            .raw(&self.agreement_signature)
            .raw(&self.ephemeral)
            .u64(self.prekey_id)
            .u64(self.kem_id);
        let writer = match self.one_time_id {
            None => writer.u8(0),
            Some(id) => writer.u8(1).u64(id),
        };
        writer.raw(&*self.kem_ciphertext).done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::bare(bytes);
        let header = Self {
            signing: reader.array()?,
            agreement: reader.array()?,
            agreement_signature: reader.array()?,
            ephemeral: reader.array()?,
            prekey_id: reader.u64()?,
            kem_id: reader.u64()?,
            one_time_id: match reader.u8()? {
                0 => None,
                1 => Some(reader.u64()?),
                _ => return Err(Error::Malformed("a one-time prekey is there or not")),
            },
            kem_ciphertext: Box::new(reader.array()?),
        };
        reader.end()?;
        Ok(header)
    }
}

/// The id of the session that a header begins, the same on both sides.
pub(crate) fn session_id(encoded_header: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(SESSION_ID).chain_update(encoded_header).finalize().into()
}

/// The initiator's half. The ratchet may encrypt at once.
///
/// Fails with `BadSignature` or `BadKey` if the bundle is not good.
pub fn initiate(
    device: &DeviceKeys,
    bundle: &Bundle,
    context: &[u8],
    random: &Randomness,
) -> Result<(Header, Ratchet)> {
    bundle.verify()?;
    let prekey = Curve25519PublicKey::from_bytes(bundle.prekey);
    let ephemeral = Curve25519SecretKey::from_slice(&random.ephemeral);
    let kem = prekeys::encapsulate(&bundle.kem, &random.encapsulation)?;
    let header = Header {
        signing: device.signing(),
        agreement: device.agreement(),
        agreement_signature: device.agreement_signature(),
        ephemeral: Curve25519PublicKey::from(&ephemeral).to_bytes(),
        prekey_id: bundle.prekey_id,
        kem_id: bundle.kem_id,
        one_time_id: bundle.one_time.map(|one_time| one_time.id),
        kem_ciphertext: kem.ciphertext,
    };
    let transcript = Transcript {
        header: &header,
        signing: bundle.signing,
        agreement: bundle.agreement,
        prekey: bundle.prekey,
        kem: &bundle.kem,
        one_time: bundle.one_time,
        context,
    };
    let mut secrets = Secrets::new();
    secrets.agree(device.agreement_secret(), &prekey)?;
    secrets.agree(&ephemeral, &Curve25519PublicKey::from_bytes(bundle.agreement))?;
    secrets.agree(&ephemeral, &prekey)?;
    if let Some(one_time) = bundle.one_time {
        secrets.agree(&ephemeral, &Curve25519PublicKey::from_bytes(one_time.public))?;
    }
    let shared = secrets.derive(&kem.secret, &transcript);
    let ratchet = initiator_ratchet(&shared, &prekey, random, transcript.session_keys())?;
    Ok((header, ratchet))
}

/// The responder's half, from the secrets that the header names. The ratchet is good only once it
/// has decrypted something: nothing here shows that the initiator has the keys that it claims.
pub(crate) fn respond(
    device: &DeviceKeys,
    header: &Header,
    prekey: &Prekey,
    kem: &KemPrekey,
    one_time: Option<&Prekey>,
    context: &[u8],
) -> Result<Ratchet> {
    keys::verify_agreement(&header.signing, &header.agreement, &header.agreement_signature)?;
    let one_time_public = match (header.one_time_id, one_time) {
        (Some(id), Some(key)) => Some(OneTime { id, public: key.public() }),
        (None, None) => None,
        (Some(_), None) => return Err(Error::Undecryptable("the one-time prekey is no longer kept")),
        (None, Some(_)) => return Err(Error::Undecryptable("the handshake used no one-time prekey")),
    };
    let transcript = Transcript {
        header,
        signing: device.signing(),
        agreement: device.agreement(),
        prekey: prekey.public(),
        kem: kem.public(),
        one_time: one_time_public,
        context,
    };
    let initiator = Curve25519PublicKey::from_bytes(header.agreement);
    let ephemeral = Curve25519PublicKey::from_bytes(header.ephemeral);
    let mut secrets = Secrets::new();
    secrets.agree(prekey.key(), &initiator)?;
    secrets.agree(device.agreement_secret(), &ephemeral)?;
    secrets.agree(prekey.key(), &ephemeral)?;
    if let Some(one_time) = one_time {
        secrets.agree(one_time.key(), &ephemeral)?;
    }
    let shared = secrets.derive(&kem.decapsulate(&header.kem_ciphertext), &transcript);
    // The responder's first chain is never used: it decrypts, and so steps on, before it encrypts.
    let unused = random::bytes()?;
    let session_keys = transcript.session_keys();
    let (root, secret) = (*shared, *prekey.secret());
    Ok(Ratchet::from_root_key_material(SessionConfig::version_2(), session_keys, root, *unused, secret))
}

/// The initiator's first step of the ratchet, with the responder's signed prekey as its first key.
fn initiator_ratchet(
    shared: &[u8; 32],
    prekey: &Curve25519PublicKey,
    random: &Randomness,
    session_keys: SessionKeys,
) -> Result<Ratchet> {
    let agreed = diffie_hellman(&Curve25519SecretKey::from_slice(&random.ratchet), prekey)?;
    let keys: Zeroizing<[u8; 64]> = derive(shared, agreed.as_bytes(), RATCHET_INFO);
    let mut reader = Reader::bare(keys.as_slice());
    let (root, chain) = (reader.array()?, reader.array()?);
    Ok(Ratchet::from_root_key_material(
        SessionConfig::version_2(),
        session_keys,
        root,
        chain,
        *random.ratchet,
    ))
}

/// Everything public that a handshake depends on.
struct Transcript<'a> {
    header: &'a Header,
    signing: [u8; KEY_BYTES],
    agreement: [u8; KEY_BYTES],
    prekey: [u8; KEY_BYTES],
    kem: &'a [u8; KEM_PUBLIC_BYTES],
    one_time: Option<OneTime>,
    context: &'a [u8],
}

impl Transcript<'_> {
    /// Each part stands behind its length, so that no two transcripts read the same.
    fn hash(&self) -> [u8; 32] {
        let one_time_id = self.one_time.map(|one_time| one_time.id.to_be_bytes());
        let one_time = self.one_time.map(|one_time| one_time.public);
        let parts: [&[u8]; 14] = [
            TRANSCRIPT,
            &self.header.signing,
            &self.header.agreement,
            &self.signing,
            &self.agreement,
            &self.header.prekey_id.to_be_bytes(),
            &self.prekey,
            &self.header.kem_id.to_be_bytes(),
            self.kem,
            one_time_id.as_ref().map_or(&[], |id| id),
            one_time.as_ref().map_or(&[], |key| key),
            &self.header.ephemeral,
            &*self.header.kem_ciphertext,
            self.context,
        ];
        let encoded = parts.iter().fold(Writer::bare(4096), |writer, part| writer.sized(part));
        Sha256::digest(encoded.done()).into()
    }

    /// vodozemac wants these for messages of its own protocol, which are not used here.
    fn session_keys(&self) -> SessionKeys {
        SessionKeys {
            identity_key: Curve25519PublicKey::from_bytes(self.header.agreement),
            base_key: Curve25519PublicKey::from_bytes(self.header.ephemeral),
            one_time_key: Curve25519PublicKey::from_bytes(self.prekey),
        }
    }
}

/// The secrets of one handshake, in the specification's order: DH1, DH2, DH3, DH4 if any, KEM.
struct Secrets(Zeroizing<Vec<u8>>);

impl Secrets {
    fn new() -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(6 * 32));
        bytes.extend_from_slice(&NOT_A_POINT);
        Self(bytes)
    }

    fn agree(&mut self, secret: &Curve25519SecretKey, public: &Curve25519PublicKey) -> Result<()> {
        self.0.extend_from_slice(diffie_hellman(secret, public)?.as_bytes());
        Ok(())
    }

    fn derive(mut self, kem_secret: &[u8; 32], transcript: &Transcript<'_>) -> Zeroizing<[u8; 32]> {
        self.0.extend_from_slice(kem_secret);
        derive(&[0; 32], &self.0, &[KDF_INFO, &transcript.hash()].concat())
    }
}

fn diffie_hellman(secret: &Curve25519SecretKey, public: &Curve25519PublicKey) -> Result<SharedSecret> {
    secret.diffie_hellman(public).ok_or(Error::BadKey("an X25519 key of small order"))
}

/// HKDF-SHA256 to a key of up to 255 × 32 bytes.
pub(crate) fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32) };
    let mut key = Zeroizing::new([0; N]);
    let expanded = Hkdf::<Sha256>::new(Some(salt), secret).expand(info, key.as_mut_slice());
    debug_assert!(expanded.is_ok(), "HKDF refuses only longer keys");
    key
}
