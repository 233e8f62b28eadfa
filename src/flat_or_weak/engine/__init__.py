"""Running, recording and verifying experiments."""
