//! One engine driven by hand.
