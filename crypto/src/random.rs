//! Random bytes from the operating system (in a browser, from its `crypto`).

use zeroize::Zeroizing;

use crate::{Error, Result};

/// `N` random bytes, wiped when dropped.
pub(crate) fn bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| Error::NoRandomness)?;
    Ok(bytes)
}
