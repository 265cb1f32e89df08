//! Configuration from the environment, validated at start with every problem named at once.
