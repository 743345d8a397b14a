//! Development PKI, registrars and covenant of Seinpost, and wrong ones for tests.
//!
//! What production gets from others, this crate makes for a development machine: certificates of both hierarchies,
//! revocation lists, registrars' keys, the covenant of the whole country from the tables in `data/`, and one folder
//! ([`world`]) with everything that a gateway and its first agencies need. Nothing here serves, connects or decides;
//! the clock is read by the command alone. Its modules, in the order in which to read them:

pub mod covenant;
pub mod fault;
pub mod files;
pub mod key;
pub mod pki;
pub mod registrar;
pub mod world;
