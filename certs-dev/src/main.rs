//! The command `seinpost-certs`.
fn main() {}
