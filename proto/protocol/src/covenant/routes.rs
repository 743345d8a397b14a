//! Which address a function has for a municipality on a day.
//!
//! Rows are asked in the document's order and before a municipality's own functions, so that a row can lead away from
//! them. The days at which a row begins and ends are points in time here, read once in Europe/Amsterdam.

use std::collections::HashMap;

use crate::address::{Address, Function};
use crate::time::Timestamp;
use crate::wire::SignalType;

use super::Covenant;

/// A municipality's code: four digits.
pub(super) type Municipality = [u8; 4];

/// Reads a municipality's code.
pub(super) fn municipality(text: &str) -> Option<Municipality> {
    let code = Municipality::try_from(text.as_bytes()).ok()?;
    code.iter().all(u8::is_ascii_digit).then_some(code)
}

/// No address is known for the function, municipality, type and day, or the one that is takes no part.
///
/// One reason for all: whoever asks learns nothing about others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("no address is known for this function, municipality and type on this day")]
pub struct NoRoute;

impl NoRoute {
    /// Returns the reason's code.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        "NO_ROUTE"
    }
}

/// One row, for one of its municipalities.
pub(super) struct Row {
    /// Bit n is set for the type with number n; none set: all types.
    pub(super) types: u32,
    /// Milliseconds since 1970, [from, until).
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) to: Address,
}

/// All routes, in the document's order for each function and municipality.
#[derive(Default)]
pub(super) struct Routes {
    pub(super) rows: HashMap<(Function, Municipality), Vec<Row>>,
    /// A municipality's own functions.
    pub(super) own: HashMap<(Function, Municipality), Address>,
    /// The functions of rows that lead to another function than the one they are asked for.
    pub(super) diverting: Vec<Function>,
}

impl Covenant {
    /// Returns the address that a function has for a municipality (four digits), a type of signal and a time.
    ///
    /// The target need not have the function that was asked for: the row's `to` decides.
    ///
    /// # Errors
    /// [`NoRoute`] when no row and no own function fits, or the first that fits leads to nobody who takes part.
    pub fn resolve(
        &self,
        function: Function,
        municipality_code: &str,
        signal_type: SignalType,
        at: Timestamp,
    ) -> Result<Address, NoRoute> {
        let routes = self.0.index.routes();
        let key = (function, municipality(municipality_code).ok_or(NoRoute)?);
        let row = routes.rows.get(&key).into_iter().flatten().find(|row| {
            (row.types == 0 || row.types & (1 << signal_type as u32) != 0)
                && row.from <= at.millis()
                && at.millis() < row.until
        });
        let to = row.map(|row| row.to).or_else(|| routes.own.get(&key).copied()).ok_or(NoRoute)?;
        if self.takes_part(to) { Ok(to) } else { Err(NoRoute) }
    }

    /// Returns whether some route leads to an address for a municipality, a type and a time.
    pub(super) fn is_routed(&self, to: Address, municipality: &str, signal_type: SignalType, at: Timestamp) -> bool {
        let diverting = self.0.index.routes().diverting.iter().copied();
        let mut functions = std::iter::once(to.function).chain(diverting);
        functions.any(|function| self.resolve(function, municipality, signal_type, at) == Ok(to))
    }
}
