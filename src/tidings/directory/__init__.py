"""The directory: which node holds which device, now."""
