//! `SecretKey`, `LocalKek`, `RecoveryPublicKey`, `RecoveryKey`, `DataKey`.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};
use sealpoint_core::envelope::{KEY_ID_LEN, Kind};
use sealpoint_core::{Dek, DekPurpose, DekRecord, Error, Kek, Secret};
use zeroize::Zeroize as _;

use crate::buffer::{self, Input};
use crate::context::Context;
use crate::{invalid_argument, raise};

fn fail(error: Error) -> PyErr {
    raise(&error)
}

pub fn key_id(bytes: &[u8]) -> PyResult<[u8; KEY_ID_LEN]> {
    bytes.try_into().map_err(|_| invalid_argument("a dek_id has exactly 16 bytes"))
}

#[pyclass(frozen, module = "sealpoint")]
pub struct SecretKey(Secret);

#[pymethods]
impl SecretKey {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        Secret::generate().map(Self).map_err(fail)
    }

    #[staticmethod]
    fn from_bytes(key: &Bound<'_, PyAny>) -> PyResult<Self> {
        let secret = Secret::from_slice(Input::from_buffer(key)?.as_slice()).map(Self).map_err(fail);
        if let Ok(buffer) = PyBuffer::<u8>::get(key)
            && !buffer.readonly()
            && buffer.is_c_contiguous()
        {
            // SAFETY: the buffer is writable and contiguous with `len_bytes` bytes, and the interpreter is held.
            unsafe { std::slice::from_raw_parts_mut(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) }.zeroize();
        }
        secret
    }

    fn expose<'py>(&self, py: Python<'py>) -> Bound<'py, PyByteArray> {
        PyByteArray::new(py, self.0.expose())
    }

    fn __repr__(&self) -> &'static str {
        "SecretKey([redacted])"
    }
}

#[pyclass(frozen, module = "sealpoint")]
pub struct LocalKek(Kek);

#[pymethods]
impl LocalKek {
    #[staticmethod]
    fn parse(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let kek = match value.cast::<PyString>() {
            Ok(text) => Kek::from_text(&text.to_string_lossy()),
            Err(_) => Kek::from_bytes(Input::from_buffer(value)?.as_slice()),
        };
        kek.map(Self).map_err(fail)
    }

    #[getter]
    fn kek_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.kek_id())
    }

    fn wrap<'py>(&self, py: Python<'py>, secret: &SecretKey, context: &Context) -> PyResult<Bound<'py, PyBytes>> {
        self.0.wrap(&secret.0, &context.0).map(|wrapped| PyBytes::new(py, &wrapped)).map_err(fail)
    }

    fn unwrap(&self, wrapped: &Bound<'_, PyAny>, context: &Context) -> PyResult<SecretKey> {
        let wrapped = Input::from_sealed(wrapped, Kind::WrappedKey)?;
        self.0.unwrap(wrapped.as_slice(), &context.0).map(SecretKey).map_err(fail)
    }

    fn __repr__(&self) -> &'static str {
        "LocalKek([redacted])"
    }
}

#[pyclass(frozen, module = "sealpoint")]
pub struct RecoveryPublicKey(sealpoint_core::RecoveryPublicKey);

#[pymethods]
impl RecoveryPublicKey {
    #[staticmethod]
    fn from_text(text: &Bound<'_, PyString>) -> PyResult<Self> {
        sealpoint_core::RecoveryPublicKey::from_text(&text.to_string_lossy()).map(Self).map_err(fail)
    }

    fn to_text(&self) -> String {
        self.0.to_text()
    }

    #[getter]
    fn recovery_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.recovery_id())
    }

    fn wrap<'py>(&self, py: Python<'py>, secret: &SecretKey, context: &Context) -> PyResult<Bound<'py, PyBytes>> {
        self.0.wrap(&secret.0, &context.0).map(|wrapped| PyBytes::new(py, &wrapped)).map_err(fail)
    }
}

#[pyclass(frozen, module = "sealpoint")]
pub struct RecoveryKey(sealpoint_core::RecoveryKey);

#[pymethods]
impl RecoveryKey {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        sealpoint_core::RecoveryKey::generate().map(Self).map_err(fail)
    }

    #[staticmethod]
    fn from_text(text: &Bound<'_, PyString>) -> PyResult<Self> {
        sealpoint_core::RecoveryKey::from_text(&text.to_string_lossy()).map(Self).map_err(fail)
    }

    fn to_text<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &self.0.to_text())
    }

    #[getter]
    fn public(&self) -> RecoveryPublicKey {
        RecoveryPublicKey(self.0.public().clone())
    }

    fn unwrap(&self, wrapped: &[u8], context: &Context) -> PyResult<SecretKey> {
        self.0.unwrap(wrapped, &context.0).map(SecretKey).map_err(fail)
    }

    fn __repr__(&self) -> &'static str {
        "RecoveryKey([redacted])"
    }
}

#[pyclass(frozen, module = "sealpoint")]
pub struct DataKey(pub Arc<Dek>);

