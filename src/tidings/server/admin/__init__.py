"""Administration and metrics: a second, small HTTP server on the loopback interface."""
