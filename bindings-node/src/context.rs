//! `CoreContext`.

use napi::Env;
use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;
use sealpoint_core::{Context, Result};

use crate::{DISPOSED, copied, done};

#[napi]
pub struct CoreContext(Option<Context>);

impl CoreContext {
    pub fn get(&self) -> Result<&Context> {
        self.0.as_ref().ok_or(DISPOSED)
    }
}

impl From<Context> for CoreContext {
    fn from(context: Context) -> Self {
        Self(Some(context))
    }
}

#[napi]
impl CoreContext {
    #[napi]
    pub fn extend(&self, env: &Env, pairs: String) -> napi::Result<CoreContext> {
        done(env, self.get().and_then(|context| context.extend_json(&pairs))).map(Into::into)
    }

    #[napi]
    pub fn canonical<'e>(&self, env: &'e Env) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, self.get().map(Context::canonical))
    }

    #[napi]
    pub fn tenant(&self, env: &Env) -> napi::Result<&str> {
        done(env, self.get()).map(Context::tenant)
    }

    #[napi]
    pub fn purpose(&self, env: &Env) -> napi::Result<&str> {
        done(env, self.get()).map(Context::purpose)
    }

    #[napi]
    pub fn pairs(&self, env: &Env) -> napi::Result<Vec<&str>> {
        done(env, self.get()).map(|context| context.iter().flat_map(|(key, value)| [key, value]).collect())
    }

    #[napi]
    pub fn free(&mut self) {
        self.0 = None;
    }
}

#[napi]
pub fn new_context(env: &Env, pairs: String) -> napi::Result<CoreContext> {
    done(env, Context::from_json(&pairs)).map(Into::into)
}

#[napi]
pub fn context_from_canonical(env: &Env, canonical: &[u8]) -> napi::Result<CoreContext> {
    done(env, Context::from_canonical(canonical)).map(Into::into)
}
