//! Real clients and real servers, all through one port.
