//! What a hub decides: reception. Pure.
