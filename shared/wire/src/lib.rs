//! The frames that agents and hubs exchange, and their strict codec. Pure.
