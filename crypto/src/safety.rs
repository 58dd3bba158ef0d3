//! Safety numbers: what two people compare to be sure that nobody sits between them.
//!
//! Built as Signal's numeric fingerprint (`NumericFingerprintGenerator` of libsignal, version 0):
//! 5,200 rounds of SHA-512 for each side, 30 digits of each, the lower half first. The rounds make
//! it dear to look for an identity whose number looks like another's.

use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use crate::keys::KEY_BYTES;
use crate::wire::{self, Reader, Writer};
use crate::{Error, Result};

const LABEL: &[u8] = b"tidings/1 safety number";
const FINGERPRINT_VERSION: [u8; 2] = [0, 0];
const ROUNDS: usize = 5_200;
/// Bytes of a fingerprint that become digits: six groups of five, of five bytes each.
const DIGIT_BYTES: usize = 30;
/// Bytes of a fingerprint that stand in a code.
const CODE_BYTES: usize = 32;

/// One user, as a safety number sees them.
#[derive(Clone, Copy)]
pub struct Person<'a> {
    /// Who they are: what never changes of a user, such as their id.
    pub user: &'a [u8],
    /// Their public identity key (32 bytes).
    pub identity: &'a [u8],
}

/// 60 digits that are the same whoever asks. Takes some milliseconds.
///
/// Fails with `Malformed` if an identity is not of its length.
pub fn safety_number(a: Person<'_>, b: Person<'_>) -> Result<String> {
    let mut halves = [digits(&fingerprint(a)?), digits(&fingerprint(b)?)];
    halves.sort();
    Ok(halves.concat())
}

/// The same as bytes for a QR code, one's own half first. Takes some milliseconds.
///
/// Fails with `Malformed` if an identity is not of its length.
pub fn safety_code(mine: Person<'_>, theirs: Person<'_>) -> Result<Vec<u8>> {
    let (mine, theirs) = (fingerprint(mine)?, fingerprint(theirs)?);
    Ok(Writer::versioned(2 * CODE_BYTES).raw(prefix(&mine)).raw(prefix(&theirs)).done())
}

/// Whether a code that was scanned from the other's screen fits one's own.
///
/// Fails with `Malformed` if either is no code, and with `TooNew`.
pub fn compare_safety_code(mine_first: &[u8], scanned: &[u8]) -> Result<bool> {
    let (mine, theirs) = halves(mine_first)?;
    let (their_own, their_other) = halves(scanned)?;
    Ok(bool::from(mine.ct_eq(&their_other) & theirs.ct_eq(&their_own)))
}

type Half = [u8; CODE_BYTES];

fn halves(code: &[u8]) -> Result<(Half, Half)> {
    let mut reader = Reader::versioned(code)?;
    let halves = (reader.array()?, reader.array()?);
    reader.end()?;
    Ok(halves)
}

fn prefix(fingerprint: &[u8; 64]) -> &[u8] {
    fingerprint.first_chunk::<CODE_BYTES>().map_or(&[], |half| half)
}

fn fingerprint(person: Person<'_>) -> Result<[u8; 64]> {
    let identity: [u8; KEY_BYTES] = wire::array(person.identity)?;
    if person.user.is_empty() {
        return Err(Error::Malformed("a user without an id"));
    }
    let first = Sha512::new()
        .chain_update(LABEL)
        .chain_update(FINGERPRINT_VERSION)
        .chain_update(identity)
        .chain_update(person.user)
        .chain_update(identity)
        .finalize();
    let last =
        (1..ROUNDS).fold(first, |hash, _| Sha512::new().chain_update(hash).chain_update(identity).finalize());
    Ok(last.into())
}

/// Each five bytes, modulo 100,000.
fn digits(fingerprint: &[u8; 64]) -> String {
    fingerprint
        .chunks_exact(5)
        .take(DIGIT_BYTES / 5)
        .map(|chunk| chunk.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
        .map(|number| format!("{:05}", number % 100_000))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Person<'_> = Person { user: b"alice", identity: &[1; 32] };
    const BOB: Person<'_> = Person { user: b"bob", identity: &[2; 32] };

    #[test]
    fn both_see_the_same_number() {
        let number = safety_number(ALICE, BOB).unwrap();
        assert_eq!(number, safety_number(BOB, ALICE).unwrap());
        assert!(number.len() == 60 && number.bytes().all(|digit| digit.is_ascii_digit()));
    }

    #[test]
    fn codes_fit_crosswise() {
        let (alices, bobs) = (safety_code(ALICE, BOB).unwrap(), safety_code(BOB, ALICE).unwrap());
        assert_eq!(compare_safety_code(&alices, &bobs), Ok(true));
        assert_eq!(compare_safety_code(&alices, &alices), Ok(false));
        let mallory = Person { user: b"bob", identity: &[3; 32] };
        assert_eq!(compare_safety_code(&safety_code(ALICE, mallory).unwrap(), &bobs), Ok(false));
    }
}
