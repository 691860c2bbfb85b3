//! What is carried after the decision: every byte, ends as ends, failures as failures.
