//! Bytes to values and back: the one encoding of everything that is sent or stored.
//!
//! The first byte of whatever stands alone is `VERSION`. Integers are big endian, what has a
//! fixed length stands bare, what has not follows its length. There is one encoding of each
//! value: readers refuse trailing bytes.

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// The version that this code writes, and the only one that it reads.
pub(crate) const VERSION: u8 = 1;

/// What a stored state is of; the byte after the version.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum State {
    DeviceKeys = b'D',
    Session = b'S',
    SenderKey = b'K',
    ReceivedSenderKey = b'R',
}

/// Collects bytes. What it holds may be secret: it is wiped unless taken out by `done`.
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// Begins with the version.
    pub(crate) fn versioned(capacity: usize) -> Self {
        let mut writer = Self(Zeroizing::new(Vec::with_capacity(capacity + 1)));
        writer.0.push(VERSION);
        writer
    }

    /// Begins with the version and the kind of state.
    pub(crate) fn state(kind: State, capacity: usize) -> Self {
        Self::versioned(capacity + 1).u8(kind as u8)
    }

    /// Begins with nothing: for parts of something that stands alone.
    pub(crate) fn bare(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes behind their length in four bytes. No caller comes near 4 GiB.
    pub(crate) fn sized(self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.raw(&length.to_be_bytes()).raw(bytes)
    }

    pub(crate) fn done(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.0)
    }
}

/// Takes bytes apart, front to back.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Behind the version byte. Fails with `TooNew` if it is not ours.
    pub(crate) fn versioned(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Self(bytes);
        if reader.u8()? == VERSION { Ok(reader) } else { Err(Error::TooNew) }
    }

    /// Behind the version and the kind of state.
    pub(crate) fn state(kind: State, bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Self::versioned(bytes)?;
        if reader.u8()? == kind as u8 {
            Ok(reader)
        } else {
            Err(Error::Malformed("a state of something else"))
        }
    }

    pub(crate) fn bare(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn raw(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Error::Malformed("cut short"))?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        array(self.raw(N)?)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn sized(&mut self) -> Result<&'a [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        self.raw(usize::try_from(length).map_err(|_| Error::Malformed("cut short"))?)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn end(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Malformed("trailing bytes")) }
    }
}

/// Bytes of a length that is fixed.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| Error::Malformed("not of its length"))
}

/// Room for the largest state, a session that keeps all the skipped keys it may: a vector that
/// grows leaves copies of secrets behind.
const PACKED_BYTES: usize = 16 * 1024;

/// A library's state, as MessagePack with structs as arrays: its types are tagged in a way that
/// formats without types of their own, such as postcard, cannot read back.
pub(crate) fn pack(state: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    let mut packed = Zeroizing::new(Vec::with_capacity(PACKED_BYTES));
    state
        .serialize(&mut rmp_serde::Serializer::new(&mut *packed))
        .map_err(|_| Error::Malformed("a state that cannot be written"))?;
    Ok(packed)
}

/// The inverse of `pack`.
pub(crate) fn unpack<T: DeserializeOwned>(mut packed: &[u8]) -> Result<T> {
    let mut reader = rmp_serde::Deserializer::new(&mut packed);
    let state = T::deserialize(&mut reader).map_err(|_| Error::Malformed("a state that cannot be read"))?;
    Reader::bare(packed).end()?;
    Ok(state)
}
