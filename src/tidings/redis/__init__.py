"""What bus and directory share when they live in Redis: its addresses, its connections, its masters."""
