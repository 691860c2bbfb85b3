//! Openings as they come: slow, cut, cut off, silent, hostile.
