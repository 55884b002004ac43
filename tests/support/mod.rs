//! A whole gateway in one process: the stack that the proxy composes, over scripted providers.
#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

pub mod answers;
mod client;
mod gateway;
mod provider;

pub use self::{
    client::{ANTHROPIC, Answer, Client, DIALECTS, GEMINI, KEY, OPENAI, gemini_path},
    gateway::{CLAUDE_KEY, Gateway, OPENAI_KEY, Records, Settings},
    provider::{Act, Provider, Sent, Step},
};
