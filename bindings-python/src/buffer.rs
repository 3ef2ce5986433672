//! Bytes in and out of Python, without copies where Python allows it.

use std::borrow::Cow;

use pyo3::buffer::PyBuffer;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use sealpoint_core::envelope::{Envelope, Kind, sealed_len};
use sealpoint_core::{Context, Dek, Error, ErrorCode, Padding, Result, Salts, text};

use crate::{invalid_argument, raise};

/// From here on a payload is worked on without the interpreter: below, letting go of it costs more than it gives.
const DETACH_LEN: usize = 1 << 20;

/// Bytes lent by a Python object.
pub enum Input<'py> {
    Bytes(Bound<'py, PyBytes>),
    /// Anything else with a buffer. Others may write to it, so it is only read while the interpreter is held.
    Buffer(PyBuffer<u8>, Vec<u8>),
    Owned(Vec<u8>),
}

impl<'py> Input<'py> {
    /// `bytes`, `bytearray`, `memoryview` or another object with a buffer of bytes.
    pub fn from_buffer(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        let buffer = PyBuffer::<u8>::get(object).map_err(|_| invalid_argument("bytes, bytearray or memoryview (of single bytes) is needed here"))?;
        let copied = if buffer.is_c_contiguous() { Vec::new() } else { buffer.to_vec(object.py())? };
        Ok(Self::Buffer(buffer, copied))
    }

    /// The same, or the text form of an envelope.
    pub fn from_sealed(object: &Bound<'py, PyAny>, kind: Kind) -> PyResult<Self> {
        match object.cast::<PyString>() {
            Ok(string) => text::decode(&string.to_string_lossy(), kind).map(Self::Owned).map_err(|error| raise(&error)),
            Err(_) => Self::from_buffer(object),
        }
    }

    /// The same, or a string's UTF-8.
    pub fn from_payload(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PyString>() {
            Ok(string) => utf8(string).map(|text| Self::Owned(text.into_owned().into_bytes())),
            Err(_) => Self::from_buffer(object),
        }
    }

    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Owned(bytes) => bytes,
            Self::Buffer(buffer, copied) if !buffer.is_c_contiguous() => copied,
            Self::Buffer(buffer, _) if buffer.len_bytes() == 0 => &[],
            // SAFETY: the buffer is contiguous, holds `len_bytes` bytes, stays exported while `self` lives, and is not written to as long as the interpreter
            // is held: a `Buffer` is never used detached.
            Self::Buffer(buffer, _) => unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) },
        }
    }

    fn may_detach(&self) -> bool {
        !matches!(self, Self::Buffer(..)) && self.as_slice().len() >= DETACH_LEN
    }
}

/// A Python string's UTF-8. Lone surrogates are `invalid_argument`.
pub fn utf8<'a>(string: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    string.to_cow().map_err(|_| invalid_argument("the string holds lone surrogates, which no UTF-8 can carry"))
}

/// A new `bytes` of `len` bytes that are not written yet, and access to them.
///
/// The caller fills all of them before anybody else sees the object.
fn uninitialised<'o>(py: Python<'_>, len: usize) -> PyResult<(Py<PyBytes>, &'o mut [u8])> {
    let size = ffi::Py_ssize_t::try_from(len).map_err(|_| invalid_argument("too large for this platform"))?;
    // SAFETY: a null pointer asks for an object with `size` uninitialised bytes; the result is a new reference to a `bytes` or null with an error set.
    // Its data is `size` bytes long, nobody else has the object yet, and it lives at least as long as the reference that is returned beside it.
    unsafe {
        let object = Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))?;
        let bytes = object.cast_into_unchecked::<PyBytes>();
        let data = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
        Ok((bytes.unbind(), std::slice::from_raw_parts_mut(data, len)))
    }
}

/// Seals into a new `bytes`, or `str` for the text form.
pub fn seal(py: Python<'_>, dek: &Dek, payload: &Input<'_>, context: &Context, content_type: &str, pad: bool, as_text: bool) -> PyResult<Py<PyAny>> {
    let mut salts = Salts::draw(1).map_err(|error| raise(&error))?;
    seal_next(py, dek, &mut salts, payload, context, content_type, pad, as_text)
}

/// The same for one payload of several.
#[expect(clippy::too_many_arguments, reason = "what a seal is made of")]
pub fn seal_next(
    py: Python<'_>,
    dek: &Dek,
    salts: &mut Salts,
    payload: &Input<'_>,
    context: &Context,
    content_type: &str,
    pad: bool,
    as_text: bool,
) -> PyResult<Py<PyAny>> {
    let padding = if pad { Padding::Bucket } else { Padding::None };
    let fail = |error: Error| raise(&error);
    let data = payload.as_slice();
    let len = sealed_len(data.len(), content_type.len(), padding).map_err(fail)?;
    if as_text {
        let mut envelope = vec![0; len];
        dek.seal_next_into(salts, data, content_type, padding, context, &mut envelope).map_err(fail)?;
        return Ok(PyString::new(py, &text::encode(&envelope, Kind::Data)).into_any().unbind());
    }
    let (sealed, out) = uninitialised(py, len)?;
    let done = if payload.may_detach() {
        py.detach(|| dek.seal_next_into(salts, data, content_type, padding, context, out))
    } else {
        dek.seal_next_into(salts, data, content_type, padding, context, out)
    };
    done.map(|()| sealed.into_any()).map_err(fail)
}

/// Opens into a new `bytes`: (content type, payload).
pub fn open(py: Python<'_>, dek: &Dek, sealed: &Input<'_>, context: &Context) -> PyResult<(String, Py<PyBytes>)> {
    let mut payload = None;
    let slot = &mut payload;
    let allocate = |len| {
        let (bytes, out) =
            Python::attach(|py| uninitialised(py, len)).map_err(|_| Error::new(ErrorCode::LimitExceeded, "no memory for the payload"))?;
        *slot = Some(bytes);
        Ok(out)
    };
    let data = sealed.as_slice();
    let opened: Result<String> =
        if sealed.may_detach() { py.detach(|| dek.open_into(data, context, allocate)) } else { dek.open_into(data, context, allocate) };
    let content_type = opened.map_err(|error| raise(&error))?;
    payload.map(|payload| (content_type, payload)).ok_or_else(|| raise(&Error::new(ErrorCode::Internal, "an opened envelope without a payload")))
}

#[pyfunction]
pub fn envelope_dek_id<'py>(sealed: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let input = Input::from_sealed(sealed, Kind::Data)?;
    let envelope = Envelope::parse(input.as_slice(), Kind::Data).map_err(|error| raise(&error))?;
    Ok(PyBytes::new(sealed.py(), envelope.key_id()))
}

#[pyfunction]
pub fn is_sealed(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match value.cast::<PyString>() {
        Ok(string) => Ok(text::is_sealed(string.to_string_lossy().as_bytes())),
        Err(_) => Ok(text::is_sealed(Input::from_buffer(value)?.as_slice())),
    }
}
