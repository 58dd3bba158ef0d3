//! A message's content: padded, and sealed once with a key of its own that then travels alone.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::handshake::derive;
use crate::keys::{KEY_BYTES, secret_of};
use crate::wire::{Reader, Writer};
use crate::{Error, Result, random};

const INFO: &[u8] = b"tidings/1 content";
const COMMITMENT_BYTES: usize = 32;
/// Bytes that padded content has at least: most messages look alike.
const FLOOR_BYTES: usize = 128;

/// Seals content with a fresh key: the key, and what it opens.
pub fn seal(plaintext: &[u8], aad: &[u8]) -> Result<(Zeroizing<[u8; KEY_BYTES]>, Vec<u8>)> {
    let key = random::bytes()?;
    let sealed = seal_with(&key, plaintext, aad)?;
    Ok((key, sealed))
}

/// Seals content with a given key, which must never have sealed anything: for test vectors.
pub fn seal_with(key: &[u8; KEY_BYTES], plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
    let keys = Keys::of(key);
    let ciphertext = keys
        .cipher()
        .encrypt(&nonce(), Payload { msg: plaintext, aad })
        .map_err(|_| Error::Malformed("too much to seal at once"))?;
    Ok(Writer::versioned(COMMITMENT_BYTES + ciphertext.len()).raw(&keys.commitment).raw(&ciphertext).done())
}

/// Opens what `seal` sealed.
///
/// Fails with `Undecryptable` if the key or the AAD is another or a byte was changed, and with
/// `Malformed` or `TooNew`.
pub fn open_sealed(key: &[u8], sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
    let keys = Keys::of(&*secret_of(key)?);
    let mut reader = Reader::versioned(sealed)?;
    let commitment: [u8; COMMITMENT_BYTES] = reader.array()?;
    if !bool::from(commitment.ct_eq(&keys.commitment)) {
        return Err(Error::Undecryptable("sealed with another key"));
    }
    keys.cipher()
        .decrypt(&nonce(), Payload { msg: reader.rest(), aad })
        .map_err(|_| Error::Undecryptable("changed since it was sealed"))
}

/// A key seals once, so it needs no other nonce.
fn nonce() -> Nonce {
    Nonce::from([0; 12])
}

/// The key of the cipher, and a commitment to it.
///
/// ChaCha20-Poly1305, like AES-GCM, does not commit to its key: a sender can make one ciphertext
/// that opens to two messages under two keys and hand each key to another device, or report the
/// one that it did not send (Dodis, Grubbs, Ristenpart, Woodage, "Fast Message Franking", CRYPTO
/// 2018). A second output of the key derivation beside the ciphertext commits (Albertini, Duong,
/// Gueron, Kölbl, Luykx, Schmieg, "How to Abuse and Fix Authenticated Encryption Without Key
/// Commitment", USENIX Security 2022).
struct Keys {
    key: Zeroizing<[u8; KEY_BYTES]>,
    commitment: [u8; COMMITMENT_BYTES],
}

impl Keys {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let both: Zeroizing<[u8; KEY_BYTES + COMMITMENT_BYTES]> = derive(&[], key, INFO);
        let (mut key, mut commitment) = (Zeroizing::new([0; KEY_BYTES]), [0; COMMITMENT_BYTES]);
        let (left, right) = both.split_at(KEY_BYTES);
        key.copy_from_slice(left);
        commitment.copy_from_slice(right);
        Self { key, commitment }
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(*self.key))
    }
}

/// Bytes before the plaintext in what `pad` returns: the version and the length.
const PREFIX_BYTES: usize = 5;

/// Hides the length: zeros follow up to a Padmé length, and to 128 bytes at least.
///
/// Fails with `Malformed` from 4 GiB on.
pub fn pad(plaintext: &[u8]) -> Result<Vec<u8>> {
    if u32::try_from(plaintext.len()).is_err() {
        return Err(Error::Malformed("too much to pad"));
    }
    let padded = padded_length(PREFIX_BYTES + plaintext.len());
    let mut bytes = Writer::versioned(padded - 1).sized(plaintext).done();
    bytes.resize(padded, 0);
    Ok(bytes)
}

/// The inverse of `pad`. Fails with `Malformed` or `TooNew`.
pub fn unpad(padded: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader::versioned(padded)?;
    let plaintext = reader.sized()?;
    let zeros = reader.rest();
    if padded.len() != padded_length(PREFIX_BYTES + plaintext.len()) || zeros.iter().any(|byte| *byte != 0) {
        return Err(Error::Malformed("padded in another way"));
    }
    Ok(plaintext.to_vec())
}

/// Padmé (Nikitin, Barman, Lueks, Underwood, Hubaux, Ford, "Reducing Metadata Leakage from
/// Encrypted Files and Communication with PURBs", PoPETs 2019, §4): a length keeps as many bits
/// as its exponent's exponent has, so it tells O(log log n) bits and costs at most 12 % more.
fn padded_length(length: usize) -> usize {
    let length = length.max(FLOOR_BYTES);
    let exponent = length.ilog2();
    let mask = (1usize << (exponent - (exponent.ilog2() + 1))) - 1;
    length.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens() {
        let (key, sealed) = seal(b"hello", b"aad").unwrap();
        assert_eq!(open_sealed(key.as_slice(), &sealed, b"aad").unwrap(), b"hello");
        assert!(matches!(open_sealed(key.as_slice(), &sealed, b"bad"), Err(Error::Undecryptable(_))));
        assert!(matches!(open_sealed(&[9; 32], &sealed, b"aad"), Err(Error::Undecryptable(_))));
    }

    #[test]
    fn padme_gives_the_lengths_of_the_paper() {
        for (length, padded) in [(1, 128), (128, 128), (129, 144), (200, 208), (1000, 1024), (10_000, 10_240)]
        {
            assert_eq!(padded_length(length), padded, "{length}");
        }
    }

    #[test]
    fn padding_costs_at_most_an_eighth() {
        for length in FLOOR_BYTES..100_000 {
            let padded = padded_length(length);
            assert!(padded >= length && (padded - length) * 8 <= length, "{length}");
            assert_eq!(padded_length(padded), padded);
        }
    }
}
