//! The Python module `sealpoint._native`: converts types and errors, and decides nothing. Its documentation is `python/sealpoint/_native.pyi`.

mod buffer;
mod cache;
mod context;
mod keys;
mod manifest;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use sealpoint_core::{Error, ErrorCode, limits};

/// The Python exception for an error of the core: `sealpoint.errors` chooses its class.
fn raise(error: &Error) -> PyErr {
    static ERROR_FOR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Python::attach(|py| {
        let exception = ERROR_FOR.import(py, "sealpoint.errors", "error_for").and_then(|new| new.call1((error.code().as_str(), error.message())));
        exception.map_or_else(|failed| failed, PyErr::from_value)
    })
}

fn invalid_argument(message: &'static str) -> PyErr {
    raise(&Error::new(ErrorCode::InvalidArgument, message))
}

/// The Rust core. Use `sealpoint`, not this.
#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let (codes, bounds) = (PyDict::new(m.py()), PyDict::new(m.py()));
    ErrorCode::ALL.iter().try_for_each(|code| codes.set_item(code.as_str(), code.is_retryable()))?;
    limits::ALL.iter().try_for_each(|(name, value)| bounds.set_item(name, value))?;
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("ERROR_CODES", codes)?;
    m.add("LIMITS", bounds)?;
    m.add("CLEAR_METADATA", sealpoint_core::manifest::CLEAR_METADATA)?;
    m.add_class::<context::Context>()?;
    m.add_class::<keys::SecretKey>()?;
    m.add_class::<keys::LocalKek>()?;
    m.add_class::<keys::RecoveryPublicKey>()?;
    m.add_class::<keys::RecoveryKey>()?;
    m.add_class::<keys::DataKey>()?;
    m.add_class::<cache::DekCache>()?;
    m.add_function(wrap_pyfunction!(buffer::envelope_dek_id, m)?)?;
    m.add_function(wrap_pyfunction!(buffer::is_sealed, m)?)?;
    m.add_function(wrap_pyfunction!(keys::export_key, m)?)?;
    m.add_function(wrap_pyfunction!(keys::wrap_context, m)?)?;
    m.add_function(wrap_pyfunction!(keys::open_only_context, m)?)?;
    m.add_function(wrap_pyfunction!(keys::canary_context, m)?)?;
    m.add_function(wrap_pyfunction!(keys::canary_secret, m)?)?;
    m.add_function(wrap_pyfunction!(keys::secrets_equal, m)?)?;
    m.add_function(wrap_pyfunction!(manifest::manifest_payload, m)?)?;
    m.add_function(wrap_pyfunction!(manifest::manifest_open, m)?)
}
