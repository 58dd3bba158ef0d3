//! The Python module. Thin: names, types and errors of `tidings_core.pyi`, where they are told.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::prekeys::BundleFields;
use crate::safety::Person;
use crate::{Error, content, keys, prekeys, safety, sender_key, session};

create_exception!(tidings_core, CryptoError, PyException, "What this module raises; see its subclasses.");
create_exception!(tidings_core, Malformed, CryptoError, "The bytes are not what they should be.");
create_exception!(tidings_core, TooNew, CryptoError, "A newer version of Tidings wrote the bytes.");
create_exception!(tidings_core, BadSignature, CryptoError, "The signature does not fit.");
create_exception!(tidings_core, BadKey, CryptoError, "A key that is none, or that gives secrets away.");
create_exception!(tidings_core, Undecryptable, CryptoError, "Well formed, but it cannot be opened.");

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Malformed(_) => Malformed::new_err(text),
            Error::TooNew => TooNew::new_err(text),
            Error::BadSignature => BadSignature::new_err(text),
            Error::BadKey(_) => BadKey::new_err(text),
            Error::Undecryptable(_) => Undecryptable::new_err(text),
            Error::NoRandomness => CryptoError::new_err(text),
        }
    }
}

type Bytes<'py> = Bound<'py, PyBytes>;

#[pyclass(frozen, module = "tidings_core")]
struct SigningKey(keys::SigningKey);

#[pymethods]
impl SigningKey {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        Ok(Self(keys::SigningKey::generate()?))
    }

    #[staticmethod]
    fn load(secret: &[u8]) -> PyResult<Self> {
        Ok(Self(keys::SigningKey::load(secret)?))
    }

    fn secret<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, self.0.secret().as_slice())
    }

    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.public())
    }

    fn sign<'py>(&self, py: Python<'py>, tag: &str, message: &[u8]) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.0.sign(tag, message)?))
    }
}

#[pyfunction]
fn verify(public: &[u8], tag: &str, message: &[u8], signature: &[u8]) -> PyResult<()> {
    Ok(keys::verify(public, tag, message, signature)?)
}

#[pyclass(frozen, module = "tidings_core")]
struct DeviceKeys(keys::DeviceKeys);

#[pymethods]
impl DeviceKeys {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        Ok(Self(keys::DeviceKeys::generate()?))
    }

    #[staticmethod]
    fn load(state: &[u8]) -> PyResult<Self> {
        Ok(Self(keys::DeviceKeys::load(state)?))
    }

    fn save<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.save())
    }

    #[getter]
    fn signing<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.signing())
    }

    #[getter]
    fn agreement<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.agreement())
    }

    #[getter]
    fn agreement_signature<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.agreement_signature())
    }

    fn sign<'py>(&self, py: Python<'py>, tag: &str, message: &[u8]) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.0.sign(tag, message)?))
    }

    fn sign_prekey<'py>(&self, py: Python<'py>, id: u64, public: &[u8]) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.0.sign_prekey(id, public)?))
    }

    fn sign_kem_prekey<'py>(&self, py: Python<'py>, id: u64, public: &[u8]) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.0.sign_kem_prekey(id, public)?))
    }
}

#[pyclass(frozen, module = "tidings_core")]
struct Prekey(prekeys::Prekey);

#[pymethods]
impl Prekey {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        Ok(Self(prekeys::Prekey::generate()?))
    }

    #[staticmethod]
    fn load(secret: &[u8]) -> PyResult<Self> {
        Ok(Self(prekeys::Prekey::load(secret)?))
    }

    fn secret<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, self.0.secret().as_slice())
    }

    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.public())
    }
}

#[pyclass(frozen, module = "tidings_core")]
struct KemPrekey(prekeys::KemPrekey);

#[pymethods]
impl KemPrekey {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        Ok(Self(prekeys::KemPrekey::generate()?))
    }

    #[staticmethod]
    fn load(secret: &[u8]) -> PyResult<Self> {
        Ok(Self(prekeys::KemPrekey::load(secret)?))
    }

    fn secret<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, self.0.secret().as_slice())
    }

    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, self.0.public())
    }
}