#[pymethods]
impl DataKey {
    #[staticmethod]
    #[pyo3(signature = (*, tenant, dek_purpose=1, version=1))]
    fn generate(tenant: &str, dek_purpose: u8, version: u32) -> PyResult<(Self, SecretKey)> {
        let (dek, secret) = DekPurpose::from_number(dek_purpose).and_then(|purpose| Dek::generate(tenant, purpose, version)).map_err(fail)?;
        Ok((Self(Arc::new(dek)), SecretKey(secret)))
    }

    #[staticmethod]
    #[pyo3(signature = (secret, *, dek_id, tenant, dek_purpose, version, suite, key_check))]
    fn from_secret(secret: &SecretKey, dek_id: &[u8], tenant: &str, dek_purpose: u8, version: u32, suite: u8, key_check: &[u8]) -> PyResult<Self> {
        let purpose = DekPurpose::from_number(dek_purpose).map_err(fail)?;
        let record = DekRecord { dek_id: key_id(dek_id)?, tenant: tenant.into(), purpose, suite, version };
        Dek::from_secret(&secret.0, record, key_check).map(|dek| Self(Arc::new(dek))).map_err(fail)
    }

    #[staticmethod]
    fn from_exported(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        let text = text.cast::<PyString>().map_err(|_| invalid_argument("an exported key is a string that begins with sealpoint-key:"))?;
        sealpoint_core::import_key(&text.to_string_lossy()).map(|dek| Self(Arc::new(dek))).map_err(fail)
    }

    #[getter]
    fn dek_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.record().dek_id)
    }

    #[getter]
    fn tenant(&self) -> &str {
        &self.0.record().tenant
    }

    #[getter]
    fn dek_purpose(&self) -> u8 {
        self.0.record().purpose as u8
    }

    #[getter]
    fn suite(&self) -> u8 {
        self.0.record().suite
    }

    #[getter]
    fn version(&self) -> u32 {
        self.0.record().version
    }

    #[getter]
    fn key_check<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.key_check())
    }

    #[pyo3(signature = (payload, context, *, content_type="", pad=false))]
    fn seal(&self, payload: &Bound<'_, PyAny>, context: &Context, content_type: &str, pad: bool) -> PyResult<Py<PyAny>> {
        buffer::seal(payload.py(), &self.0, &Input::from_buffer(payload)?, &context.0, content_type, pad, false)
    }

    #[pyo3(signature = (payload, context, *, content_type="", pad=true))]
    fn seal_text(&self, payload: &Bound<'_, PyAny>, context: &Context, content_type: &str, pad: bool) -> PyResult<Py<PyAny>> {
        buffer::seal(payload.py(), &self.0, &Input::from_payload(payload)?, &context.0, content_type, pad, true)
    }

    fn open(&self, sealed: &Bound<'_, PyAny>, context: &Context) -> PyResult<Py<PyBytes>> {
        self.open_typed(sealed, context).map(|(_, payload)| payload)
    }

    fn open_typed(&self, sealed: &Bound<'_, PyAny>, context: &Context) -> PyResult<(String, Py<PyBytes>)> {
        buffer::open(sealed.py(), &self.0, &Input::from_sealed(sealed, Kind::Data)?, &context.0)
    }

    fn __repr__(&self) -> String {
        let id: String = self.0.record().dek_id.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("DataKey(dek_id={id})")
    }
}

#[pyfunction]
#[pyo3(signature = (secret, *, dek_id, tenant, dek_purpose, version, suite))]
pub fn export_key<'py>(
    py: Python<'py>,
    secret: &SecretKey,
    dek_id: &[u8],
    tenant: &str,
    dek_purpose: u8,
    version: u32,
    suite: u8,
) -> PyResult<Bound<'py, PyString>> {
    let purpose = DekPurpose::from_number(dek_purpose).map_err(fail)?;
    let record = DekRecord { dek_id: key_id(dek_id)?, tenant: tenant.into(), purpose, suite, version };
    sealpoint_core::export_key(&secret.0, &record).map(|text| PyString::new(py, &text)).map_err(fail)
}

#[pyfunction]
#[pyo3(signature = (*, tenant, dek_id, dek_purpose, suite))]
pub fn wrap_context(tenant: &str, dek_id: &[u8], dek_purpose: u8, suite: u8) -> PyResult<Context> {
    let purpose = DekPurpose::from_number(dek_purpose).map_err(fail)?;
    sealpoint_core::wrap_context(tenant, &key_id(dek_id)?, purpose, suite).map(Context).map_err(fail)
}

#[pyfunction]
pub fn open_only_context(wrap: &Context) -> PyResult<Context> {
    sealpoint_core::open_only_context(&wrap.0).map(Context).map_err(fail)
}

#[pyfunction]
pub fn canary_context(kek_uri: &str) -> PyResult<Context> {
    sealpoint_core::canary_context(kek_uri).map(Context).map_err(fail)
}

#[pyfunction]
pub fn canary_secret(kek_uri: &str) -> SecretKey {
    SecretKey(sealpoint_core::canary_secret(kek_uri))
}

#[pyfunction]
pub fn secrets_equal(left: &SecretKey, right: &SecretKey) -> bool {
    left.0 == right.0
}
