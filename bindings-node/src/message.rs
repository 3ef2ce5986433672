//! `CoreMessage`.

use napi::Env;
use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;
use sealpoint_core::{Message, Result};

use crate::{DISPOSED, copied, done};

#[napi(object)]
pub struct Payload {
    pub content_type: String,
    pub start: i64,
    pub end: i64,
}

#[napi]
pub struct CoreMessage(Option<Message>);

impl From<Message> for CoreMessage {
    fn from(message: Message) -> Self {
        Self(Some(message))
    }
}

#[napi]
impl CoreMessage {
    fn get(&self) -> Result<&Message> {
        self.0.as_ref().ok_or(DISPOSED)
    }

    #[napi]
    pub fn head<'e>(&self, env: &'e Env) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, self.get().map(Message::head))
    }

    #[napi]
    pub fn prefix<'e>(&self, env: &'e Env) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, self.get().map(Message::prefix))
    }

    #[napi]
    pub fn suffix<'e>(&self, env: &'e Env) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, self.get().map(Message::suffix))
    }

    #[napi]
    pub fn inner_len(&self, env: &Env) -> napi::Result<i64> {
        done(env, self.get()).map(|message| message.inner_len() as i64)
    }

    #[napi]
    pub fn key<'e>(&self, env: &'e Env) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, self.get().and_then(Message::key))
    }

    #[napi]
    pub fn nonces<'e>(&self, env: &'e Env, first: u32, count: u32) -> napi::Result<Uint8ArraySlice<'e>> {
        let nonces = |message: &Message| (first..).take(count as usize).map(|number| message.nonce(number as usize)).collect::<Result<Vec<_>>>();
        copied(env, self.get().and_then(nonces).map(|nonces| nonces.concat()))
    }

    #[napi]
    pub fn inner_head_len(&self, env: &Env) -> napi::Result<i64> {
        done(env, self.get()).map(|message| message.inner_head_len() as i64)
    }

    #[napi]
    pub fn payload(&self, env: &Env, inner: &[u8]) -> napi::Result<Payload> {
        let (content_type, place) = done(env, self.get().and_then(|message| message.payload(inner)))?;
        Ok(Payload { content_type, start: place.start as i64, end: place.end as i64 })
    }

    #[napi]
    pub fn free(&mut self) {
        self.0 = None;
    }
}
