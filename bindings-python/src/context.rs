//! `Context`.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use sealpoint_core::{Error, ErrorCode, Value};

use crate::raise;

#[pyclass(frozen, eq, hash, module = "sealpoint")]
#[derive(PartialEq, Eq, Hash)]
pub struct Context(pub sealpoint_core::Context);

#[pymethods]
impl Context {
    #[new]
    #[pyo3(signature = (**pairs))]
    fn new(pairs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        encode(pairs, sealpoint_core::Context::new)
    }

    #[pyo3(signature = (**pairs))]
    fn extend(&self, pairs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        encode(pairs, |pairs| self.0.extend(pairs))
    }

    #[getter]
    fn tenant(&self) -> &str {
        self.0.tenant()
    }

    #[getter]
    fn purpose(&self) -> &str {
        self.0.purpose()
    }

    #[getter]
    fn canonical<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.canonical())
    }

    fn pairs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let pairs = PyDict::new(py);
        self.0.iter().try_for_each(|(key, value)| pairs.set_item(key, value))?;
        Ok(pairs)
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// A value held while the core borrows from it.
enum Held {
    Text(PyBackedStr),
    Int(i128),
    Float(f64),
    List(Vec<PyBackedStr>),
}

/// The same from alternating keys and values.
pub fn extended(base: &Context, pairs: &Bound<'_, PyTuple>) -> PyResult<sealpoint_core::Context> {
    if pairs.len() % 2 != 0 {
        return Err(invalid("a context's pairs are alternating keys and values"));
    }
    let mut flat = pairs.iter();
    let pairs = std::iter::from_fn(|| flat.next().zip(flat.next()));
    encode_pairs(pairs, |pairs| base.0.extend(pairs))
}

fn encode(
    pairs: Option<&Bound<'_, PyDict>>,
    make: impl FnOnce(&[(&str, Value<'_>)]) -> sealpoint_core::Result<sealpoint_core::Context>,
) -> PyResult<Context> {
    encode_pairs(pairs.into_iter().flatten(), make).map(Context)
}

fn encode_pairs<'py>(
    pairs: impl Iterator<Item = (Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    make: impl FnOnce(&[(&str, Value<'_>)]) -> sealpoint_core::Result<sealpoint_core::Context>,
) -> PyResult<sealpoint_core::Context> {
    let mut held = Vec::new();
    for (key, value) in pairs {
        let key: PyBackedStr = key.extract().map_err(|_| invalid("a context's keys are strings of a-z, 0-9, '_', '.' and '-'"))?;
        if &*key == "tenant" && value.is_none() {
            return Err(raise(&Error::new(ErrorCode::TenantRequired, "a tenant is required: nothing is sealed or opened for nobody")));
        }
        held.push((key, hold(&value)?));
    }
    let lists: Vec<Vec<&str>> =
        held.iter().map(|(_, value)| if let Held::List(items) = value { items.iter().map(|item| &**item).collect() } else { Vec::new() }).collect();
    let borrowed: Vec<(&str, Value<'_>)> = held
        .iter()
        .zip(&lists)
        .map(|((key, value), list)| {
            let value = match value {
                Held::Text(text) => Value::Text(text),
                Held::Int(int) => Value::Int(*int),
                Held::Float(float) => Value::Float(*float),
                Held::List(_) => Value::List(list),
            };
            (&**key, value)
        })
        .collect();
    make(&borrowed).map_err(|error| raise(&error))
}

fn hold(value: &Bound<'_, PyAny>) -> PyResult<Held> {
    const TEXT: &str = "a string in a context holds lone surrogates";
    const KINDS: &str = "a context's values are strings, integers, floats and lists of strings";
    if value.is_instance_of::<PyString>() {
        value.extract().map(Held::Text).map_err(|_| invalid(TEXT))
    } else if value.is_instance_of::<PyBool>() {
        Err(invalid(KINDS))
    } else if value.is_instance_of::<PyInt>() {
        value.extract().map(Held::Int).map_err(|_| invalid("an integer in a context has 64 bits"))
    } else if value.is_instance_of::<PyFloat>() {
        value.extract().map(Held::Float)
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let item = |item: PyResult<Bound<'_, PyAny>>| item?.extract().map_err(|_| invalid("a list in a context holds well-formed strings"));
        value.try_iter()?.map(item).collect::<PyResult<_>>().map(Held::List)
    } else {
        Err(invalid(KINDS))
    }
}

fn invalid(message: &'static str) -> PyErr {
    raise(&Error::new(ErrorCode::InvalidContext, message))
}
