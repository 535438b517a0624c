//! Enums that know all of their variants.
//!
//! Tests go through every invariant, every kind of fault and every mutant. A list that is
//! written by hand is one variant short on the day that it matters.

/// Declares an enum, and a list of all its variants under a name. What stands behind `with` is
/// not in the list.
macro_rules! every {
    (
        $(#[$of_enum:meta])*
        pub enum $name:ident as $all:ident {
            $($(#[$says:meta])* $variant:ident,)*
        }
        $(with { $($more:tt)* })?
    ) => {
        $(#[$of_enum])*
        pub enum $name {
            $($(#[$says])* $variant,)*
            $($($more)*)?
        }

        impl $name {
            /// All of them.
            pub const $all: &[$name] = &[$($name::$variant),*];
        }
    };
}

pub(crate) use every;