#[pyclass(frozen, module = "tidings_core")]
struct Bundle(prekeys::Bundle);

#[pymethods]
impl Bundle {
    #[new]
    #[pyo3(signature = (*, signing, agreement, agreement_signature, prekey_id, prekey, prekey_signature,
        kem_id, kem, kem_signature, one_time_id, one_time))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        signing: &[u8],
        agreement: &[u8],
        agreement_signature: &[u8],
        prekey_id: u64,
        prekey: &[u8],
        prekey_signature: &[u8],
        kem_id: u64,
        kem: &[u8],
        kem_signature: &[u8],
        one_time_id: Option<u64>,
        one_time: Option<&[u8]>,
    ) -> PyResult<Self> {
        Ok(Self(prekeys::Bundle::new(BundleFields {
            signing,
            agreement,
            agreement_signature,
            prekey_id,
            prekey,
            prekey_signature,
            kem_id,
            kem,
            kem_signature,
            one_time_id,
            one_time,
        })?))
    }

    fn verify(&self) -> PyResult<()> {
        Ok(self.0.verify()?)
    }

    #[getter]
    fn signing<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.signing())
    }

    #[getter]
    fn agreement<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.agreement())
    }
}

#[pyclass(frozen, module = "tidings_core")]
struct Handshake(session::Handshake);

#[pymethods]
impl Handshake {
    #[getter]
    fn session_id<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.session_id)
    }

    #[getter]
    fn prekey_id(&self) -> u64 {
        self.0.header.prekey_id
    }

    #[getter]
    fn kem_id(&self) -> u64 {
        self.0.header.kem_id
    }

    #[getter]
    fn one_time_id(&self) -> Option<u64> {
        self.0.header.one_time_id
    }

    #[getter]
    fn signing<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.header.signing)
    }

    #[getter]
    fn agreement<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.header.agreement)
    }
}

#[pyfunction]
fn handshake_of(message: &[u8]) -> PyResult<Option<Handshake>> {
    Ok(session::handshake_of(message)?.map(Handshake))
}

#[pyclass(module = "tidings_core")]
struct Session(session::Session);

#[pymethods]
impl Session {
    #[staticmethod]
    fn outbound(device: &DeviceKeys, bundle: &Bundle, context: &[u8]) -> PyResult<Self> {
        Ok(Self(session::Session::outbound(&device.0, &bundle.0, context)?))
    }

    #[staticmethod]
    fn inbound<'py>(
        py: Python<'py>,
        device: &DeviceKeys,
        message: &[u8],
        prekey: &Prekey,
        kem: &KemPrekey,
        one_time: Option<&Prekey>,
        context: &[u8],
    ) -> PyResult<(Self, Bytes<'py>)> {
        let one_time = one_time.map(|one_time| &one_time.0);
        let (session, plaintext) =
            session::Session::inbound(&device.0, message, &prekey.0, &kem.0, one_time, context)?;
        Ok((Self(session), PyBytes::new(py, &plaintext)))
    }

    fn encrypt<'py>(&mut self, py: Python<'py>, plaintext: &[u8]) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.0.encrypt(plaintext)?))
    }

    fn decrypt<'py>(&mut self, py: Python<'py>, message: &[u8]) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.0.decrypt(message)?))
    }

    fn save<'py>(&self, py: Python<'py>) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.0.save()?))
    }

    #[staticmethod]
    fn load(state: &[u8]) -> PyResult<Self> {
        Ok(Self(session::Session::load(state)?))
    }

    #[getter]
    fn session_id<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.id())
    }

    #[getter]
    fn peer_signing<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.peer_signing())
    }

    #[getter]
    fn peer_agreement<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.peer_agreement())
    }

    #[getter]
    fn is_answered(&self) -> bool {
        self.0.is_answered()
    }
}

#[pyfunction]
fn seal<'py>(py: Python<'py>, plaintext: &[u8], aad: &[u8]) -> PyResult<(Bytes<'py>, Bytes<'py>)> {
    let (key, sealed) = content::seal(plaintext, aad)?;
    Ok((PyBytes::new(py, key.as_slice()), PyBytes::new(py, &sealed)))
}

