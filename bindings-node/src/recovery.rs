//! `CoreRecoveryPublic`, `CoreRecovery`: recovery keys (SPEC section 6.4), which WebAssembly goes without.

use napi::Env;
use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;
use sealpoint_core::{RecoveryKey, RecoveryPublicKey, Result};
use zeroize::Zeroizing;

use crate::context::CoreContext;
use crate::keys::CoreSecret;
use crate::{DISPOSED, copied, done};

#[napi]
pub struct CoreRecoveryPublic(RecoveryPublicKey);

#[napi]
pub struct CoreRecovery(Option<RecoveryKey>);

#[napi]
impl CoreRecoveryPublic {
    #[napi]
    pub fn recovery_id<'e>(&self, env: &'e Env) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, Ok(self.0.recovery_id()))
    }

    #[napi]
    pub fn to_text(&self) -> String {
        self.0.to_text()
    }

    #[napi]
    pub fn wrap<'e>(&self, env: &'e Env, secret: &CoreSecret, context: &CoreContext) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, secret.get().and_then(|secret| self.0.wrap(secret, context.get()?)))
    }
}

#[napi]
impl CoreRecovery {
    fn get(&self) -> Result<&RecoveryKey> {
        self.0.as_ref().ok_or(DISPOSED)
    }

    #[napi]
    pub fn public(&self, env: &Env) -> napi::Result<CoreRecoveryPublic> {
        done(env, self.get()).map(|key| CoreRecoveryPublic(key.public().clone()))
    }

    #[napi]
    pub fn to_text(&self, env: &Env) -> napi::Result<String> {
        done(env, self.get()).map(|key| key.to_text().as_str().to_owned())
    }

    #[napi]
    pub fn unwrap(&self, env: &Env, wrapped: &[u8], context: &CoreContext) -> napi::Result<CoreSecret> {
        done(env, self.get().and_then(|key| key.unwrap(wrapped, context.get()?))).map(Into::into)
    }

    #[napi]
    pub fn free(&mut self) {
        self.0 = None;
    }
}

#[napi]
pub fn recovery_public_from_text(env: &Env, text: String) -> napi::Result<CoreRecoveryPublic> {
    done(env, RecoveryPublicKey::from_text(&text)).map(CoreRecoveryPublic)
}

#[napi]
pub fn recovery_from_text(env: &Env, text: String) -> napi::Result<CoreRecovery> {
    done(env, RecoveryKey::from_text(&Zeroizing::new(text))).map(|key| CoreRecovery(Some(key)))
}

#[napi]
pub fn generate_recovery(env: &Env) -> napi::Result<CoreRecovery> {
    done(env, RecoveryKey::generate()).map(|key| CoreRecovery(Some(key)))
}
