//! Whole-system tests of Seinpost: real gateway, real client, real mutual TLS, in a folder of their own.
//!
//! Only what many tests share stands here. Each test in `tests/` is named as the sentence that it proves.

pub mod harness;
