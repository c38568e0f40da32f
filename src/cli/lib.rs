//! The command line: serve, init, and a verb for each thing an operator does.
