//! Who: an organisation by its OIN, and the function in which it acts.
//!
//! Mailboxes, keys and permissions belong to an address and not to an OIN, because the mayor's office may not open
//! what was sent to youth care in the same town hall.

use std::fmt;

use crate::wire;

pub use crate::wire::Function;

/// An organisation's identification number (OIN): exactly 20 digits or capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oin([u8; 20]);

impl Oin {
    /// Returns the 20 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an OIN is ASCII")
    }
}

impl TryFrom<&str> for Oin {
    type Error = NotAnOin;

    fn try_from(text: &str) -> Result<Self, NotAnOin> {
        let bytes = <[u8; 20]>::try_from(text.as_bytes()).map_err(|_| NotAnOin)?;
        if bytes.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()) {
            Ok(Self(bytes))
        } else {
            Err(NotAnOin)
        }
    }
}

impl fmt::Display for Oin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Oin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An OIN has exactly 20 digits or capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an OIN has exactly 20 digits or capital letters")]
pub struct NotAnOin;

/// Where a signal comes from or goes to: an organisation in one of its functions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The organisation.
    pub oin: Oin,
    /// The function in which it acts; never unspecified.
    pub function: Function,
}

impl From<Address> for wire::Address {
    fn from(address: Address) -> Self {
        Self { oin: address.oin.as_str().to_owned(), function: address.function.into() }
    }
}

impl TryFrom<&wire::Address> for Address {
    type Error = NotAnAddress;

    fn try_from(address: &wire::Address) -> Result<Self, NotAnAddress> {
        let oin = Oin::try_from(address.oin.as_str())?;
        match Function::try_from(address.function) {
            Ok(Function::Unspecified) | Err(_) => Err(NotAnAddress::Function),
            Ok(function) => Ok(Self { oin, function }),
        }
    }
}

/// `OIN/FUNCTION`, such as `00000099155000000000/POLICE_OPERATIONS`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.oin, function_code(self.function))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns a function's short code as people and JSON write it, such as `SAFE_HOME`.
#[must_use]
pub fn function_code(function: Function) -> &'static str {
    function.as_str_name().trim_start_matches("FUNCTION_")
}

/// The bytes name no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAddress {
    /// The OIN is none.
    #[error(transparent)]
    Oin(#[from] NotAnOin),
    /// The function is unknown or not set.
    #[error("the function is unknown or not set")]
    Function,
}
