//! The checkpoint manifest, fed from LangGraph's own objects.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use sealpoint_core::cbor::Writer;
use sealpoint_core::envelope::{Envelope, Kind};
use sealpoint_core::manifest::{self, Channel};
use sealpoint_core::{Error, ErrorCode};

use crate::buffer::{Input, utf8};
use crate::{invalid_argument, raise};

type Channels<'py> = Vec<(String, Option<Bound<'py, PyAny>>)>;

#[pyfunction]
#[pyo3(signature = (fields, *, parent, exact, channels, metadata))]
pub fn manifest_payload<'py>(
    fields: &Bound<'py, PyTuple>,
    parent: Option<&str>,
    exact: bool,
    channels: Channels<'py>,
    metadata: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let commitments = commitments(&channels)?;
    let payload = manifest::payload(&encode(fields)?, parent, exact, &commitments, Input::from_buffer(metadata)?.as_slice());
    payload.map(|payload| PyBytes::new(fields.py(), &payload)).map_err(|error| raise(&error))
}

#[pyfunction]
#[pyo3(signature = (payload, fields, *, parent, channels))]
pub fn manifest_open<'py>(
    payload: &Bound<'py, PyAny>,
    fields: &Bound<'py, PyTuple>,
    parent: Option<&str>,
    channels: Channels<'py>,
) -> PyResult<(Bound<'py, PyBytes>, Option<String>)> {
    let commitments = commitments(&channels)?;
    // What no writer can have sealed is not the reader's mistake.
    let fields_cbor =
        encode(fields).map_err(|_| raise(&Error::new(ErrorCode::Malformed, "the checkpoint's fields are none that a manifest covers")))?;
    let payload = Input::from_buffer(payload)?;
    let verified = manifest::open(payload.as_slice(), &fields_cbor, parent, &commitments).map_err(|error| raise(&error))?;
    Ok((PyBytes::new(fields.py(), verified.metadata), verified.parent.map(str::to_owned)))
}

fn commitments<'a>(channels: &'a Channels<'_>) -> PyResult<Vec<Channel<'a>>> {
    let commitment = |sealed: &Bound<'_, PyAny>| {
        let envelope = Input::from_sealed(sealed, Kind::Data)?;
        Envelope::parse(envelope.as_slice(), Kind::Data).map(|envelope| envelope.short_commitment()).map_err(|error| raise(&error))
    };
    channels.iter().map(|(name, sealed)| Ok((name.as_str(), sealed.as_ref().map(commitment).transpose()?))).collect()
}

fn encode(fields: &Bound<'_, PyTuple>) -> PyResult<Vec<u8>> {
    let mut writer = Writer::new();
    write(&mut writer, fields.as_any()).map_err(PyErr::from)?;
    writer.finish().map_err(|error| raise(&error))
}

/// An error of the core on its way through the writer, or one of Python's.
struct Failed(PyErr);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(raise(&error))
    }
}

impl From<PyErr> for Failed {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Failed> for PyErr {
    fn from(failed: Failed) -> Self {
        failed.0
    }
}

fn write(writer: &mut Writer, value: &Bound<'_, PyAny>) -> Result<(), Failed> {
    if let Ok(text) = value.cast::<PyString>() {
        writer.text(&utf8(text)?);
    } else if value.is_none() {
        writer.null();
    } else if let Ok(truth) = value.cast::<PyBool>() {
        writer.bool(truth.is_true());
    } else if value.is_instance_of::<PyInt>() {
        writer.int(value.extract().map_err(|_| invalid_argument("an integer in a checkpoint's fields is outside -2^64 to 2^64-1"))?)?;
    } else if value.is_instance_of::<PyFloat>() {
        writer.float(value.extract()?)?;
    } else if let Ok(map) = value.cast::<PyDict>() {
        writer.map(map.len(), |entries| {
            for (key, item) in map {
                let key = key.cast::<PyString>().map_err(|_| invalid_argument("a map in a checkpoint's fields has a key that is no string"))?;
                entries.entry(&utf8(key)?, |writer| write(writer, &item))?;
            }
            Ok::<(), Failed>(())
        })?;
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        writer.array(value.len()?, |writer| value.try_iter()?.try_for_each(|item| write(writer, &item?)))?;
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        writer.bytes(bytes.as_bytes());
    } else {
        return Err(invalid_argument("a checkpoint's fields hold a value of a type that a manifest does not cover").into());
    }
    Ok(())
}