#[pyfunction]
fn open_sealed<'py>(py: Python<'py>, key: &[u8], sealed: &[u8], aad: &[u8]) -> PyResult<Bytes<'py>> {
    Ok(PyBytes::new(py, &content::open_sealed(key, sealed, aad)?))
}

#[pyfunction]
fn pad<'py>(py: Python<'py>, plaintext: &[u8]) -> PyResult<Bytes<'py>> {
    Ok(PyBytes::new(py, &content::pad(plaintext)?))
}

#[pyfunction]
fn unpad<'py>(py: Python<'py>, padded: &[u8]) -> PyResult<Bytes<'py>> {
    Ok(PyBytes::new(py, &content::unpad(padded)?))
}

#[pyclass(module = "tidings_core")]
struct SenderKey(sender_key::SenderKey);

#[pymethods]
impl SenderKey {
    #[staticmethod]
    fn generate() -> Self {
        Self(sender_key::SenderKey::generate())
    }

    fn share<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.share())
    }

    fn encrypt<'py>(&mut self, py: Python<'py>, plaintext: &[u8]) -> Bytes<'py> {
        PyBytes::new(py, &self.0.encrypt(plaintext))
    }

    #[getter]
    fn index(&self) -> u32 {
        self.0.index()
    }

    fn save<'py>(&self, py: Python<'py>) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.0.save()?))
    }

    #[staticmethod]
    fn load(state: &[u8]) -> PyResult<Self> {
        Ok(Self(sender_key::SenderKey::load(state)?))
    }
}

#[pyclass(module = "tidings_core")]
struct ReceivedSenderKey(sender_key::ReceivedSenderKey);

#[pymethods]
impl ReceivedSenderKey {
    #[new]
    fn new(shared: &[u8]) -> PyResult<Self> {
        Ok(Self(sender_key::ReceivedSenderKey::new(shared)?))
    }

    fn decrypt<'py>(&mut self, py: Python<'py>, message: &[u8]) -> PyResult<(Bytes<'py>, u32)> {
        let (plaintext, index) = self.0.decrypt(message)?;
        Ok((PyBytes::new(py, &plaintext), index))
    }

    #[getter]
    fn first_index(&self) -> u32 {
        self.0.first_index()
    }

    fn save<'py>(&self, py: Python<'py>) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.0.save()?))
    }

    #[staticmethod]
    fn load(state: &[u8]) -> PyResult<Self> {
        Ok(Self(sender_key::ReceivedSenderKey::load(state)?))
    }
}

#[pyfunction]
fn safety_number(
    py: Python<'_>,
    user_a: &[u8],
    identity_a: &[u8],
    user_b: &[u8],
    identity_b: &[u8],
) -> PyResult<String> {
    let (a, b) =
        (Person { user: user_a, identity: identity_a }, Person { user: user_b, identity: identity_b });
    Ok(py.detach(|| safety::safety_number(a, b))?)
}

#[pyfunction]
fn safety_code<'py>(
    py: Python<'py>,
    user_a: &[u8],
    identity_a: &[u8],
    user_b: &[u8],
    identity_b: &[u8],
) -> PyResult<Bytes<'py>> {
    let (a, b) =
        (Person { user: user_a, identity: identity_a }, Person { user: user_b, identity: identity_b });
    Ok(PyBytes::new(py, &py.detach(|| safety::safety_code(a, b))?))
}

#[pyfunction]
fn compare_safety_code(mine_first: &[u8], scanned: &[u8]) -> PyResult<bool> {
    Ok(safety::compare_safety_code(mine_first, scanned)?)
}

/// The end-to-end encryption of Tidings.
#[pymodule]
mod tidings_core {
    #[pymodule_export]
    use super::{
        BadKey, BadSignature, Bundle, CryptoError, DeviceKeys, Handshake, KemPrekey, Malformed, Prekey,
        ReceivedSenderKey, SenderKey, Session, SigningKey, TooNew, Undecryptable, compare_safety_code,
        handshake_of, open_sealed, pad, safety_code, safety_number, seal, unpad, verify,
    };
}
