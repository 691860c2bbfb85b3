//! Commands, options, the configuration file, exit codes.
