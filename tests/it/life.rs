//! How the program lives: the signals it hears, its end, and who comes after it.

mod drain;
