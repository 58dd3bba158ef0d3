"""`tidings chaos`: whether a running server keeps its promises while things break, seen from outside."""
